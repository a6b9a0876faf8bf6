"""Workers that are no processes: what a run does with its workers, tested in virtual time.

:class:`FakeWorkers` makes them for :class:`joulebench.runs.cell.CellRun` and notes all that is asked
of them. A script says how long a request takes and where a worker fails.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from joulebench.protocol import PROTOCOL_VERSION
from joulebench.sensors.load import CpuTimes, MachineLoad
from joulebench.worker.process import Cause, WorkerError

#: Requests in a list that nobody has given a length.
_LIST_LENGTH: Final = 16


def _one_second(process: int, request: int) -> float:
    return 1.0


@dataclass(frozen=True, slots=True)
class WorkerScript:
    """How the workers of one cell behave.

    ``request_s`` gives the time of a request by the cell's process (from 0) and the request's
    number, ``load_s`` that of a load. ``fails_at`` are places in the list of all that is asked (``open``, ``run``,
    ``inspect``), counted from 0 over all processes of the cell: there the worker goes down.
    """

    request_s: Callable[[int, int], float] = _one_second
    list_length: int = _LIST_LENGTH
    load_s: float = 0.0
    fails_at: frozenset[int] = frozenset()


@dataclass(slots=True)
class FakeWorkers:
    """Makes the fake workers of a run, on one virtual clock.

    ``log`` holds ``(cell, what)`` in order: ``open``, ``run 3`` (the first request), ``pause``,
    ``resume``, ``inspect``, ``close``, ``kill``.
    """

    now_ns: int = 0
    log: list[tuple[str, str]] = field(default_factory=list)
    _begun: dict[str, int] = field(default_factory=dict)
    _asked: dict[str, int] = field(default_factory=dict)

    def of(self, cell: str, script: WorkerScript | None = None) -> Callable[[object], FakeWorker]:
        """What makes the workers of a cell, for ``CellRun``."""

        def make(job: object) -> FakeWorker:
            process = self._begun[cell] = self._begun.get(cell, -1) + 1
            return FakeWorker(self, cell, process, script or WorkerScript())

        return make

    def opened(self, cell: str) -> int:
        """How many workers of a cell were opened."""
        return self.log.count((cell, "open"))

    def place(self, cell: str) -> int:
        """Place of a question in the list of all that a cell's workers are asked."""
        place = self._asked[cell] = self._asked.get(cell, -1) + 1
        return place


class FakeWorker:
    """A :class:`~joulebench.worker.handle.WorkerHandle` that answers by its script."""

    def __init__(self, workers: FakeWorkers, cell: str, process: int, script: WorkerScript) -> None:
        self._workers = workers
        self._cell = cell
        self._process = process
        self._script = script
        self._paused = False
        self.model_pid = self.pid

    @property
    def pid(self) -> int:
        """No process has this id."""
        return -1

    def watch(self, model_pid: int) -> None:
        """The process that runs the model."""
        self.model_pid = model_pid

    def greet(self, timeout_s: float) -> None:
        """Always well."""

    def ask(
        self, order: Mapping[str, Any], timeout_s: float, idle: Callable[[], None] = lambda: None, limit_name: str = ""
    ) -> dict[str, object]:
        """The answer by the script; time passes for ``open`` and ``run`` alone."""
        op = str(order["op"])
        if self._paused:
            raise AssertionError(f"a paused worker was asked to {op}")
        self._note(f"run {order['first']}" if op == "run" else op)
        if self._workers.place(self._cell) in self._script.fails_at:
            raise WorkerError(Cause("signal", "the fake worker was told to go down", signal="SIGKILL"))
        if op == "hello":
            return {"protocol": PROTOCOL_VERSION, "pid": self.pid}
        if op == "open":
            self._workers.now_ns += round(self._script.load_s * 1e9)
            return {"pid": self.pid, "load_s": self._script.load_s, "requests": self._script.list_length}
        return self._block(int(order["first"]), int(order["count"])) if op == "run" else {}

    def _block(self, first: int, count: int) -> dict[str, object]:
        began_ns = self._workers.now_ns
        requests = [self._request(number) for number in range(first, first + count)]
        return {"requests": requests, "cpu_s": 0.0, "began_ns": began_ns}

    def _request(self, number: int) -> dict[str, object]:
        start_ns = self._workers.now_ns
        self._workers.now_ns += max(1, round(self._script.request_s(self._process, number) * 1e9))
        edges = [[start_ns, "start", []], [start_ns, "decode", []], [self._workers.now_ns, "end", []]]
        return {
            "prompt_index": number % self._script.list_length,
            "edges": edges,
            "prefill_tokens": 0,
            "decode_tokens": 1,
            "units": 1.0,
            "output": [0],
            "token_t_ns": [self._workers.now_ns],
            "values": {},
            "prompt": None,
            "response": None,
        }

    def pause(self) -> None:
        """Asked anything now, it would not answer."""
        self._paused = True
        self._note("pause")

    def resume(self) -> None:
        """Answer again."""
        self._paused = False
        self._note("resume")

    def stderr_tail(self) -> str | None:
        """It writes nothing."""
        return None

    def kill(self) -> None:
        """Gone."""
        self._note("kill")

    def close(self) -> None:
        """Gone, as it was asked."""
        self._note("close")

    def _note(self, what: str) -> None:
        self._workers.log.append((self._cell, what))


class ScriptedLoad(MachineLoad):
    """What others do while a block runs: CPU seconds, or stolen ones, of each block in its order.

    After the last one the machine is quiet.
    """

    def __init__(self, busy_s: Sequence[float] = (), stolen_s: Sequence[float] = ()) -> None:
        self._busy_s_of_blocks = busy_s
        self._stolen_s_of_blocks = stolen_s
        self._looks = 0

    def times(self) -> CpuTimes:
        """The sums so far; each block looks twice, before and after."""
        blocks = (self._looks + 1) // 2
        self._looks += 1
        return CpuTimes(sum(self._busy_s_of_blocks[:blocks]), sum(self._stolen_s_of_blocks[:blocks]))
