"""The modelled energy counter. Standard library only: the sampler and the worker import it."""

from __future__ import annotations

import time
from collections.abc import Sequence


def process_clock(pid: int) -> int:
    """Id of the CPU-time clock of a whole process, all its threads.

    Linux packs the complement of the process id above three bits: 2 is CPUCLOCK_SCHED (scheduler
    time, ns), and the per-thread bit 4 is left out (include/linux/posix-timers_types.h). It is
    what clock_getcpuclockid(3) gives.
    """
    return (~pid << 3) | 2


class EstimateReader:
    """Microjoules since the clocks' zeros: idle power × time + core power × CPU time.

    ``"idle_w=1.5,core_w=3.0,pid=1234"``; without a process id there is only the idle part. Both
    terms are absolute, so that readers in different processes agree on the value.
    """

    def __init__(self, argument: str) -> None:
        values = dict(part.split("=", 1) for part in argument.split(","))
        self._idle_w = float(values["idle_w"])
        self._core_w = float(values["core_w"])
        self._clock = process_clock(int(values["pid"])) if values["pid"] else None
        self._last_uj = 0

    def read(self) -> Sequence[int | None]:
        """The counter now; ``None`` once the process has gone."""
        busy_s = 0.0
        if self._clock is not None:
            try:
                busy_s = time.clock_gettime_ns(self._clock) * 1e-9
            except OSError:
                return (None,)
        energy_uj = int((self._idle_w * time.perf_counter() + self._core_w * busy_s) * 1e6)
        # A counter never runs backwards, even if the id of a dead process is given to a new one.
        self._last_uj = max(self._last_uj, energy_uj)
        return (self._last_uj,)
