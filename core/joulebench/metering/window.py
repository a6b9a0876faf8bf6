"""A window of time: opened by ``with``, its energy, time and memory known afterwards."""

from __future__ import annotations

import resource
import sys
import time
from dataclasses import replace
from typing import Final, Self

from joulebench.errors import JoulebenchError
from joulebench.meter.energy import Trace
from joulebench.metering.figures import EnergyFigure, Measurement
from joulebench.metering.sensing import Edge, OpenSensors

#: ru_maxrss is in KiB on Linux and in bytes on macOS (getrusage(2)).
RSS_UNIT: Final = 1 if sys.platform == "darwin" else 1024

_clock_ns = time.perf_counter_ns
_usage = resource.getrusage
_SELF, _CHILDREN = resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN


class Window:
    """A window that is opened by ``with`` and has its figures afterwards."""

    __slots__ = (
        "__weakref__",
        "_children0",
        "_children1",
        "_idle",
        "_lost",
        "_meter",
        "_raw0",
        "_raw1",
        "_result",
        "_traces",
        "_usage0",
        "_usage1",
        "t0_ns",
        "t1_ns",
    )

    def __init__(self, meter: OpenSensors) -> None:
        self._meter = meter
        self.t0_ns = self.t1_ns = 0
        self._result: Measurement | None = None

    def __enter__(self) -> Self:
        meter = self._meter
        if self.t0_ns:
            raise JoulebenchError("a window can be opened once", hint="call joulebench.measure() for each block")
        watch = meter.watch
        if watch is not None and not meter.forked:
            if watch.gauges:
                watch.begin_gauges()
            elif watch.resting:
                watch.wake()
        meter.windows.add(self)
        self._usage0, self._children0 = _usage(_SELF), _usage(_CHILDREN)
        # Stamped after the read here and before it at the end: reading is not in the time.
        self._raw0 = meter.read()
        self.t0_ns = _clock_ns()
        return self

    def __exit__(self, *_error: object) -> None:
        t1_ns = _clock_ns()
        meter = self._meter
        self._raw1 = meter.read()
        self._usage1, self._children1 = _usage(_SELF), _usage(_CHILDREN)
        self.t1_ns = t1_ns
        meter.windows.discard(self)
        self._traces: dict[int, Trace] = {}
        self._lost = False
        if not meter.forked:
            self._traces, self._lost = meter.collect(self.t0_ns, t1_ns)
        self._idle = meter.idle

    @property
    def edges(self) -> tuple[Edge, Edge]:
        """Time and raw counters at both edges."""
        return (self.t0_ns, self._raw0), (self.t1_ns, self._raw1)

    def figures(self) -> list[EnergyFigure]:
        """Energy of each channel over the window."""
        (start, end), meter = self.edges, self._meter
        figures = list(meter.figures(start, end, self._traces, self._idle))
        if meter.forked:
            return [_withdrawn(figure, "forked") for figure in figures]
        return figures

    @property
    def result(self) -> Measurement:
        """All figures; made at the first look, so that closing a window is quick."""
        if self._result is None:
            if not self.t1_ns:
                raise JoulebenchError("the window is still open", hint="look after its block")
            self._result = self._measurement()
        return self._result

    def _measurement(self) -> Measurement:
        before, after = self._usage0.ru_maxrss, self._usage1.ru_maxrss
        return Measurement(
            seconds=(self.t1_ns - self.t0_ns) * 1e-9,
            cpu_s=cpu_seconds(self._usage1) - cpu_seconds(self._usage0),
            children_cpu_s=cpu_seconds(self._children1) - cpu_seconds(self._children0),
            # The kernel keeps the peak since the process began: this window's own is known only
            # where it was higher than all before.
            peak_rss_bytes=after * RSS_UNIT if after > before else None,
            peak_rss_bound_bytes=after * RSS_UNIT,
            energy=tuple(self.figures()),
            flags=("sampler_lost",) if self._lost else (),
            missing=self._meter.missing,
            missing_parts=self._meter.missing_parts,
        )

    @property
    def energy(self) -> tuple[EnergyFigure, ...]:
        """Energy of each channel."""
        return self.result.energy

    @property
    def totals(self) -> tuple[EnergyFigure, ...]:
        """One total for each provenance."""
        return self.result.totals

    @property
    def measured_j(self) -> float | None:
        """Total of the sensors, in J; never an estimate or a simulation."""
        return self.result.measured_j

    @property
    def estimated_j(self) -> float | None:
        """Total of the models, in J."""
        return self.result.estimated_j

    @property
    def simulated_j(self) -> float | None:
        """Total of imitated sensors, in J."""
        return self.result.simulated_j

    @property
    def seconds(self) -> float:
        """Length of the window."""
        return self.result.seconds

    @property
    def cpu_s(self) -> float:
        """The process's CPU time in the window."""
        return self.result.cpu_s

    @property
    def peak_rss_bytes(self) -> int | None:
        """Peak memory, where this window raised the process's peak."""
        return self.result.peak_rss_bytes

    @property
    def flags(self) -> tuple[str, ...]:
        """What stands against the whole window."""
        return self.result.flags

    @property
    def notes(self) -> tuple[str, ...]:
        """Why figures are missing or weak, and what to do about it."""
        return self.result.notes

    def table(self) -> str:
        """Everything as text."""
        return self.result.table()

    def __str__(self) -> str:
        return str(self.result) if self.t1_ns else "a window that is still open"

    def _repr_html_(self) -> str:
        """The figures as a table for a notebook."""
        return self.result._repr_html_()


def cpu_seconds(usage: resource.struct_rusage) -> float:
    """User and system time, in s."""
    return usage.ru_utime + usage.ru_stime


def _withdrawn(figure: EnergyFigure, flag: str) -> EnergyFigure:
    gross = replace(figure.gross, gross_j=None, u_j=None, worst_j=None, flags=(flag,))
    return replace(figure, gross=gross, net=None)
