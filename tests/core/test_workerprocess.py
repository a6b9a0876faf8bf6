"""The parent's hold on a worker: every way in which one can fail has its own cause."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from toyrun import cpu_ticks_of, state_of, until

from joulebench.worker.process import Cause, WorkerError, WorkerProcess

ECHO = "import sys\nfor line in sys.stdin: print(line, end='', flush=True)\n"
Start = Callable[..., WorkerProcess]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts a Python program as a worker."""
    made: list[WorkerProcess] = []

    def begin(code: str, memory_limit_bytes: int | None = None) -> WorkerProcess:
        made.append(WorkerProcess({}, memory_limit_bytes, [sys.executable, "-c", code]))
        return made[-1]

    yield begin
    for item in made:
        item.kill()
        item.close()


def cause_of(worker: WorkerProcess, timeout_s: float = 20.0) -> Cause:
    with pytest.raises(WorkerError) as caught:
        worker.ask({"op": "test"}, timeout_s, limit_name="limits.block_s")
    return caught.value.cause


def test_an_answer_comes_back_as_it_was_sent(start: Start) -> None:
    worker = start(ECHO)
    assert worker.ask({"op": "test", "text": "ä\n"}, 20) == {"op": "test", "text": "ä\n"}


@pytest.mark.parametrize("answer", ["what?", "42", "[]", "null", '"text"', "{"])
def test_an_answer_that_is_no_object_is_nonsense(start: Start, answer: str) -> None:
    cause = cause_of(start(f"input()\nprint({answer!r}, flush=True)\ninput()"))
    assert cause.kind == "error"
    assert "nonsense" in cause.message


@pytest.mark.parametrize(
    ("answer", "kind", "message"),
    [
        ('{"error": {"kind": "memory", "message": "too much"}}', "memory", "too much"),
        ('{"error": {}}', "error", "{}"),
        ('{"error": "just text"}', "error", "just text"),
    ],
)
def test_an_error_of_the_worker_is_the_cause(start: Start, answer: str, kind: str, message: str) -> None:
    cause = cause_of(start(f"input()\nprint({answer!r}, flush=True)\ninput()"))
    assert (cause.kind, cause.message) == (kind, message)


def test_a_worker_of_another_protocol_is_refused(start: Start) -> None:
    worker = start("input()\nprint('{\"protocol\": 99}', flush=True)\ninput()")
    with pytest.raises(WorkerError, match="protocol 99"):
        worker.greet(20)


def test_a_worker_that_does_not_answer_is_killed_and_the_limit_named(start: Start) -> None:
    worker = start("import time\ntime.sleep(600)")
    cause = cause_of(worker, 0.3)
    assert (cause.kind, cause.signal) == ("hang", "SIGKILL")
    assert "limits.block_s" in cause.message
    assert state_of(worker.pid) is None


@pytest.mark.parametrize(
    ("code", "kind", "exit_code", "signal_name"),
    [
        ("raise SystemExit(0)", "exit", 0, None),
        ("input()\nraise SystemExit(7)", "exit", 7, None),
        ("import os\nos.abort()", "signal", None, "SIGABRT"),
        ("import os\nos.kill(os.getpid(), 11)", "signal", None, "SIGSEGV"),
        ("import os\nos.kill(os.getpid(), 37)", "signal", None, "SIGRTMIN+3"),
        ("import os\nos.kill(os.getpid(), 33)", "signal", None, "signal 33"),
    ],
)
def test_the_end_of_a_worker_is_told_by_exit_code_or_signal(
    start: Start, code: str, kind: str, exit_code: int | None, signal_name: str | None
) -> None:
    cause = cause_of(start(code))
    assert (cause.kind, cause.exit_code, cause.signal) == (kind, exit_code, signal_name)


def test_a_worker_above_its_memory_limit_is_killed(start: Start) -> None:
    code = "import time\nheld = bytearray(b'1') * (200 << 20)\ntime.sleep(600)"
    worker = start(code, memory_limit_bytes=100 << 20)
    cause = cause_of(worker)
    assert (cause.kind, cause.signal) == ("memory", "SIGKILL")
    assert "limits.memory" in cause.message
    assert state_of(worker.pid) is None


def test_the_tail_of_standard_error_is_kept_however_much_was_written(start: Start) -> None:
    code = (
        "import sys\nfor i in range(300000): sys.stderr.write(f'line {i}\\n')\nsys.stderr.flush()\nraise SystemExit(1)"
    )
    worker = start(code)
    cause_of(worker)
    tail = worker.stderr_tail()
    assert tail is not None
    assert tail.splitlines()[-1] == "line 299999"
    assert len(tail.splitlines()) == 20


def test_looking_at_standard_error_does_not_disturb_what_is_still_written(start: Start) -> None:
    code = (
        "import sys\n"
        "for line in sys.stdin:\n"
        "    sys.stderr.write('written\\n'); sys.stderr.flush(); print('{}', flush=True)\n"
    )
    worker = start(code)
    for count in (1, 2, 3):
        worker.ask({"op": "test"}, 20)
        assert worker.stderr_tail() == "\n".join(["written"] * count)


def test_a_paused_worker_does_nothing_until_it_is_resumed(start: Start) -> None:
    worker = start(
        "import threading\n"
        + ECHO.replace("for", "threading.Thread(target=lambda: [0 for _ in iter(int, 1)], daemon=True).start()\nfor", 1)
    )
    worker.ask({"op": "test"}, 20)
    worker.pause()
    until(lambda: state_of(worker.pid) == "T", "the stop")
    before = cpu_ticks_of(worker.pid)
    time.sleep(0.2)
    assert cpu_ticks_of(worker.pid) == before
    worker.resume()
    assert worker.ask({"op": "test"}, 20) == {"op": "test"}


def test_a_worker_that_ignores_close_is_killed(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = start("import time\ntime.sleep(600)")
    asked = worker.ask
    monkeypatch.setattr(worker, "ask", lambda order, timeout_s: asked(order, 0.2))
    worker.pause()
    worker.close()
    assert state_of(worker.pid) is None


def test_a_worker_has_a_group_of_its_own_so_that_ctrl_c_reaches_the_parent_alone(start: Start) -> None:
    worker = start("import os\ninput()\nprint('{\"group\": %d}' % os.getpgid(0), flush=True)")
    assert worker.ask({"op": "test"}, 20)["group"] == worker.pid


def test_a_killed_worker_is_told_by_its_signal(start: Start) -> None:
    worker = start("import os\ninput()\nos.kill(os.getpid(), 9)")
    cause = cause_of(worker)
    assert (cause.kind, cause.signal) == ("signal", signal.Signals.SIGKILL.name)


def test_a_worker_imports_nothing_from_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit(99)")
    (tmp_path / "joulebench.py").write_text("raise SystemExit(99)")
    monkeypatch.chdir(tmp_path)
    worker = WorkerProcess({})
    try:
        worker.greet(30.0)
    finally:
        worker.close()
