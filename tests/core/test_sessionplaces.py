"""Sessions by what a user names: folders, folders of many, patterns, addresses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pytest

from joulebench.errors import JoulebenchError, SessionError, UnavailableError
from joulebench.session import Session
from joulebench.session.places import open_session, open_sessions
from joulebench.session.remote import RemoteSession, is_uri, without_secret
from joulebench.session.tables import CellRow, SampleRow, SessionRow
from joulebench.session.writing import SessionWriter
from sealing import unseal

fsspec = pytest.importorskip("fsspec")


def write(path: Path, cells: int = 2) -> Path:
    path.mkdir(parents=True)
    writer = SessionWriter(path)
    ids = [f"c{number}" for number in range(cells)]
    plan = {"cells": [{"id": session_id, "label": f"cell {session_id}"} for session_id in ids]}
    writer.write_session(SessionRow(session_id=path.name, status="complete", plan_json=json.dumps(plan)))
    for place, session_id in enumerate(ids):
        stream = writer.stream(session_id, "samples")
        for block in range(3):
            stream.append(
                [SampleRow(t_ns=1000 * block + i, channel=f"ch{i % 2}", raw=i, origin="tick") for i in range(10)]
            )
        if place % 2:
            stream.close()  # this cell was cut off
        else:
            stream.finish()
            writer.write_cell(CellRow(cell_id=session_id, label=f"cell {session_id}", status="ok"))
    return path


def names(rows: list[Session]) -> list[str]:
    return [str(row.row.session_id) for row in rows]


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    """A folder of three sessions, one of them deeper, and of what is none."""
    folder = tmp_path / "lab"
    for name in ("b", "a", "board/c"):
        write(folder / name)
    (folder / "notes").mkdir()
    (folder / "readme.txt").write_text("no session")
    return folder


def say(_text: str) -> None:
    raise AssertionError(_text)


def test_a_folder_of_many_gives_each_by_name(lab: Path) -> None:
    assert names(open_sessions([str(lab)], say)) == ["a", "b", "c"]


def test_a_session_that_is_named_twice_is_there_once(lab: Path) -> None:
    assert names(open_sessions([str(lab / "b"), str(lab)], say)) == ["b", "a", "c"]


def test_a_pattern_gives_what_matches(lab: Path) -> None:
    assert names(open_sessions([f"{lab}/[ab]"], say)) == ["a", "b"]


def test_what_cannot_be_read_in_a_folder_of_many_is_told_of_and_left_out(lab: Path) -> None:
    (lab / "a" / "session.arrow").write_bytes(b"no Arrow file")
    told: list[str] = []
    assert names(open_sessions([str(lab)], told.append)) == ["b", "c"]
    assert len(told) == 1
    assert "not a readable Arrow file" in told[0]
    assert "session.arrow" in told[0]


def test_what_was_named_itself_must_be_readable(lab: Path) -> None:
    (lab / "a" / "session.arrow").write_bytes(b"no Arrow file")
    with pytest.raises(SessionError, match="not a readable Arrow file"):
        open_sessions([str(lab / "a")], say)


@pytest.mark.parametrize("place", ["missing", "notes", "readme.txt", "x*"])
def test_a_place_without_a_session_is_an_error(lab: Path, place: str) -> None:
    with pytest.raises(SessionError):
        open_sessions([str(lab / place)], say)


def test_links_in_a_folder_of_many_are_not_followed(lab: Path, tmp_path: Path) -> None:
    write(tmp_path / "elsewhere")
    (lab / "link").symlink_to(tmp_path / "elsewhere")
    assert "elsewhere" not in names(open_sessions([str(lab)], say))


# -- addresses ----------------------------------------------------------------------------------


@pytest.fixture
def memory(lab: Path) -> str:
    """The lab's folder in fsspec's memory."""
    system = fsspec.filesystem("memory")
    system.rm("/lab", recursive=True) if system.exists("/lab") else None
    for file in lab.rglob("*.arrow*"):
        system.pipe(f"/lab/{file.relative_to(lab)}", file.read_bytes())
    return "memory://lab"


def test_a_remote_session_reads_as_the_local_one_does(lab: Path, memory: str) -> None:
    here, there = Session(lab / "b"), open_session(f"{memory}/b")
    assert isinstance(there, RemoteSession)
    assert there.row == here.row
    assert there.cell_ids == here.cell_ids == ["c0", "c1"]
    for cell_id in here.cell_ids:  # the second one was cut off
        for name in ("samples", "blocks"):
            assert there.table(name, cell_id).equals(here.table(name, cell_id))
        parts = list(there.scan("samples", cell_id, ["raw"]))
        assert pa.Table.from_batches(parts) == here.table("samples", cell_id).select(["raw"])
    assert there.cells().equals(here.cells())


@pytest.mark.parametrize(
    ("inside", "expected"), [("", ["a", "b", "c"]), ("/[ab]", ["a", "b"]), ("/*/c", ["c"]), ("/b", ["b"])]
)
def test_folders_and_patterns_work_in_an_address(memory: str, inside: str, expected: list[str]) -> None:
    assert names(open_sessions([memory + inside], say)) == expected


def test_a_local_file_system_is_one_of_them(lab: Path) -> None:
    assert names(open_sessions([f"file://{lab}"], say)) == ["a", "b", "c"]


@pytest.mark.parametrize("address", ["memory://lab/missing", "memory://lab/notes/x*"])
def test_an_address_without_a_session_is_an_error(memory: str, address: str) -> None:
    with pytest.raises(SessionError):
        open_sessions([address], say)


def test_an_unknown_kind_of_address_is_an_error_in_words() -> None:
    with pytest.raises(UnavailableError, match="cannot be reached"):
        open_sessions(["carrier-pigeon://loft/session"], say)


def test_a_damaged_remote_file_is_an_error_with_its_address(memory: str) -> None:
    fsspec.filesystem("memory").pipe("/lab/b/cells/c0/samples.arrow", b"ARROW1 but no more")
    with pytest.raises(JoulebenchError) as caught:
        open_session(f"{memory}/b").table("samples", "c0")
    assert caught.value.where == "memory://lab/b/cells/c0/samples.arrow"


def test_no_password_of_an_address_is_shown() -> None:
    shown = without_secret("s3://key:secret@bucket/folder?token=1")
    assert shown == "s3://bucket/folder"
    assert is_uri("s3://bucket")
    assert not is_uri("C:/sessions")
    assert not is_uri("sessions/a")


def test_a_cell_id_that_leads_out_reads_nothing(memory: str) -> None:
    there = open_session(f"{memory}/b")
    assert there.table("samples", "../../a/cells/c0").num_rows == 0
    assert list(there.scan("samples", "../../a/cells/c0", ["raw"])) == []


# -- parts of a session -------------------------------------------------------------------------


def test_scanning_gives_the_columns_batch_by_batch(tmp_path: Path) -> None:
    session = Session(write(tmp_path / "s"))
    for cell_id in session.cell_ids:
        parts = list(session.scan("samples", cell_id, ["raw", "channel"]))
        whole = session.table("samples", cell_id).select(["raw", "channel"])
        assert pa.Table.from_batches(parts).to_pydict() == whole.to_pydict()
        assert parts[0].schema.names == ["raw", "channel"]


def test_a_large_table_is_written_in_batches_that_can_be_scanned(tmp_path: Path) -> None:
    from joulebench.session.files import write_table
    from joulebench.session.schema import CELL_TABLES, versioned

    write(tmp_path / "s", 1)
    unseal(tmp_path / "s")
    session = Session(tmp_path / "s")
    count = 600_000
    text = pa.DictionaryArray.from_arrays(pa.nulls(count, pa.int32()).fill_null(0), ["x"])
    rows = pa.array(range(count), pa.int64())
    table = pa.Table.from_arrays([rows, text, rows, text], schema=versioned(CELL_TABLES["samples"]))
    write_table(tmp_path / "s" / "cells" / "c0" / "samples.arrow", table)
    sizes = [batch.num_rows for batch in session.scan("samples", "c0", ["t_ns"])]
    assert sum(sizes) == count
    assert max(sizes) < count


def test_a_scan_of_an_older_file_gives_null_for_what_it_lacks(tmp_path: Path) -> None:
    from joulebench.session.files import write_table

    write(tmp_path / "s", 1)
    unseal(tmp_path / "s")
    session = Session(tmp_path / "s")
    file = tmp_path / "s" / "cells" / "c0" / "samples.arrow"
    write_table(file, pa.table({"t_ns": pa.array([1, 2], pa.int64())}))
    (batch,) = session.scan("samples", "c0", ["t_ns", "raw"])
    assert batch.to_pydict() == {"t_ns": [1, 2], "raw": [None, None]}


def test_a_scan_of_a_damaged_file_is_an_error(tmp_path: Path) -> None:
    write(tmp_path / "s", 1)
    unseal(tmp_path / "s")
    session = Session(tmp_path / "s")
    file = tmp_path / "s" / "cells" / "c0" / "samples.arrow"
    file.write_bytes(file.read_bytes()[:-40])
    with pytest.raises(SessionError, match="not a readable Arrow file"):
        list(session.scan("samples", "c0", ["t_ns"]))


def test_a_session_can_be_narrowed_to_cells_by_id_or_label(tmp_path: Path) -> None:
    session = Session(write(tmp_path / "s", 3))
    assert session.labels() == {"c0": "cell c0", "c1": "cell c1", "c2": "cell c2"}
    part = session.only(["cell c0", "c2", "none of them"])
    assert part.cell_ids == ["c0", "c2"]
    assert [cell["id"] for cell in part.json("plan_json")["cells"]] == ["c0", "c2"]
    assert set(part.table("samples").column("t_ns").to_pylist())
    assert session.cell_ids == ["c0", "c1", "c2"]


def test_a_copied_session_needs_nothing_of_where_it_was(tmp_path: Path) -> None:
    write(tmp_path / "s")
    row = Session(tmp_path / "s").row
    shutil.copytree(tmp_path / "s", tmp_path / "elsewhere")
    shutil.rmtree(tmp_path / "s")
    assert Session(tmp_path / "elsewhere").cell_ids == ["c0", "c1"]
    assert Session(tmp_path / "elsewhere").row == row
