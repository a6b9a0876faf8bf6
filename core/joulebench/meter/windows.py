"""From a block's edges and the sampler's trace to energies, one per phase and channel."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final, Protocol

from joulebench.api import PROVENANCES, Channel, Provenance
from joulebench.meter.counters import (
    as_watched,
    corrected_for_late_edges,
    counter_energy,
    counter_energy_for_fit,
    held_lags_s,
    held_read,
)
from joulebench.meter.energy import NO_TRACE, Read, SensorSpec, Trace, WindowEnergy, phase_energy, with_accuracy
from joulebench.meter.gauges import gauge_energy, integrated_power
from joulebench.meter.margins import NO_MARGINS, Margins, energy_with_margins
from joulebench.meter.timing import UpdateTiming

TOTAL: Final = "total"
#: The flag of a total that is short of a domain.
PARTS_MISSING: Final = "parts_missing"
#: Where no calibration has seen any power.
NOTHING_SEEN: Final[Mapping[int, float]] = MappingProxyType({})
#: Where no idle power is known.
NOTHING_IDLE: Final[Mapping[int, float | None]] = MappingProxyType({})
#: Late edges are made good where they can bias a window by more than this share …
_CORRECTED_SHARE: Final = 1e-3
#: … and where work that is not measured (a setup) took at most this share of the update period
#: before the window, so that what came before is known to be idleness.
_SETUP_SHARE: Final = 0.1
#: The power at a window's end is that of its last quarter, if that holds so many updates.
_END_SHARE: Final = 0.25
_END_PERIODS: Final = 10


class CounterEdge(Protocol):
    """A moment at which all energy counters were read: monotonic ns, raw values in their order."""

    @property
    def t_ns(self) -> int:
        """When."""
        ...

    @property
    def raw(self) -> Sequence[int | None]:
        """The counters; ``None`` where one could not be read."""
        ...


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of time with the edges at both ends."""

    start: CounterEdge
    end: CounterEdge


@dataclass(frozen=True, slots=True)
class BlockWindows:
    """The windows of a block by phase. ``total`` is all of it but the setups between requests.

    ``began_ns`` is when the process began with it, setups included; ``None`` where unknown.
    """

    t0_ns: int
    t1_ns: int
    phases: Mapping[str, Sequence[Span]]
    began_ns: int | None = None


@dataclass(frozen=True, slots=True)
class PhaseEnergy:
    """Energy of one channel, the ``index``-th of the session, over one phase of a block."""

    phase: str
    index: int
    channel: Channel
    energy: WindowEnergy


class Accountant:
    """Knows the channels of a session and turns windows into energies.

    Counters outside the ``edge_order`` are read by the sampler alone: at an edge they have its last reading.
    ``frozen`` are counters that the calibration never saw change: a sensor that says nothing
    looks like one that says zero, so their energies are withheld. ``largest_powers_w`` is the most that
    calibration has seen of each channel, and ``continuous`` are those that changed at every read.
    """

    def __init__(
        self,
        channels: Sequence[Channel],
        edge_order: Sequence[int],
        timings: Mapping[int, UpdateTiming],
        frozen: Collection[int] = (),
        margins: Margins = NO_MARGINS,
        largest_powers_w: Mapping[int, float] = NOTHING_SEEN,
        continuous: Collection[int] = (),
    ) -> None:
        self.channels = channels
        self._frozen = frozenset(frozen)
        self.margins = margins
        self._place = {index: place for place, index in enumerate(edge_order)}
        self._specs: dict[int, SensorSpec] = {}
        for index, channel in enumerate(channels):
            if channel.quantity in ("energy", "power"):
                spec = SensorSpec.of_channel(channel, timings.get(index), largest_powers_w.get(index))
                if index in continuous:
                    spec = replace(spec, period_verified=True)
                is_held = channel.kind == "counter" and index not in self._place
                self._specs[index] = spec.held(1 / channel.rate_hz) if is_held else spec

    @property
    def indices(self) -> list[int]:
        """Channels that yield joules."""
        return list(self._specs)

    def spec(self, index: int) -> SensorSpec:
        """What the arithmetic knows of a channel."""
        return self._specs[index]

    @property
    def settling_s(self) -> float:
        """How long an idle machine is waited for until every sensor shows nothing but idleness.

        A counter does after its update period, a gauge when what it averages lies behind it too.
        """
        return max(((spec.update_period_s or 0.0) + spec.averaging_s for spec in self._specs.values()), default=0.0)

    def block_energies(
        self, block: BlockWindows, traces: Mapping[int, Trace], idle_w: Mapping[int, float | None] = NOTHING_IDLE
    ) -> list[PhaseEnergy]:
        """Energy of every phase and channel of a block.

        ``idle_w`` is the idle power of each channel, by which the mean lateness of a counter's
        edges is made good: the host lets the machine idle for an update period before a block.
        """
        energies: list[PhaseEnergy] = []
        for phase, windows in block.phases.items():
            for index in self._specs:
                trace = traces.get(index, NO_TRACE)
                if phase == TOTAL and self.margins.counted:
                    window = self._with_margins(block, index, trace)
                else:
                    window = self._phase(windows, index, trace)
                    if phase == TOTAL and len(windows) == 1:
                        window = self._corrected(window, windows[0], index, trace, idle_w.get(index), block.began_ns)
                if index in self._frozen:
                    window = without_energy(window, "counter_frozen")
                if phase == TOTAL and channel_lacks_parts(self.channels[index]):
                    window = replace(window, flags=(*window.flags, PARTS_MISSING))
                window = with_accuracy(window, self.channels[index])
                energies.append(PhaseEnergy(phase, index, self.channels[index], window))
        return energies

    def _with_margins(self, block: BlockWindows, index: int, trace: Trace) -> WindowEnergy:
        channel = self.channels[index]
        return energy_with_margins(
            block.t0_ns,
            block.t1_ns,
            self.margins,
            self._specs[index],
            trace,
            is_gauge=channel.kind == "gauge",
            sampling_period_s=1.0 / channel.rate_hz,
        )

    def _corrected(
        self, window: WindowEnergy, span: Span, index: int, trace: Trace, idle_w: float | None, began_ns: int | None
    ) -> WindowEnergy:
        """The window with its late edges made good, where that is called for and can be done."""
        spec = as_watched(self._specs[index], trace)
        period = spec.update_period_s
        if self.channels[index].kind == "gauge" or period is None or began_ns is None:
            return window
        matters = spec.mean_lateness_s > _CORRECTED_SHARE * window.duration_s
        if not matters or (span.start.t_ns - began_ns) * 1e-9 > _SETUP_SHARE * period:
            return window
        end_w = self._end_power_w(window, span, index, trace, period)
        lags_s = held_lags_s(span.start.t_ns, span.end.t_ns, spec, trace) if spec.held_s else None
        return corrected_for_late_edges(window, spec, idle_w, end_w, lags_s)

    def _end_power_w(self, window: WindowEnergy, span: Span, index: int, trace: Trace, period: float) -> float | None:
        """Power in the last quarter of a window by the trace, or its mean in a short one."""
        last_s = _END_SHARE * window.duration_s
        end = self._read(span.end, index, trace)
        place = bisect_left(trace.t_ns, span.end.t_ns - int(last_s * 1e9))
        if last_s < _END_PERIODS * period or end is None or place >= len(trace.t_ns):
            return window.mean_power_w
        tick = (trace.t_ns[place], trace.raw[place])
        return counter_energy_for_fit(tick, end, self._specs[index], trace).mean_power_w

    def _phase(self, windows: Sequence[Span], index: int, trace: Trace) -> WindowEnergy:
        channel, spec = self.channels[index], self._specs[index]
        if len(windows) == 1:
            return self._window(windows[0], index, trace, for_fit=False)
        pieces = [self._window(span, index, trace, for_fit=True) for span in windows]
        return phase_energy(pieces, spec, 1.0 / channel.rate_hz if channel.kind == "gauge" else None)

    def _window(self, span: Span, index: int, trace: Trace, *, for_fit: bool) -> WindowEnergy:
        channel, spec = self.channels[index], self._specs[index]
        if channel.kind == "gauge":
            integrate = integrated_power if for_fit else gauge_energy
            return integrate(span.start.t_ns, span.end.t_ns, spec, trace, 1.0 / channel.rate_hz)
        start, end = self._read(span.start, index, trace), self._read(span.end, index, trace)
        if start is None or end is None:
            duration_s = (span.end.t_ns - span.start.t_ns) * 1e-9
            return WindowEnergy(None, None, spec.method, ("sensor_lost",), duration_s)
        measure = counter_energy_for_fit if for_fit else counter_energy
        return measure(start, end, spec, trace)

    def _read(self, edge: CounterEdge, index: int, trace: Trace) -> Read | None:
        if index not in self._place:
            return held_read(edge.t_ns, self._specs[index], trace)
        raw = edge.raw[self._place[index]]
        return None if raw is None else (edge.t_ns, raw)


def channel_lacks_parts(channel: Channel) -> bool:
    """Whether a total that this channel enters is short of a domain that cannot be read."""
    return channel.counted and bool(channel.total_lacks)


def trusted_joules(energies: Iterable[tuple[Provenance, float | None]]) -> float | None:
    """The sum of the most trusted provenance among the counted energies of one block.

    ``None`` where there is none, or one of them has no figure.
    """
    by_provenance: dict[Provenance, list[float | None]] = {}
    for provenance, gross_j in energies:
        by_provenance.setdefault(provenance, []).append(gross_j)
    for provenance in PROVENANCES:
        if provenance in by_provenance:
            parts = by_provenance[provenance]
            known = [part for part in parts if part is not None]
            return math.fsum(known) if len(known) == len(parts) else None
    return None


def without_energy(window: WindowEnergy, flag: str) -> WindowEnergy:
    """The window with its energy withdrawn, for the reason of ``flag``."""
    return replace(window, gross_j=None, u_j=None, worst_j=None, flags=(*window.flags, flag))
