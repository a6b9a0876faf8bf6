"""The code on the pages does what the pages say."""

from __future__ import annotations

import json
import shutil
import tomllib
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from doc_pages import Block, blocks
from page_plugin import Example

from joulebench.api import FinishedCell
from joulebench.models.catalogue import read_catalogue
from joulebench.plan.cells import Plan
from joulebench.plan.planner import make_plan
from joulebench.profile.reading import parse_profile
from joulebench.profile.sections import PROTOCOL_OPTIONS
from joulebench.profile.values import parse_share
from joulebench.registry.loading import Registry, default_registry
from joulebench.session import Session


def _planned(block: Block) -> Plan:
    registry = default_registry()
    folders = registry.profile_dirs()
    profile = parse_profile(block.code, block.page, Path.cwd(), (), folders)
    return make_plan(profile, registry, read_catalogue(folders), folders)


def test_the_page_s_plugin_is_found_by_its_entry_point(example: Example) -> None:
    listed = json.loads(example.joulebench("plugin", "list", "--json").stdout)
    mine = {(row["kind"], row["name"]) for row in listed["plugins"] if row["distribution"] == "joulebench-board"}
    assert mine == {("backend", "counting"), ("probe", "board")}
    assert listed["broken"] == []


def test_the_page_s_backend_counts_from_each_prompt(example_run: Path) -> None:
    rows = Session(example_run).table("requests").to_pylist()
    first = rows[0]["output_tokens"]
    assert len(first) == 200
    assert all(after == (before + 1) % 256 for before, after in pairwise(first))


def test_the_page_s_probe_gives_joules_that_are_called_simulated(example_run: Path) -> None:
    session = Session(example_run)
    energy = session.table("energy").to_pylist()
    board = [row for row in energy if row["channel"] == "board/supply" and row["phase"] == "total"]
    assert len(board) == session.table("blocks").num_rows >= 3
    assert {row["provenance"] for row in board} == {"simulated"}
    # A machine that others keep busy may cost a block its samples, or cut it into pieces that are
    # too short for the sensor, which the row then says.
    reasons = {"samples_missing", "insufficient_resolution"}
    assert all(reasons & set(row["flags"]) for row in board if row["gross_j"] is None)
    known = [row for row in board if row["gross_j"] is not None]
    assert known
    for row in known:
        # 2.5 W, the number in the file, over the block.
        assert row["gross_j"] == pytest.approx(2.5 * row["duration_s"])


def test_the_page_s_observer_and_command_are_called(capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = [block.code for block in blocks("plugins.md") if "observer" in block.words]
    module = ModuleType("observing")
    exec(compile(code, "plugins.md", "exec"), vars(module))  # noqa: S102  the page's own code
    registry = Registry()
    registry.add(module, "observing")
    registry.cell_finished(FinishedCell(Path(), "001-a", "ok", None), print)
    assert capsys.readouterr().out == "001-a: ok\n"
    assert list(registry.commands()) == ["hello"]


def test_each_way_of_reading_a_session_works(
    example_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(example_run, tmp_path / "session")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for block in blocks("session-format.md"):
        if "run" in block.words:
            exec(compile(block.code, block.page, "exec"), names)  # noqa: S102
    per_unit = names["per_unit"]
    assert set(per_unit["channel"]) >= {"board/supply"}  # type: ignore[index]
    assert set(per_unit["j_per_unit"].is_null()) <= {False}  # type: ignore[index]


def test_the_page_s_reader_of_streams_stops_where_they_break_off(example_run: Path, tmp_path: Path) -> None:
    (code,) = [block.code for block in blocks("session-format.md") if "def read_part" in block.code]
    import pyarrow as pa

    names: dict[str, object] = {"pa": pa}
    exec(compile(code, "session-format.md", "exec"), names)  # noqa: S102
    table = Session(example_run).table("blocks")
    whole = tmp_path / "blocks.arrow.part"
    with whole.open("wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        for number in range(3):
            writer.write_table(table.slice(number, 1))
    content = whole.read_bytes()
    whole.write_bytes(content[: len(content) * 2 // 3])
    rows = [row for batch in names["read_part"](whole) for row in batch.to_pylist()]  # type: ignore[operator]
    assert 0 < len(rows) < 3
    assert rows == table.to_pylist()[: len(rows)]


def _profiles(word: str) -> list[Block]:
    return [block for block in blocks("profiles.md") if word in block.words]


def test_every_example_profile_can_be_planned() -> None:
    assert [len(_planned(profile).cells) > 0 for profile in _profiles("plan")] == [True] * 5


def test_the_example_of_simulated_devices_can_be_planned() -> None:
    (example,) = [block for block in blocks("fpga.md") if block.words == ("plan",)]
    assert _planned(example).cells


def test_the_example_of_a_published_procedure_can_be_planned() -> None:
    (example,) = [block for block in blocks("melodi.md") if block.words == ("plan",)]
    assert _planned(example).cells


def test_the_protocol_s_defaults_are_those_that_the_page_names_first() -> None:
    first, *_ = [block for block in blocks("profiles.md") if block.code.startswith("[protocol]")]
    options = {option.name: option for option in PROTOCOL_OPTIONS}
    stated = tomllib.loads(first.code)["protocol"]
    assert len(stated) > 4
    for name, value in stated.items():
        known = parse_share(value) if options[name].type == "share" else value
        assert known == options[name].default, name


def test_axes_make_as_many_cells_as_the_page_says() -> None:
    (axes,) = [profile for profile in _profiles("plan") if "torch-static" in profile.code]
    assert len(_planned(axes).cells) == 15


def test_include_and_exclude_leave_what_the_page_says() -> None:
    (pattern,) = [profile for profile in _profiles("plan") if "[[include]]" in profile.code]
    cells = _planned(pattern).cells
    kept = {(cell.backend_settings["dtype"], cell.backend_settings["threads"], cell.workload) for cell in cells}
    expected = {(dtype, threads, "generate") for dtype in ("float32", "bfloat16") for threads in (1, 2)}
    assert kept == expected | {("float32", 1, "idle"), ("bfloat16", 1, "idle")}


def test_a_chain_of_techniques_is_read_in_order() -> None:
    (block,) = _profiles("parse")
    profile = parse_profile(block.code, block.page, Path.cwd())
    chains = {technique.label: [step.plugin for step in technique.steps] for technique in profile.techniques}
    assert chains == {"none": [], "sparse": ["some-pruning"], "sparse-and-small": ["some-pruning", "some-quantization"]}


def test_the_page_s_blocks_of_python_are_measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for block in blocks("measure.md"):
        if "run" in block.words:
            exec(compile(block.code, block.page, "exec"), names)  # noqa: S102
    assert names["total"] == sum(range(2_000_000))
    assert json.loads(names["text"])["seconds"] > 0
    assert names["m"].seconds > 0
