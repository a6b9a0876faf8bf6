"""What else the machine does: CPU time of everything, and time that a hypervisor withheld."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass

from joulebench.meter.live.sampler import FileReader


@dataclass(frozen=True, slots=True)
class CpuTimes:
    """CPU seconds since boot over all cores, to a tick (10 ms); ``None`` where the system does not tell.

    ``stolen_s`` is the time for which this machine had work and its hypervisor ran another guest.
    """

    busy_s: float | None
    stolen_s: float | None

    def since(self, before: CpuTimes) -> CpuTimes:
        """What was spent from ``before`` to now."""
        return CpuTimes(_difference(before.busy_s, self.busy_s), _difference(before.stolen_s, self.stolen_s))


def _difference(before: float | None, after: float | None) -> float | None:
    return None if before is None or after is None else after - before


class MachineLoad:
    """CPU time of the whole machine, from /proc/stat (proc(5))."""

    #: user, nice, system, irq, softirq; guest time is inside user; steal is another guest's.
    _BUSY = (1, 2, 3, 6, 7)
    _STOLEN = (8,)

    def __init__(self) -> None:
        self._busy: FileReader | None = None
        self._stolen: FileReader | None = None
        with contextlib.suppress(OSError):
            self._busy = FileReader("/proc/stat", key="cpu ", columns=self._BUSY)
            self._stolen = FileReader("/proc/stat", key="cpu ", columns=self._STOLEN)
        self._tick_s = 1.0 / os.sysconf("SC_CLK_TCK")

    def busy_s(self) -> float | None:
        """CPU seconds spent by everything since boot."""
        return self._seconds(self._busy)

    def times(self) -> CpuTimes:
        """All of it now."""
        return CpuTimes(self._seconds(self._busy), self._seconds(self._stolen))

    def _seconds(self, reader: FileReader | None) -> float | None:
        ticks = None if reader is None else reader.read()
        return None if ticks is None else ticks * self._tick_s
