"""Interrupted runs: killed, stopped by Ctrl-C, left half written; and going on with them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from toyrun import Bench, Done, Started, children_of, command_of, state_of, until

from joulebench.session import Session
from joulebench.session.schema import CELL_TABLES
from joulebench.session.tables import CELL_ROWS
from joulebench.session.writing import SessionWriter


def _ready(started: Started, blocks: int) -> None:
    until(lambda: len(started.blocks()) >= blocks, f"{blocks} blocks")


def _gone(pids: list[int]) -> None:
    until(lambda: not any(state_of(pid) for pid in pids), f"the end of {pids}", 5.0)


def _moments(session: Session) -> dict[tuple[object, object], object]:
    rows = session.table("blocks").to_pylist()
    return {(row["cell_id"], row["block"]): row["t0_ns"] for row in rows}


def _consistent(session: Session, blocks: int) -> None:
    """Every cell has its blocks, and each block its rows once."""
    for cell_id in session.cell_ids:
        rows = session.table("blocks", cell_id).to_pylist()
        assert [row["block"] for row in rows] == list(range(blocks))
        requests = session.table("requests", cell_id).to_pylist()
        assert [row["block"] for row in requests] == list(range(blocks))
        energy = session.table("energy", cell_id).to_pylist()
        total = [row["block"] for row in energy if row["phase"] == "total"]
        assert total == list(range(blocks))


def _meter() -> dict[str, dict[str, object]]:
    """A gauge that several samplers may read, so that the sampler of a cell that waits is there as well."""
    return {"toymeter": {"mode": "shared"}}


def test_a_killed_run_leaves_no_process_and_resumes_with_every_finished_block(bench: Bench) -> None:
    profile = bench.profile(
        {"fast": {"crash": "raise"}, "a": {"step_s": 0.02}, "b": {"step_s": 0.02}},
        min_blocks=8,
        max_blocks=8,
        probes=_meter(),
    )
    started = bench.start(profile)
    _ready(started, 5)
    pids = started.children()
    kinds = [command_of(pid) for pid in pids]
    assert sum("joulebench.worker" in kind for kind in kinds) == 2
    assert sum("sampler.py" in kind for kind in kinds) == 2
    assert "T" in [state_of(pid) for pid in pids]  # one worker waits, stopped
    started.end(signal.SIGKILL)
    _gone(pids)

    folder = started.session_folder()
    before = _moments(Session(folder))
    assert len(before) >= 5
    assert Session(folder).row.status == "running"
    assert len(Session(folder).table("samples").to_pylist()) > 0

    done = bench.run("--resume", folder, "--no-report")
    assert done.code == 1  # the cell that raised
    after = _moments(done.session)
    assert {key: after[key] for key in before} == before
    assert done.session.row.status == "complete"
    for name in ("a", "b"):
        assert (done.cell(name)["status"], done.cell(name)["blocks"]) == ("ok", 8)
        assert "resumed" in done.cell(name)["flags"]
    assert not list(folder.rglob("*.part"))
    assert not (folder / "resume.json").exists()


def test_a_sampler_that_rests_ends_with_its_parent_whoever_inherits_it(bench: Bench) -> None:
    """As in a container whose first process shares the session: no orphaned group, no SIGHUP."""
    profile = bench.profile(
        {"a": {"step_s": 0.05}, "b": {"step_s": 0.05}}, max_blocks=50, min_blocks=50, probes=_meter()
    )
    code = (
        "import ctypes, subprocess, sys\n"
        "assert ctypes.CDLL(None).prctl(36, 1, 0, 0, 0) == 0  # PR_SET_CHILD_SUBREAPER\n"
        "run = subprocess.Popen([sys.executable, '-m', 'joulebench', *sys.argv[1:]])\n"
        "print(run.pid, flush=True)\n"
        "sys.stdin.readline()\n"
    )
    out = bench.folder / "out"
    reaper = subprocess.Popen(
        [sys.executable, "-c", code, "run", str(profile), "--output", str(out)],
        env=bench.environment,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        assert reaper.stdout is not None
        pid = int(reaper.stdout.readline())
        until(lambda: list(out.glob("*/session.arrow")), "a session")
        until(lambda: len(Session(next(out.iterdir())).table("blocks")) >= 3, "blocks")
        pids = children_of(pid)
        assert len(pids) == 4
        os.kill(pid, signal.SIGKILL)
        _gone(pids)
    finally:
        reaper.kill()
        reaper.communicate()


def test_ctrl_c_exits_with_130_says_how_to_go_on_and_leaves_no_process(bench: Bench) -> None:
    profile = bench.profile(
        {"a": {"step_s": 0.02}, "slow": {"hang_s": 90.0, "at": "request", "request": 8}},
        min_blocks=6,
        max_blocks=6,
        probes=_meter(),
        limits={"block_s": 120.0},
    )
    started = bench.start(profile)
    _ready(started, 6)  # "slow" hangs in its fourth block or will do so soon
    pids = started.children()
    code, errors = started.end(signal.SIGINT)
    folder = started.session_folder()
    assert code == 130
    assert f"joulebench run --resume {folder}" in errors
    assert "Traceback" not in errors
    _gone(pids)
    assert Session(folder).row.status == "interrupted"
    before = _moments(Session(folder))

    done = bench.run("--resume", folder, "--quiet", "--no-report")
    assert done.code == 0, done.errors
    _consistent(done.session, 6)
    after = _moments(done.session)
    assert {key: after[key] for key in before} == before


def test_a_run_is_stopped_in_a_later_group_as_in_its_first(bench: Bench) -> None:
    prompts = {"plugin": "generate", "prompts": "prompts.txt"}
    profile = bench.profile(
        {"a": {"step_s": 0.02}},
        workload={"short": {**prompts, "new_tokens": 2}, "long": {**prompts, "new_tokens": 100}},
        min_blocks=2,
        max_blocks=2,
    )
    started = bench.start(profile)
    # The second group is under way when its worker is there and the first one's cell is final.
    until(lambda: len(Session(started.session_folder()).cells()) == 1 and len(started.children()) > 0, "a second group")
    code, errors = started.end(signal.SIGINT)
    assert (code, "Traceback" in errors) == (130, False), errors
    assert Session(started.session_folder()).row.status == "interrupted"


@pytest.fixture
def interrupted(bench: Bench) -> Path:
    """A session that was killed after some blocks of its only cell."""
    profile = bench.profile(
        {"a": {"step_s": 0.01}}, min_blocks=6, max_blocks=6, probes=_meter(), requests_per_block=2, processes=2
    )
    started = bench.start(profile, "--no-report")
    _ready(started, 2)
    started.end(signal.SIGKILL)
    return started.session_folder()


def _resumed(bench: Bench, folder: Path) -> Done:
    done = bench.run("--resume", folder, "--no-report")
    assert done.code == 0, done.errors
    return done


def test_the_rows_of_a_block_that_was_cut_off_are_dropped_and_it_is_measured_again(
    bench: Bench, interrupted: Path
) -> None:
    session = Session(interrupted)
    (cell_id,) = session.cell_ids
    finished = session.table("blocks", cell_id).num_rows
    writer = SessionWriter(interrupted)
    for name in ("energy", "requests", "events"):
        rows: list[Any] = session.rows(CELL_ROWS[name], cell_id)
        half = [replace(row, block=finished) for row in rows if row.block == 0]
        stream = writer.stream(cell_id, name)
        stream.append(half)
        stream.close()
    done = _resumed(bench, interrupted)
    keys = [(row["block"], row["request"]) for row in done.rows("requests")]
    assert keys == [(block, request) for block in range(6) for request in range(2)]
    totals = [row["block"] for row in done.rows("energy") if row["phase"] == "total"]
    assert totals == list(range(6))
    starts = [row["block"] for row in done.rows("events") if row["kind"] == "block_start"]
    assert starts == list(range(6))


def test_a_session_that_was_recovered_can_still_be_resumed(bench: Bench, interrupted: Path) -> None:
    before = _moments(Session(interrupted))
    words = [sys.executable, "-m", "joulebench", "session", "recover", str(interrupted)]
    subprocess.run(words, env=bench.environment, check=True, capture_output=True)
    after = _moments(_resumed(bench, interrupted).session)
    assert len(after) == 6
    assert {key: after[key] for key in before} == before


def test_a_resumed_cell_goes_on_with_new_processes_and_rounds_and_blocks_of_the_same_work(
    bench: Bench, interrupted: Path
) -> None:
    before = Session(interrupted).table("blocks").to_pylist()
    rows = _resumed(bench, interrupted).rows("blocks")
    later = rows[len(before) :]
    assert min(row["process"] for row in later) > max(row["process"] for row in before)
    assert [row["round"] for row in rows] == list(range(6))
    assert {row["requests"] for row in rows} == {2}


def test_blocks_keep_their_length_when_a_resumed_worker_is_slower(bench: Bench) -> None:
    profile = bench.profile({"a": {"step_s": 0.01}}, min_blocks=4, max_blocks=4, block_s=0.15)
    text = profile.read_text().replace("requests_per_block = 1\n", "")
    profile.write_text(text)
    started = bench.start(profile, "--no-report")
    _ready(started, 1)
    started.end(signal.SIGKILL)
    folder = started.session_folder()
    counts = {row["requests"] for row in Session(folder).table("blocks").to_pylist()}
    rows = _resumed(bench, folder).rows("blocks")
    assert {row["requests"] for row in rows} == counts
    assert counts != {1}


def test_a_finished_cell_is_not_run_again(bench: Bench) -> None:
    profile = bench.profile(
        {"first": {"crash": "raise"}, "second": {"step_s": 0.05}}, turns=False, min_blocks=6, max_blocks=6
    )
    started = bench.start(profile, "--no-report")
    _ready(started, 2)
    started.end(signal.SIGKILL)
    folder = started.session_folder()
    (first,) = folder.glob("cells/*first*/cell.arrow")
    written = first.stat().st_mtime_ns
    notes = bench.folder / "notes.txt"
    done = bench.run("--resume", folder, "--no-report", TOY_OBSERVER=str(notes))
    assert done.code == 1
    assert first.stat().st_mtime_ns == written
    assert len(notes.read_text().splitlines()) == 1  # the second cell alone


def test_a_session_that_is_still_being_written_is_not_resumed(bench: Bench) -> None:
    profile = bench.profile({"a": {"step_s": 0.05}}, min_blocks=50, max_blocks=50)
    started = bench.start(profile, "--no-report")
    _ready(started, 1)
    again = bench.run("--resume", started.session_folder())
    assert again.code == 2
    assert "another run is still writing it" in again.errors
    assert started.process.poll() is None
    before = len(started.blocks())
    until(lambda: len(started.blocks()) > before, "the next block")


def test_a_complete_session_is_not_resumed(bench: Bench) -> None:
    done = bench.run(bench.profile({"a": {}}), "--no-report")
    assert done.folder is not None
    again = bench.run("--resume", done.folder)
    assert again.code == 2
    assert "nothing to resume" in again.errors


def test_all_tables_of_a_finished_session_are_plain_arrow_files(bench: Bench) -> None:
    done = bench.run(bench.profile({"a": {}}, probes=_meter()), "--no-report")
    assert done.folder is not None
    (cell,) = done.folder.glob("cells/*")
    assert {file.name for file in cell.iterdir()} == {f"{name}.arrow" for name in CELL_TABLES}
    for file in cell.iterdir():
        with pa.memory_map(str(file)) as source:
            assert pa.ipc.open_file(source).schema.names == CELL_TABLES[file.stem].names


# -- legs ---------------------------------------------------------------------------------------


def test_every_leg_keeps_what_it_found_and_the_first_is_the_sessions(bench: Bench, interrupted: Path) -> None:
    before = Session(interrupted).row
    row = _resumed(bench, interrupted).session.row
    assert row.legs is not None
    assert [leg.leg for leg in row.legs] == [0, 1]
    first, second = row.legs
    assert (first,) == before.legs
    assert first.finished_at is None, "it was killed"
    assert first.started_at is not None
    assert second.started_at is not None
    assert second.started_at > first.started_at
    assert second.profile_sha256 == first.profile_sha256
    for column in ("machine_json", "preflight_json", "channels", "clock_start", "created_at"):
        assert getattr(row, column) == getattr(before, column), column


@pytest.mark.parametrize(
    ("column", "change", "reason"),
    [
        ("machine_json", lambda text: json.dumps({**json.loads(text), "kernel": "Plan 9"}), "kernel was Plan 9"),
        ("machine_json", lambda text: json.dumps({**json.loads(text), "memory_bytes": 1000}), "memory_bytes was 1000"),
        ("versions_json", lambda text: json.dumps({**json.loads(text), "python": "2.7"}), "version: python was 2.7"),
        ("joulebench_version", lambda text: text + "1", "version: joulebench was"),
        ("channels", lambda rows: tuple(replace(row, scale=2 * row.scale) for row in rows), "sensor: toymeter"),
        ("channels", lambda rows: (), "was absent"),
    ],
)
def test_a_session_of_another_machine_versions_or_sensors_is_left_as_it_is(
    bench: Bench, interrupted: Path, column: str, change: Callable[[Any], Any], reason: str
) -> None:
    row = Session(interrupted).row
    SessionWriter(interrupted).write_session(replace(row, **{column: change(getattr(row, column))}))
    content = (interrupted / "session.arrow").read_bytes()
    done = bench.run("--resume", interrupted, "--no-report")
    assert done.code == 2
    assert reason in done.errors
    assert "Traceback" not in done.errors
    assert (interrupted / "session.arrow").read_bytes() == content
