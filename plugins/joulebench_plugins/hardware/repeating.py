"""A kernel over and over: what the workloads of this package have in common."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Final

from joulebench.api import (
    BackendSession,
    Kernel,
    Option,
    Outcome,
    Recorder,
    Request,
    Settings,
    Workload,
    WorkloadContext,
)

#: A trial must last this share of a request before a request's length is told from it.
_TRIAL_SHARE: Final = 0.1
_GROWTH: Final = 4

SECONDS: Final = Option(
    "seconds",
    "float",
    0.5,
    "approximate length of a request; a trial before it determines the number of runs",
    minimum=0.001,
)


class RepeatedKernel(Workload):
    """A request is so many runs of one kernel as take about ``seconds``.

    How many, a trial settles before the first request, outside of its window; then it stays. The
    requests' ``values`` say what a run moves and computes, for the reports.
    """

    phases: ClassVar[tuple[str, ...]] = ()
    judged: ClassVar[bool] = False

    def __init__(self) -> None:
        self._opened: BackendSession | None = None
        self._kernel: Kernel | None = None
        self._runs = 0
        self._values: dict[str, float] = {}

    @abstractmethod
    def kernel(self, session: BackendSession, settings: Settings) -> Kernel:
        """What is repeated, ready to run."""

    @abstractmethod
    def work(self, kernel: Kernel) -> float:
        """Units of work in one of what the kernel does."""

    def facts(self) -> dict[str, float]:
        """Further ``values`` of each request, asked for once, after :meth:`kernel`."""
        return {}

    def requests(self, context: WorkloadContext, settings: Settings) -> Sequence[Request]:
        """One request, again and again."""
        return [Request(0)]

    def setup(self, session: BackendSession, request: Request, settings: Settings) -> None:
        """Make the kernel and find how often it fits into a request; once for a session."""
        if self._opened is session:
            return
        self._kernel = kernel = self.kernel(session, settings)
        self._runs = _runs_in(kernel, float(settings["seconds"]))
        known = {
            "kernel_runs": self._runs * kernel.together,
            "kernel_bytes": kernel.bytes_moved,
            "kernel_operations": kernel.operations,
            "kernel_per_token": kernel.per_token or None,
            **self.facts(),
        }
        self._values = {name: float(value) for name, value in known.items() if value is not None}
        self._opened = session

    def perform(self, session: BackendSession, request: Request, settings: Settings, record: Recorder) -> Outcome:
        """Run the kernel so often."""
        kernel = self._kernel
        assert kernel is not None  # noqa: S101  setup() comes first
        kernel.run(self._runs)
        units = self._runs * kernel.together * self.work(kernel)
        return Outcome(units=units, values=dict(self._values))


def _runs_in(kernel: Kernel, seconds: float) -> int:
    kernel.run(1)  # the first run pays for what the others find done
    runs = 1
    while True:
        start = time.perf_counter()
        kernel.run(runs)
        spent = time.perf_counter() - start
        if spent >= _TRIAL_SHARE * seconds:
            return max(1, round(runs * seconds / spent))
        runs *= _GROWTH
