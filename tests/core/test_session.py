"""The session folder: what survives a kill, what is refused, and who can read it."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import joulebench.session.files as sessions
from joulebench.errors import SessionError
from joulebench.session import Session
from joulebench.session.conversion import table_of
from joulebench.session.schema import CELL_TABLES
from joulebench.session.tables import SCHEMA_VERSION, BlockRow, CellRow, ChannelRow, SampleRow, SessionRow
from joulebench.session.upkeep import recover, verify
from joulebench.session.writing import SessionWriter, TableStream
from sealing import reseal, unseal

if TYPE_CHECKING:
    from conftest import CliHere

pa = pytest.importorskip("pyarrow")


CHANNEL = ChannelRow(
    channel="probe/0",
    quantity="energy",
    unit="J",
    kind="counter",
    provenance="measured",
    domain="package-0",
    counted=True,
)


def block(cell: str, number: int) -> BlockRow:
    return BlockRow(cell_id=cell, block=number, process=0, duration_s=1.5)


def sample(tick: int) -> SampleRow:
    return SampleRow(t_ns=tick, channel=f"probe/{tick % 3}", raw=tick, origin="tick")


def make_session(path: Path, cells: dict[str, int], **more: Any) -> SessionWriter:
    """A finished session with so many blocks in each cell."""
    path.mkdir()
    writer = SessionWriter(path)
    plan = json.dumps({"cells": [{"id": cell} for cell in cells]})
    writer.write_session(replace(SessionRow(status="complete", plan_json=plan), **more))
    for cell, blocks in cells.items():
        for table in CELL_TABLES.keys() - {"cell"}:
            stream = writer.stream(cell, table)
            if table == "blocks":
                for number in range(blocks):
                    stream.append([block(cell, number)])
            if table == "samples":
                stream.append([sample(tick) for tick in range(5)])
                stream.append([sample(tick) for tick in range(5, 9)])
            stream.finish()
        writer.write_cell(CellRow(cell_id=cell, status="ok"))
    return writer


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A session of two cells, the second first in the plan."""
    make_session(tmp_path / "s", {"b": 2, "a": 3})
    return tmp_path / "s"


# -- reading ------------------------------------------------------------------------------------


def test_tables_of_all_cells_are_read_in_the_plans_order(path: Path) -> None:
    session = Session(path)
    assert session.cell_ids == ["b", "a"]
    assert session.table("blocks").column("cell_id").to_pylist() == ["b", "b", "a", "a", "a"]
    assert session.cells().column("cell_id").to_pylist() == ["b", "a"]
    assert session.table("blocks", "a").num_rows == 3


def test_a_session_is_readable_in_one_line_by_arrow_polars_duckdb_and_pandas(path: Path) -> None:
    import pyarrow.dataset as ds

    files = [str(file) for file in sorted(path.glob("cells/*/blocks.arrow"))]
    assert ds.dataset(files, format="arrow").to_table().num_rows == 5

    pl = pytest.importorskip("polars")
    assert pl.read_ipc(path / "cells" / "a" / "blocks.arrow")["duration_s"].sum() == 4.5
    assert set(pl.read_ipc(path / "cells" / "a" / "samples.arrow")["channel"].to_list()) == {
        "probe/0",
        "probe/1",
        "probe/2",
    }

    duckdb = pytest.importorskip("duckdb")
    blocks = ds.dataset(files, format="arrow")  # noqa: F841  (DuckDB finds it by name)
    rows = duckdb.sql("SELECT cell_id, count(*) FROM blocks GROUP BY ALL ORDER BY ALL").fetchall()
    assert rows == [("a", 3), ("b", 2)]

    pd = pytest.importorskip("pandas")
    assert len(pd.read_feather(path / "cells" / "a" / "blocks.arrow")) == 3


def test_rows_of_all_cells_say_whose_they_are(path: Path) -> None:
    session = Session(path)
    assert session.table("samples").column_names == ["cell_id", *CELL_TABLES["samples"].names]
    assert session.table("samples").column("cell_id").to_pylist() == ["b"] * 9 + ["a"] * 9
    assert session.table("events").column_names[0] == "cell_id"
    assert session.table("samples", "a").schema.equals(CELL_TABLES["samples"])
    assert session.rows(SampleRow, "a") == session.rows(SampleRow)[9:]


def test_units_and_meaning_stand_in_the_files_themselves(path: Path) -> None:
    with pa.memory_map(str(path / "cells" / "a" / "blocks.arrow")) as source:
        field = pa.ipc.open_file(source).schema.field("duration_s")
    assert field.metadata[b"unit"] == b"s"
    assert field.metadata[b"doc"]


@pytest.mark.parametrize("cell", ["../a", "..", "a/../a", "/etc", "", "nowhere"])
def test_a_cell_id_that_is_no_folders_name_gives_nothing(path: Path, cell: str) -> None:
    assert Session(path).table("blocks", cell).num_rows == 0


# -- what is refused ----------------------------------------------------------------------------


def test_a_session_of_a_newer_schema_is_refused_with_the_cure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli_here: CliHere
) -> None:
    with monkeypatch.context() as patch:
        for module in ("joulebench.session.schema", "joulebench.session.files"):
            patch.setattr(f"{module}.SCHEMA_VERSION", SCHEMA_VERSION + 1)
        make_session(tmp_path / "new", {"a": 1})
    answer = cli_here("session", "verify", tmp_path / "new")
    assert answer.code == 2
    assert f"written with session schema {SCHEMA_VERSION + 1}" in answer.stderr
    assert "pip install --upgrade joulebench" in answer.stderr


@pytest.mark.parametrize("content", [b"", b"ARROW1\0\0", b"text", os.urandom(500)])
def test_a_damaged_session_file_is_refused(path: Path, content: bytes) -> None:
    (path / "session.arrow").write_bytes(content)
    with pytest.raises(SessionError, match="not a readable Arrow file"):
        Session(path)


def test_an_arrow_file_of_somebody_else_is_refused(path: Path) -> None:
    sessions.write_table(path / "session.arrow", pa.table({"x": [1]}))
    with pytest.raises(SessionError, match="not a joulebench session"):
        Session(path)


def test_a_plan_that_is_no_json_is_refused(tmp_path: Path) -> None:
    make_session(tmp_path / "s", {"a": 1}, plan_json="{")
    with pytest.raises(SessionError, match="plan_json is not valid JSON"):
        _ = Session(tmp_path / "s").cell_ids


def test_a_column_that_an_older_version_did_not_write_is_unknown(path: Path) -> None:
    unseal(path)
    with pa.memory_map(str(path / "session.arrow")) as source:
        table = pa.ipc.open_file(source).read_all()
    sessions.write_table(path / "session.arrow", table.drop_columns(["machine_json"]))
    assert Session(path).json("machine_json") is None


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), value=st.integers(0, 255), cut=st.booleans())
def test_a_damaged_file_is_read_or_refused_and_never_crashes(path: Path, place: float, value: int, cut: bool) -> None:
    file = path / "cells" / "a" / "blocks.arrow"
    whole = file.read_bytes()
    at = int(place * len(whole))
    try:
        file.write_bytes(whole[:at] if cut else whole[:at] + bytes([value]) + whole[at + 1 :])
        try:
            Session(path).table("blocks").to_pylist()
        except SessionError:
            return
        assert file.read_bytes() == whole, "an altered file must not pass for the one that was written"
    finally:
        file.write_bytes(whole)


def test_a_cell_of_an_older_version_has_nulls_for_what_it_lacks(path: Path) -> None:
    unseal(path)
    file = path / "cells" / "a" / "blocks.arrow"
    with pa.memory_map(str(file)) as source:
        table = pa.ipc.open_file(source).read_all()
    sessions.write_table(file, table.drop_columns(["duration_s"]))
    read = Session(path).table("blocks")
    assert read.schema.equals(CELL_TABLES["blocks"])
    assert read.column("duration_s").to_pylist() == [1.5, 1.5, None, None, None]


def test_what_a_later_minor_version_adds_is_ignored(tmp_path: Path) -> None:
    """A column more, and a field more within a struct."""
    path = tmp_path / "s"
    make_session(path, {"a": 1}, channels=(CHANNEL,))
    unseal(path)
    file = path / "session.arrow"
    with pa.memory_map(str(file)) as source:
        table = pa.ipc.open_file(source).read_all()
    assert table.schema.metadata is not None
    metadata = {**table.schema.metadata, b"joulebench_schema_minor": b"99"}
    place = table.schema.get_field_index("channels")
    channels = table.column(place).to_pylist()
    item = table.schema.field("channels").type.value_type
    kind = pa.list_(pa.struct([*item, pa.field("hue", pa.string())]))
    later = [None if row is None else [{**channel, "hue": "red"} for channel in row] for row in channels]
    before = Session(path).row
    assert before.channels == (CHANNEL,)
    newer = table.set_column(place, pa.field("channels", kind), pa.array(later, kind))
    newer = newer.append_column("mood", pa.array(["fair"]))
    row = {name: sessions.column_values(newer.column(name))[0] for name in newer.column_names}
    newer = newer.replace_schema_metadata({**metadata, sessions.ROW_DIGEST: sessions.row_digest(row).encode()})
    sessions.write_table(file, newer)
    assert Session(path).row == before
    assert [problem for problem in verify(path) if not problem.recoverable] == []


def test_a_column_of_another_type_is_refused(path: Path) -> None:
    unseal(path)
    file = path / "cells" / "a" / "blocks.arrow"
    sessions.write_table(file, pa.table({"cell_id": ["a"], "block": ["first"]}))
    with pytest.raises(SessionError, match="column block is of another type"):
        Session(path).table("blocks")


# -- links that lead out ------------------------------------------------------------------------


def test_a_cell_folder_that_is_a_link_is_not_read(path: Path, tmp_path: Path) -> None:
    make_session(tmp_path / "other", {"secret": 1})
    (path / "cells" / "c").symlink_to(tmp_path / "other" / "cells" / "secret")
    session = Session(path)
    assert session.cell_ids == ["b", "a"]
    assert session.table("blocks", "c").num_rows == 0
    assert [(problem.file, problem.recoverable) for problem in verify(path)] == [("c/", False)]


def test_a_folder_of_cells_that_is_a_link_is_not_read(path: Path, tmp_path: Path) -> None:
    (path / "cells").rename(tmp_path / "moved")
    (path / "cells").symlink_to(tmp_path / "moved")
    assert Session(path).cell_ids == []


@pytest.mark.parametrize("name", ["blocks.arrow", "blocks.arrow.part"])
def test_a_table_that_is_a_link_is_neither_read_nor_recovered(path: Path, tmp_path: Path, name: str) -> None:
    unseal(path)
    outside = (path / "cells" / "a" / "blocks.arrow").rename(tmp_path / "outside.arrow")
    (path / "cells" / "a" / name).symlink_to(outside)
    assert Session(path).table("blocks", "a").num_rows == 0
    assert [problem.what for problem in verify(path)] == ["is a link: not read"]
    assert recover(path) == []
    assert outside.exists()


# -- streams ------------------------------------------------------------------------------------

_WRITE = """
import os, sys
from pathlib import Path
from joulebench.session.tables import SampleRow
from joulebench.session.writing import TableStream
stream = TableStream(Path(sys.argv[1]), SampleRow)
tick = 0
while True:
    rows = [SampleRow(t_ns=tick + i, channel=f"c{(tick + i) % 7}", raw=1, origin="tick") for i in range(100)]
    stream.append(rows)
    tick += 100
    print(tick, flush=True)
"""


def kill_a_writer(final: Path, batches: int) -> int:
    """Write until so many batches are reported, then kill -9; rows that were reported."""
    writer = subprocess.Popen([sys.executable, "-c", _WRITE, str(final)], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    for _ in range(batches):
        reported = int(writer.stdout.readline())
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    writer.stdout.close()
    return reported


def test_kill_9_loses_no_batch_that_was_handed_over_and_recover_makes_it_final(
    tmp_path: Path, cli_here: CliHere
) -> None:
    path = tmp_path / "s"
    make_session(path, {"a": 1})
    unseal(path)
    final = path / "cells" / "a" / "samples.arrow"
    final.unlink()
    reported = kill_a_writer(final, 5)
    rows = Session(path).table("samples").num_rows
    assert rows >= reported
    assert rows % 100 == 0, "only whole batches"

    answer = cli_here("session", "verify", path)
    assert (answer.code, answer.stderr) == (1, "")
    assert f"a/samples.arrow.part: unfinished stream, {rows} whole rows" in answer.stdout
    assert "session recover" in answer.stdout

    assert cli_here("session", "recover", path) == (0, "recovered a/samples.arrow\n", "")
    assert cli_here("session", "verify", path) == (0, f"{path}: whole\n", "")
    assert Session(path).table("samples").column("t_ns").to_pylist() == list(range(rows))
    assert cli_here("session", "recover", path) == (0, "nothing to recover\n", "")


def test_a_writer_that_was_killed_is_gone_on_with(tmp_path: Path) -> None:
    final = tmp_path / "samples.arrow"
    kill_a_writer(final, 3)
    stream = TableStream(final, SampleRow)
    stream.append([sample(10**9)])
    stream.finish()
    with pa.memory_map(str(final)) as source:
        times = pa.ipc.open_file(source).read_all().column("t_ns").to_pylist()
    assert times == [*range(len(times) - 1), 10**9]


def test_a_stream_cut_at_any_byte_gives_a_beginning_of_its_rows(tmp_path: Path) -> None:
    stream = TableStream(tmp_path / "blocks.arrow", BlockRow)
    for number in range(4):
        stream.append([block("a", number)])
    stream.close()
    part = tmp_path / "blocks.arrow.part"
    whole = part.read_bytes()
    seen = set()
    for end in range(0, len(whole), 61):
        part.write_bytes(whole[:end])
        batches = sessions.read_part(part).batches
        numbers = [value for batch in batches for value in batch.column("block").to_pylist()]
        assert numbers == list(range(len(numbers)))
        seen.add(len(numbers))
    assert seen >= {0, 1, 2, 3}


def test_going_on_with_a_finished_table_keeps_its_rows(path: Path) -> None:
    unseal(path)
    stream = SessionWriter(path).stream("a", "blocks")
    stream.append([block("a", 3)])
    assert Session(path).table("blocks", "a").column("block").to_pylist() == [0, 1, 2, 3]
    stream.finish()
    assert Session(path).table("blocks", "a").column("block").to_pylist() == [0, 1, 2, 3]


def test_a_stream_beside_its_finished_table_never_replaces_it(path: Path) -> None:
    final = path / "cells" / "a" / "blocks.arrow"
    kept = final.rename(path / "kept")
    stream = SessionWriter(path).stream("a", "blocks")
    stream.append([block("a", 99)])
    stream.close()
    kept.rename(final)
    assert [problem.what for problem in verify(path)] == ["stream left beside its finished file"]
    recover(path)
    assert Session(path).table("blocks", "a").column("block").to_pylist() == [0, 1, 2]
    assert verify(path) == []


def test_finishing_with_other_rows_replaces_what_was_streamed(path: Path) -> None:
    unseal(path)
    (path / "cells" / "a" / "blocks.arrow").unlink()
    stream = SessionWriter(path).stream("a", "blocks")
    stream.append([block("a", 0)])
    stream.finish_with([block("a", 0), block("a", 1)])
    assert Session(path).table("blocks", "a").num_rows == 2
    assert verify(path) == []


def test_a_stream_of_other_columns_is_refused_and_not_lost(path: Path) -> None:
    final = path / "cells" / "a" / "blocks.arrow"
    final.unlink()
    schema = pa.schema([("cell_id", pa.string())])
    with pa.ipc.new_stream(str(final.with_name("blocks.arrow.part")), schema) as old:
        old.write_table(pa.table({"cell_id": ["a"]}, schema=schema))
    with pytest.raises(SessionError, match="another version"):
        SessionWriter(path).stream("a", "blocks")
    assert len(sessions.read_part(final.with_name("blocks.arrow.part")).batches) == 1


def test_verify_names_what_is_missing_damaged_or_lacks_columns(path: Path) -> None:
    folder = path / "cells" / "a"
    (folder / "cell.arrow").unlink()
    (folder / "events.arrow").unlink()
    (folder / "energy.arrow").write_bytes(b"x")
    sessions.write_table(folder / "blocks.arrow", pa.table({"cell_id": ["a"]}))
    by_name = {problem.file: problem.what for problem in verify(path)}
    assert by_name["a/cell.arrow"] == "cell did not finish"
    assert by_name["a/events.arrow"] == "missing"
    assert "not a readable Arrow file" in by_name["a/energy.arrow"]
    assert by_name["a/blocks.arrow"].startswith("lacks columns: block")
    assert len(by_name) == 4


def test_half_written_files_of_a_killed_run_are_cleared_by_recover(path: Path) -> None:
    stale = path / "cells" / "a" / ".blocks.arrow.123"
    stale.write_bytes(b"half")
    recover(path)
    assert not stale.exists()


# -- what a checksum finds ----------------------------------------------------------------------


def test_swapped_tables_of_two_cells_are_found_when_read_and_by_verify(path: Path, cli_here: CliHere) -> None:
    a, b = (path / "cells" / cell / "samples.arrow" for cell in "ab")
    content = a.read_bytes()
    stream = SessionWriter(path).stream("b", "samples")
    stream.append([sample(99)])
    stream.finish()
    reseal(path)
    assert verify(path) == []
    a.write_bytes(b.read_bytes())
    b.write_bytes(content)
    with pytest.raises(SessionError, match="is not what the run wrote"):
        Session(path).table("samples")
    assert {fault.file for fault in verify(path)} == {"a/samples.arrow", "b/samples.arrow"}
    assert cli_here("session", "verify", path).code == 1


def test_rows_in_another_cells_folder_are_found_without_any_checksum(path: Path) -> None:
    unseal(path)
    a, b = (path / "cells" / cell / "blocks.arrow" for cell in "ab")
    content = a.read_bytes()
    a.write_bytes(b.read_bytes())
    b.write_bytes(content)
    with pytest.raises(SessionError, match="holds rows of the cell 'b'"):
        Session(path).table("blocks", "a")
    assert {fault.file for fault in verify(path)} == {"a/blocks.arrow", "b/blocks.arrow"}


@pytest.mark.parametrize("name", ["c", "a2"])
def test_a_copied_folder_is_no_cell(path: Path, name: str) -> None:
    shutil.copytree(path / "cells" / "a", path / "cells" / name)
    with pytest.raises(SessionError, match="not in its plan"):
        Session(path).cells()
    assert "cells/" in {fault.file for fault in verify(path)}


def test_a_copy_of_a_cell_over_another_is_found(path: Path) -> None:
    shutil.rmtree(path / "cells" / "b")
    shutil.copytree(path / "cells" / "a", path / "cells" / "b")
    with pytest.raises(SessionError, match="holds rows of the cell 'a'"):
        Session(path).cells()


def test_a_finished_cell_that_was_removed_is_missed(path: Path) -> None:
    reseal(path)
    shutil.rmtree(path / "cells" / "b")
    with pytest.raises(SessionError, match="missing: cells/b"):
        Session(path).cells()


def test_a_value_of_the_sessions_own_row_cannot_be_changed_unseen(tmp_path: Path) -> None:
    make_session(tmp_path / "s", {"a": 1}, profile_name="honest")
    file = tmp_path / "s" / "session.arrow"
    content = file.read_bytes()
    assert content.count(b"honest") == 1
    file.write_bytes(content.replace(b"honest", b"hottest"[:6]))
    with pytest.raises(SessionError, match="is not what the run wrote"):
        Session(tmp_path / "s")


def test_a_session_of_before_checksums_is_read_and_whole(path: Path) -> None:
    unseal(path)
    assert Session(path).table("blocks").num_rows == 5
    assert verify(path) == []


def test_a_session_of_before_a_column_of_channels_is_read_with_that_unknown(tmp_path: Path) -> None:
    channels = tuple(
        ChannelRow(
            channel=f"meter/{name}",
            quantity="power",
            unit="W",
            kind="gauge",
            provenance="measured",
            domain="machine",
            counted=True,
            offset_u_w=1.0,
        )
        for name in ("one", "two")
    )
    make_session(tmp_path / "s", {"a": 1}, channels=channels)
    row = Session(tmp_path / "s").row
    unseal(tmp_path / "s")
    file = tmp_path / "s" / "session.arrow"
    table = sessions.read_file(file)
    place = table.schema.get_field_index("channels")
    struct = table.schema.field("channels").type.value_type
    older = pa.list_(pa.struct([field for field in struct if field.name != "offset_u_w"]))
    entries = [{k: v for k, v in entry.items() if k != "offset_u_w"} for entry in table["channels"][0].as_py()]
    sessions.write_table(file, table.set_column(place, "channels", pa.array([entries], older)))
    read = Session(tmp_path / "s").row
    assert read.channels == tuple(replace(channel, offset_u_w=None) for channel in channels)
    assert read.clock_start == row.clock_start


# -- what no run writes -------------------------------------------------------------------------


@pytest.mark.parametrize("column", ["blocks", "device", "duration"])
def test_a_misspelt_column_is_an_error_and_no_null(column: str) -> None:
    with pytest.raises(TypeError, match=column):
        replace(block("a", 3), **{column: 1})


def test_a_row_of_another_table_is_refused(path: Path) -> None:
    stream = SessionWriter(path).stream("a", "blocks")
    with pytest.raises(ValueError, match="SampleRow is no row of this table"):
        stream.append([sample(1)])


def test_a_null_that_no_run_writes_is_refused_with_its_place(path: Path) -> None:
    file = path / "cells" / "a" / "blocks.arrow"
    sessions.write_table(file, table_of([replace(block("a", 0), process=None)], BlockRow))  # type: ignore[arg-type]
    reseal(path)
    with pytest.raises(SessionError, match="column process is null") as refused:
        Session(path).rows(BlockRow, "a")
    assert "cells/a/blocks.arrow" in (refused.value.where or "")


def test_rows_are_read_as_they_were_written(path: Path) -> None:
    assert Session(path).rows(BlockRow, "a") == [block("a", number) for number in range(3)]
    assert Session(path).rows(SampleRow, "a") == [sample(tick) for tick in range(9)]


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan, 1e300])
def test_a_number_that_no_measurement_gives_is_refused(path: Path, value: float) -> None:
    stream = SessionWriter(path).stream("a", "blocks")
    stream.append([replace(block("a", 3), duration_s=value)])
    stream.finish()
    reseal(path)
    with pytest.raises(SessionError, match="column duration_s holds"):
        Session(path).table("blocks")
    assert [fault.file for fault in verify(path)] == ["a/blocks.arrow"]


@pytest.mark.parametrize(
    "plan",
    [
        *([], 3, "x", {"cells": 3}, {"cells": [1]}, {"cells": [{}]}, {"cells": [{"id": 1}]}),
        *({"cells": [{"id": "a", "label": 5}]}, {"cells": [{"id": "a"}, {"id": "a"}]}),
    ],
)
def test_a_plan_of_another_shape_is_refused(tmp_path: Path, plan: object) -> None:
    make_session(tmp_path / "s", {"a": 1}, plan_json=json.dumps(plan))
    with pytest.raises(SessionError, match="plan_json"):
        _ = Session(tmp_path / "s").cell_ids


def test_a_damaged_time_zone_is_refused(path: Path) -> None:
    unseal(path)
    content = (path / "session.arrow").read_bytes()
    assert b"UTC" in content
    (path / "session.arrow").write_bytes(content.replace(b"UTC", b"QTC"))
    with pytest.raises(SessionError, match="another type"):
        Session(path)


def test_a_session_without_a_status_is_refused(tmp_path: Path) -> None:
    make_session(tmp_path / "s", {"a": 1}, status=None)
    with pytest.raises(SessionError, match="column status is null"):
        Session(tmp_path / "s")


@pytest.mark.timeout(20)
@pytest.mark.parametrize("name", ["blocks.arrow", "blocks.arrow.part", "cell.arrow"])
def test_a_fifo_in_place_of_a_table_hangs_nobody(path: Path, cli_here: CliHere, name: str) -> None:
    file = path / "cells" / "a" / name
    file.unlink(missing_ok=True)
    os.mkfifo(file)
    assert f"a/{name}: is not a regular file" in cli_here("session", "verify", path).stdout
    recover(path)
    assert file.is_fifo()


# -- what cannot be read again ------------------------------------------------------------------


def test_a_stream_that_lost_rows_is_kept_and_not_made_final(path: Path) -> None:
    unseal(path)
    stream = SessionWriter(path).stream("a", "blocks")
    part = path / "cells" / "a" / "blocks.arrow.part"
    size = part.stat().st_size
    stream.append([block("a", 3)])
    os.truncate(part, size)
    with pytest.raises(SessionError, match="4 rows were written and 3 can be read"):
        stream.finish()
    assert part.exists()
    assert not part.with_name("blocks.arrow").exists()


def test_recover_keeps_a_stream_that_it_cannot_read_to_its_end(path: Path) -> None:
    unseal(path)
    stream = SessionWriter(path).stream("a", "blocks")
    stream.append([block("a", 3)])
    stream.close()
    part = path / "cells" / "a" / "blocks.arrow.part"
    os.truncate(part, part.stat().st_size - 40)
    assert "3 rows; the stream, which ends damaged, is kept" in recover(path)[0]
    assert part.with_name("blocks.arrow.unread").exists()
    assert Session(path).table("blocks", "a").num_rows == 3


def test_a_folder_that_is_removed_in_mid_run_is_noticed_at_the_next_row(path: Path) -> None:
    stream = SessionWriter(path).stream("a", "blocks")
    stream.append([block("a", 3)])
    shutil.rmtree(path)
    with pytest.raises(SessionError, match="was removed while the run was writing it"):
        stream.append([block("a", 4)])
