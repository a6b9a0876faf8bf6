"""Sensors with kept descriptors that many windows of a process share, and the energies they give."""

from __future__ import annotations

import os
import weakref
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from joulebench.api import Channel
from joulebench.meter.counters import READS_PER_WRAP, as_watched, contradicting, held_read, single_counter_window
from joulebench.meter.energy import MOST_POWER_W, NO_TRACE, Read, SensorSpec, Trace, WindowEnergy, with_accuracy
from joulebench.meter.gauges import gauge_energy
from joulebench.meter.idle import IdlePower, net_energy
from joulebench.meter.live.calibration import SensorCalibration, calibrated_accountant
from joulebench.meter.live.channels import of_machine, of_process
from joulebench.meter.live.edges import EdgeReader
from joulebench.meter.windows import without_energy
from joulebench.metering.figures import EnergyFigure, MissingPart, MissingProbe
from joulebench.metering.watch import LentWatch, Watch
from joulebench.sensors.calibrations import calibrated, forget, known
from joulebench.sensors.probing import Sensors, without_frozen

#: (monotonic ns, raw values in the order of the reader)
Edge = tuple[int, Sequence[int | None]]

#: Ticks come so much more often than they must, so that a late one does no harm.
_TICK_MARGIN: Final = 2.0
_SHORTEST_TICK_S: Final = 0.001
#: Shorter windows hold too few ticks to tell anything.
_SHORTEST_TRACED_NS: Final = 5_000_000
_DEFAULT_TICK_S: Final = 0.01

open_meters: weakref.WeakSet[OpenSensors] = weakref.WeakSet()


class OpenSensors:
    """Sensors that many windows share: nested ones and ones in different threads.

    The times between updates of each counter are measured once: for ``calibrate_s`` seconds, or (``None``)
    for as long as some 40 updates take, 1 s at most, where the user's cache does not have them of this boot;
    with 0 and nothing in the cache the declared ones stand, until a window has seen otherwise, and figures
    are flagged. ``most_power_w`` bounds what one wrapping domain
    can draw. A child made by ``fork`` opens its own meter.
    """

    def __init__(
        self, sensors: Sensors, *, calibrate_s: float | None = None, most_power_w: float = MOST_POWER_W
    ) -> None:
        chosen = _chosen(sensors.energy_and_power())
        calibrations = self._calibrations = _calibrations(chosen, calibrate_s)
        self._frozen = {index for index, calibration in calibrations.items() if calibration.frozen}
        self.channels: tuple[Channel, ...] = without_frozen(Sensors((), chosen), self._frozen).channels
        self.missing = tuple(
            MissingProbe(state.name, state.availability.reason or "", state.availability.cure)
            for state in sensors.probes
            if not state.availability.ok
        )
        self.missing_parts = _missing_parts(self.channels, self._frozen, sensors)
        self._specs = [
            _spec(channel, calibrations.get(index), most_power_w) for index, channel in enumerate(self.channels)
        ]
        self.counters = [index for index, channel in enumerate(self.channels) if channel.kind == "counter"]
        self.gauges = [index for index, channel in enumerate(self.channels) if channel.kind == "gauge"]
        self._edges = EdgeReader([self.channels[index] for index in self.counters], os.getpid())
        #: Reads all counters now, in the order of ``counters``.
        self.read = self._edges.read
        self.idle: dict[int, IdlePower] = {}
        self.windows: set[object] = set()
        self.forked = False
        sampled = {
            index: replace(channel, rate_hz=1 / _tick_s(channel, self._specs[index]))
            for index, channel in enumerate(self.channels)
            if index not in self._frozen and _is_watched(channel)
        }
        self.watch = Watch(sampled, self._open_since) if sampled else None
        open_meters.add(self)

    def _open_since(self) -> list[int]:
        return [start for window in list(self.windows) if (start := getattr(window, "t0_ns", 0))]

    def measure_idle(self, seconds: float) -> None:
        """Measure the idle power of each channel for so long; later windows have a net energy."""
        from joulebench.sensors.idle import measure_idle

        accountant = calibrated_accountant(self.channels, self._calibrations)
        owner = None if self.watch is None else LentWatch(self.watch)
        baseline = measure_idle(accountant, seconds, "before", owner)
        self.idle = {} if baseline is None else dict(baseline.power)

    def close(self) -> None:
        """Close the descriptors and end the sampler."""
        open_meters.discard(self)
        if self.watch is not None:
            self.watch.close(kill=not self.forked)
        self._edges.close()

    def collect(self, start_ns: int, end_ns: int) -> tuple[dict[int, Trace], bool]:
        """The sampler's readings of a window that has ended, by channel, and whether they are lost.

        A short window of counters needs none.
        """
        if self.watch is None or not (self.watch.awaited or end_ns - start_ns > _SHORTEST_TRACED_NS):
            return {}, False
        return self.watch.collect(start_ns, end_ns)

    # -- figures -----------------------------------------------------------------------------

    def figures(
        self,
        start: Edge,
        end: Edge,
        traces: Mapping[int, Trace],
        idle: Mapping[int, IdlePower],
        counters: Sequence[int] | None = None,
    ) -> Iterator[EnergyFigure]:
        """Energy of the counters read at the edges and, for all of them, of the gauges."""
        order = self.counters if counters is None else counters
        for place, index in enumerate(order):
            trace = traces.get(index, NO_TRACE)
            spec = self._specs[index]
            first, last = (self._read(edge, place, index, trace) for edge in (start, end))
            if first is None or last is None:
                seconds = (end[0] - start[0]) * 1e-9
                window = WindowEnergy(None, None, spec.method, ("sensor_lost",), seconds)
            else:
                window = single_counter_window(first, last, spec, trace)
            if index in self._frozen and "counter_frozen" not in window.flags:
                window = without_energy(window, "counter_frozen")
            yield self._figure(index, window, idle, as_watched(spec, trace))
            self._compare(index, spec, trace)
        for index in self.gauges if counters is None else ():
            trace = traces.get(index, NO_TRACE)
            period_s = 1.0 / self.channels[index].rate_hz
            window = gauge_energy(start[0], end[0], self._specs[index], trace, period_s)
            yield self._figure(index, window, idle, self._specs[index])

    def _read(self, edge: Edge, place: int, index: int, trace: Trace) -> Read | None:
        """A counter at an edge; one that the sampler alone reads has its last reading before."""
        if of_machine(self.channels[index]):
            return held_read(edge[0], self._specs[index], trace)
        raw = edge[1][place]
        return None if raw is None else (edge[0], raw)

    def _compare(self, index: int, spec: SensorSpec, trace: Trace) -> None:
        """What a window shows of a sensor's update times counts from now on where it contradicts what was known."""
        timing = contradicting(spec, trace) if spec.period_verified else None
        if timing is not None:
            self._specs[index] = spec.with_timing(timing)
            forget(self.channels[index])

    def _figure(
        self, index: int, window: WindowEnergy, idle: Mapping[int, IdlePower], spec: SensorSpec
    ) -> EnergyFigure:
        channel = self.channels[index]
        window = with_accuracy(window, channel)
        return EnergyFigure(
            channel.path,
            channel.domain,
            channel.provenance,
            channel.counted,
            window,
            net_energy(window, idle[index]) if index in idle else None,
            spec.update_period_s,
            spec.period_verified and channel.kind == "counter" and channel.provenance != "estimated",
            channel.note,
            "" if channel.accuracy is None else str(channel.accuracy),
        )

    @property
    def longest_period_s(self) -> float:
        """The slowest sensor's update period; 0 where none is known."""
        return max((spec.update_period_s or 0.0 for spec in self._specs), default=0.0)

    def of_process(self) -> list[int]:
        """Counters that follow one process."""
        return [index for index in self.counters if of_process(self.channels[index])]


def _chosen(channels: Sequence[Channel]) -> tuple[Channel, ...]:
    """Energy counters, and the power gauges of domains that no counter covers."""
    covered = {channel.domain for channel in channels if channel.kind == "counter"}
    return tuple(
        channel
        for channel in channels
        if (channel.quantity == "energy" and channel.kind == "counter")
        or (channel.quantity == "power" and channel.kind == "gauge" and channel.domain not in covered)
    )


def _is_watched(channel: Channel) -> bool:
    """Whether the sampler reads it: gauges, what it alone may read, and the counters of sensors."""
    if channel.kind == "gauge" or of_machine(channel):
        return True
    return channel.provenance != "estimated" and not of_process(channel)


def _calibrations(channels: Sequence[Channel], seconds: float | None) -> dict[int, SensorCalibration]:
    """What the counters of sensors are like, by index; a model is as fine as its reader."""
    chosen = [index for index, channel in enumerate(channels) if channel.kind == "counter" and _is_watched(channel)]
    if not chosen:
        return {}
    sensors = [channels[index] for index in chosen]
    if seconds == 0:
        return {chosen[place]: calibration for place, calibration in known(sensors).items()}
    return dict(zip(chosen, calibrated(sensors, seconds), strict=True))


def _spec(channel: Channel, calibration: SensorCalibration | None, most_power_w: float) -> SensorSpec:
    timing = None if calibration is None else calibration.timing
    spec = SensorSpec.of_channel(channel, timing, None if calibration is None else calibration.largest_power_w)
    if channel.kind == "counter" and of_machine(channel):
        spec = spec.held(1 / channel.rate_hz)
    return replace(
        spec,
        max_power_w=None if spec.max_power_w is None else most_power_w,
        period_verified=spec.period_verified or (calibration is not None and calibration.continuous),
    )


def _tick_s(channel: Channel, spec: SensorSpec) -> float:
    """How often a counter is read: often enough for its wraps at the most power, with a margin.

    Where that would be more often than each ms, the power that is seen must do.
    """
    if channel.kind == "gauge":
        return 1 / channel.rate_hz
    tick_s = max(_DEFAULT_TICK_S, 1 / channel.rate_hz)
    if spec.wraps_at is None:
        return tick_s
    wrap_s = spec.wraps_at * spec.scale / (spec.max_power_w or MOST_POWER_W)
    return min(tick_s, max(_SHORTEST_TICK_S, wrap_s / READS_PER_WRAP / _TICK_MARGIN))


def _missing_parts(channels: Sequence[Channel], frozen: Collection[int], sensors: Sensors) -> tuple[MissingPart, ...]:
    """The domains that totals are short of, and why."""
    still = {channels[index].domain for index in frozen}
    states = {state.name: state.availability for state in sensors.probes}
    parts: dict[MissingPart, None] = {}
    for channel in channels:
        answer = states.get(channel.path.partition("/")[0])
        for domain in channel.total_lacks if channel.counted else ():
            if domain in still or answer is None:
                reason, cure = "its counter does not change" if domain in still else "it cannot be read", None
            else:
                reason, cure = answer.reason or "it cannot be read", answer.cure
            parts[MissingPart(channel.provenance, domain, reason, cure)] = None
    return tuple(parts)
