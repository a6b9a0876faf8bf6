"""What a run shows of itself: cell, block, precision and a range of the time left."""

from __future__ import annotations

import fcntl
import io
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Callable
from pathlib import Path

import pytest
from fakerun import FakeRun

from joulebench.commands.common import duration_text, range_text
from joulebench.commands.progress import PLAIN_BEAT_S, Heartbeat, ProgressDisplay
from joulebench.runs.cell import CellRun
from joulebench.runs.outlook import Outlook
from joulebench.runs.turns import LOADING, WARMING_UP
from joulebench.testing.workers import FakeWorkers, WorkerScript


class Terminal(io.StringIO):
    """A terminal of 80 columns."""

    def isatty(self) -> bool:
        return True

    def live_lines(self) -> list[str]:
        return [part for part in re.split(r"\r\x1b\[K|\n", self.getvalue()) if part]

    def kept(self) -> list[str]:
        """What is still to be read after the run."""
        return [re.sub(r".*\r\x1b\[K", "", line) for line in self.getvalue().split("\n") if line]


class Timed(ProgressDisplay):
    """ProgressDisplay in virtual time that notes the range of the time left at each block."""

    def __init__(self, workers: FakeWorkers, stream: io.StringIO) -> None:
        super().__init__(clock=lambda: workers.now_ns * 1e-9, stream=stream, heartbeat=False)
        self.workers = workers
        self.ranges: list[tuple[float, float, float]] = []

    def block(self, run: CellRun) -> None:
        super().block(run)
        assert self._outlook is not None
        left = self._outlook.left(self._clock())
        if left is not None:
            self.ranges.append((self.workers.now_ns * 1e-9, left.minimum_s, left.maximum_s))


def run_with(
    folder: Path, stream: io.StringIO, scripts: dict[str, WorkerScript | None], **protocol: object
) -> tuple[FakeRun, Timed]:
    run = FakeRun(folder, watcher=lambda workers: Timed(workers, stream), **protocol).group(scripts).execute()
    assert isinstance(run.watcher, Timed)
    return run, run.watcher


def jumpy(process: int, request: int) -> float:
    return 3.0 if request % 2 else 1.0


@pytest.mark.parametrize(
    ("request_s", "protocol"),
    [
        (lambda process, request: 1.0, {"min_blocks": 12, "max_blocks": 12}),
        (lambda process, request: 1.0, {"min_blocks": 12, "max_blocks": 320}),
        (jumpy, {"min_blocks": 12, "max_blocks": 60, "target": 0.01}),
        (jumpy, {"min_blocks": 12, "max_blocks": 320, "target": 0.01, "time_budget_s": 50.0}),
        (lambda process, request: 1.0, {"passes": 2}),
    ],
    ids=["one look", "done at the first look", "all looks", "time budget", "passes"],
)
def test_the_range_of_the_time_left_holds_the_truth_at_every_block(
    tmp_path: Path, request_s: Callable[[int, int], float], protocol: dict[str, object]
) -> None:
    script = WorkerScript(request_s, load_s=7.0)
    run, progress = run_with(tmp_path, io.StringIO(), {"a": script, "b": script}, processes=3, **protocol)
    end_s = run.workers.now_ns * 1e-9
    assert len(progress.ranges) > 20
    for now_s, minimum_s, maximum_s in progress.ranges:
        assert minimum_s <= end_s - now_s + 1e-6
        assert end_s - now_s <= maximum_s + 1e-6
    if protocol.get("max_blocks") == 12:
        assert progress.ranges[-1][2] < 3, "near the end the range is narrow"


def test_nothing_says_that_no_time_is_left_while_some_is(tmp_path: Path) -> None:
    """The least time of the plan minus the time spent was 0 for most of a run on a busy machine."""
    terminal = Terminal()
    # Six blocks of 40 s; each of three processes loads for a minute and warms up with four requests.
    slow = WorkerScript(lambda process, request: 40.0, load_s=60.0)
    _, progress = run_with(tmp_path, terminal, {"a": slow}, min_blocks=6, max_blocks=6, processes=3)
    assert len(progress.ranges) == 5
    assert all(minimum_s > 20 for _, minimum_s, _ in progress.ranges)
    assert any(line.endswith("min left") for line in terminal.live_lines())
    assert not re.search(r"(?<!\d)0 s left", terminal.getvalue())


def test_a_warm_up_that_goes_on_is_part_of_the_time_left(tmp_path: Path) -> None:
    """The last cell's warm-up of minutes was behind the run as soon as it had begun."""
    run = FakeRun(tmp_path, min_blocks=2, max_blocks=2, processes=1, warmup_min_s=20.0, warmup_max_s=300.0)
    (cell,) = run.group({"a": None}).runs.values()
    outlook = Outlook([cell], run.numbers)
    outlook.step(cell, LOADING, 0.0)
    outlook.step(cell, WARMING_UP, 10.0)
    ranges = [outlook.left(now_s) for now_s in (10.0, 20.0, 200.0)]
    assert all(left is not None for left in ranges)
    assert [left.maximum_s > 100 for left in ranges if left] == [True] * 3
    assert [left.minimum_s > 10 for left in ranges if left] == [True, False, False]


def test_a_cell_that_failed_takes_no_more_time(tmp_path: Path) -> None:
    fails = WorkerScript(fails_at=frozenset({6}))
    _, progress = run_with(tmp_path, io.StringIO(), {"a": fails, "b": None}, min_blocks=30, max_blocks=30, processes=1)
    assert progress.ranges[-1][2] < 3


def test_a_terminal_keeps_one_line_for_each_cell(tmp_path: Path) -> None:
    terminal = Terminal()
    fails = WorkerScript(fails_at=frozenset({6}))
    run_with(tmp_path, terminal, {"a": None, "b": fails}, min_blocks=6, max_blocks=6, processes=2)
    kept = [re.sub(r"^\[ *[\d.]+ s\] ", "", line) for line in terminal.kept()]
    assert kept == [
        "b: failed: the fake worker was told to go down",
        "cell 1/2 done: a, 6 blocks, 1 s/token ±0 %",
        "cell 2/2 failed: b",
    ]


def test_the_live_line_names_cell_block_precision_and_target(tmp_path: Path) -> None:
    terminal = Terminal()
    run_with(tmp_path, terminal, {"a": WorkerScript(jumpy), "b": None}, min_blocks=12, max_blocks=12, target=0.05)
    assert any(re.match(r"cell 1/2 · block 7/12 · ±\d+ % of 5 % · a ", line) for line in terminal.live_lines())
    assert all(len(line) < 80 for line in terminal.live_lines())


def test_a_long_step_shows_its_seconds_on_a_terminal() -> None:
    now_s, terminal = [0.0], Terminal()
    progress = ProgressDisplay(clock=lambda: now_s[0], stream=terminal, heartbeat=False)
    progress.say("gguf-import: model.gguf")
    for second in (1, 2, 63):
        now_s[0] = float(second)
        progress.beat()
    assert terminal.live_lines()[1:] == [
        "gguf-import: model.gguf",
        "gguf-import: model.gguf (2 s)",
        "gguf-import: model.gguf (1 min 3 s)",
    ]


def test_into_a_file_a_long_step_writes_a_line_now_and_then() -> None:
    now_s, file = [0.0], io.StringIO()
    progress = ProgressDisplay(clock=lambda: now_s[0], stream=file, heartbeat=False)
    progress.say("reference torch")
    for second in range(1, 100):
        now_s[0] = float(second)
        progress.beat()
    assert len(file.getvalue().splitlines()) == 1 + int(99 // PLAIN_BEAT_S)
    assert file.getvalue().splitlines()[-1] == "[  90.0 s] reference torch (1 min 30 s)"


def test_the_live_line_fits_a_narrow_terminal(tmp_path: Path) -> None:
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 40, 0, 0))
    with os.fdopen(its, "w") as stream:
        FakeRun(
            tmp_path,
            watcher=lambda made: ProgressDisplay(clock=lambda: made.now_ns * 1e-9, stream=stream, heartbeat=False),
            min_blocks=3,
            max_blocks=3,
        ).group({"a cell with a label that is long": WorkerScript(jumpy)}).execute()
        sent = os.read(ours, 1 << 16).decode()
    os.close(ours)
    live = [line for line in re.split(r"\r\x1b\[K|\r\n", sent) if line and not line.startswith("[")]
    assert max(map(len, live)) < 40
    assert any(re.match(r"cell 1/1 · block 2/3.* left$", line) for line in live)


def test_a_stream_without_unicode_gets_none(tmp_path: Path) -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    workers = WorkerScript(jumpy)
    FakeRun(
        tmp_path,
        watcher=lambda made: ProgressDisplay(clock=lambda: made.now_ns * 1e-9, stream=stream, heartbeat=False),
        min_blocks=40,
        max_blocks=40,
    ).group({"a": workers}).execute()
    assert b"+-" in raw.getvalue()


def test_a_terminal_that_is_gone_stops_no_run(tmp_path: Path) -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(5, "Input/output error")

    run = FakeRun(
        tmp_path, watcher=lambda made: ProgressDisplay(stream=Gone(), heartbeat=False), min_blocks=3, max_blocks=3
    )
    assert len(run.group({"a": None}).execute().rows("a")) == 3


def test_quiet_writes_nothing(tmp_path: Path) -> None:
    stream = Terminal()
    FakeRun(tmp_path, watcher=lambda made: ProgressDisplay(quiet=True, stream=stream)).group({"a": None}).execute()
    assert stream.getvalue() == ""


def test_the_heart_beats_in_steps_and_is_still_while_something_is_measured() -> None:
    import threading

    beats = threading.Semaphore(0)
    heart = Heartbeat(beats.release, 0.01)
    heart.start()
    assert beats.acquire(timeout=30)
    heart.stop()
    while beats.acquire(timeout=0.1):
        pass  # at most one that was under way
    assert not beats.acquire(timeout=0.2)
    heart.start()
    assert beats.acquire(timeout=30)
    heart.end()


@pytest.mark.parametrize(
    ("minimum_s", "maximum_s", "text"),
    [
        (0.0, 0.2, "up to 1 s"),
        (20.2, 49.1, "20–50 s"),
        (88.0, 110.0, "88–110 s"),
        (37.0, 230.0, "37 s – 4 min"),
        (88.0, 230.0, "1–4 min"),
        (600.0, 600.0, "10 min"),
        (50.0, 9000.0, "50 s – 3 h"),
        (4000.0, 9000.0, "1–3 h"),
    ],
)
def test_a_range_of_times_is_rounded_outwards(minimum_s: float, maximum_s: float, text: str) -> None:
    assert range_text(minimum_s, maximum_s) == text


def test_a_duration_shows_seconds_only_where_they_matter() -> None:
    assert [duration_text(s) for s in (40.4, 59.7, 75, 600, 3599, 25_200)] == [
        "40 s",
        "1 min 0 s",
        "1 min 15 s",
        "10 min",
        "1 h 0 min",
        "7 h 0 min",
    ]


def test_an_outlook_knows_no_time_left_where_nothing_is_to_be_measured(tmp_path: Path) -> None:
    run, _ = run_with(tmp_path, io.StringIO(), {"a": None}, min_blocks=2, max_blocks=2)
    assert Outlook(list(run.runs.values()), run.numbers).left(0.0) is None


_PROFILE = """version = 1
name = "tiny"
[model.m]
source = "shape:tiny-llama"
[backend.torch]
[workload.generate]
prompts = "builtin:short"
new_tokens = 4
[protocol]
processes = 2
min_blocks = 6
max_blocks = 6
block_s = 0.05
time_budget_s = 20
idle_s = 0.5
warmup_min_s = 0.1
warmup_max_s = 2
[sampler]
calibrate_s = 0.2
"""


def on_a_terminal(*arguments: str, cwd: Path) -> tuple[int, str]:
    """A command's exit code, and what a terminal that it runs on is sent."""
    ours, its = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "joulebench", *arguments], stdin=its, stdout=its, stderr=its, cwd=cwd, close_fds=True
    )
    os.close(its)
    sent = b""
    while True:
        try:
            piece = os.read(ours, 1 << 16)
        except OSError:  # the other side is gone
            break
        if not piece:
            break
        sent += piece
    os.close(ours)
    return process.wait(), sent.decode()


def test_a_real_run_on_a_terminal(cache: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    (tmp_path / "tiny.toml").write_text(_PROFILE, "utf-8")
    code, sent = on_a_terminal("run", "tiny.toml", "--no-report", cwd=tmp_path)
    assert code == 0, sent
    drawn = [part for part in re.split(r"\r\x1b\[K|\r\n", sent) if part]
    assert any(line.startswith("cell 1/1 torch generate: loading") for line in drawn)
    blocks = [line for line in drawn if line.startswith("cell 1/1 · block ")]
    assert len(blocks) >= 6
    assert all(" left" in line for line in blocks if "block 6/6" not in line)
    kept = [re.sub(r".*\r\x1b\[K", "", line) for line in sent.split("\r\n")]
    assert sum("cell 1/1 done: torch generate, 6 blocks" in line for line in kept) == 1
    assert not any("loading" in line or "block 3" in line for line in kept)
    assert kept[-2].startswith("1 measured, 0 failed, 0 skipped: sessions/")
    plan = json.loads(
        subprocess.run(
            [sys.executable, "-m", "joulebench", "plan", "tiny.toml", "--json"],
            cwd=tmp_path,
            capture_output=True,
            check=True,
        ).stdout
    )
    assert f"at most {duration_text(plan['maximum_s'])}" in sent
