"""Sensors with kept descriptors that many windows of a process share.

Counters are read at the windows' edges only. A sampler process runs beside them in two cases:

- a counter that can wrap is read now and then, often enough for four reads in a wrap at
  :data:`MOST_POWER_W`, so that windows of any length are covered;
- a power gauge with no energy counter for its domain is sampled while a window is open. Then a
  window waits for a sample before it begins and after it ends, outside of its own time.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
import weakref
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from joulebench.api import Channel
from joulebench.errors import UnavailableError
from joulebench.meter.energy import (
    NO_TRACE,
    READS_PER_WRAP,
    SensorSpec,
    Trace,
    WindowEnergy,
    counter_energy,
    gauge_energy,
)
from joulebench.meter.idle import IdlePower, net_energy
from joulebench.meter.live.channels import edge_channels, of_process
from joulebench.meter.live.edges import EdgeReader
from joulebench.meter.live.sampling import Sampler
from joulebench.metering.figures import EnergyFigure, MissingProbe
from joulebench.sensors.probing import Sensors

#: (monotonic ns, raw values in the order of the reader)
Edge = tuple[int, Sequence[int | None]]

#: No single RAPL domain draws more; how often a wrapping counter is read follows from it.
MOST_POWER_W: Final = 2000.0
#: Ticks come twice as often as they must, so that a late one does no harm.
_TICK_MARGIN: Final = 2.0
_SHORTEST_TICK_S: Final = 0.01
#: Longest wait for a gauge's sample beside a window, beyond its own period.
_SAMPLE_TIMEOUT_S: Final = 1.0

open_meters: weakref.WeakSet[OpenSensors] = weakref.WeakSet()
_clock_ns = time.perf_counter_ns


class OpenSensors:
    """Sensors that many windows share: nested ones and ones in different threads.

    With ``calibrate_s`` the update periods are measured once,
    here, for so many seconds; without, they are the declared ones. ``most_power_w`` bounds what one
    wrapping domain can draw. A child made by ``fork`` opens its own meter.
    """

    def __init__(self, sensors: Sensors, *, calibrate_s: float = 0.0, most_power_w: float = MOST_POWER_W) -> None:
        self.channels: tuple[Channel, ...] = _chosen(sensors.energy_and_power())
        self.missing = tuple(
            MissingProbe(each.name, each.availability.reason or "", each.availability.cure)
            for each in sensors.probes
            if not each.availability.ok
        )
        self._periods = _measured_periods(self.channels, calibrate_s)
        self._specs = [
            SensorSpec.of_channel(
                channel,
                update_period_s=self._periods.get(index),
                max_power_w=most_power_w if channel.wraps_at is not None else None,
            )
            for index, channel in enumerate(self.channels)
        ]
        self.counters = edge_channels(self.channels)
        self.gauges = [index for index, each in enumerate(self.channels) if each.kind == "gauge"]
        self._edges = EdgeReader([self.channels[index] for index in self.counters], os.getpid())
        #: Reads all counters now, in the order of ``counters``.
        self.read = self._edges.read
        self.idle: dict[int, IdlePower] = {}
        self.windows: set[object] = set()
        self.forked = False
        self._lock = threading.Lock()
        self._gauging = 0
        self._store: dict[int, tuple[array[int], array[int]]] = {}
        self._sampled, tick_s = _sampling_plan(self.channels, most_power_w)
        self._tick_ns = int(tick_s * 1e9)
        self._sampler = self._start_sampler()
        open_meters.add(self)

    def measure_idle(self, seconds: float) -> None:
        """Measure the idle power of each channel for so long; later windows have a net energy."""
        from joulebench.meter.windows import Accountant
        from joulebench.sensors.idle import measure_idle

        accountant = Accountant(self.channels, self.counters, self._periods)
        found = measure_idle(accountant, seconds, "before")
        self.idle = {} if found is None else dict(found.power)

    def close(self) -> None:
        """Close the descriptors and end the sampler."""
        open_meters.discard(self)
        if self._sampler is not None and not self.forked:
            # It may sleep for seconds until its next tick, and nothing of it is needed any more.
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._sampler.pid, signal.SIGKILL)
            self._sampler.stop()
        self._sampler = None
        self._edges.close()

    # -- the sampler -------------------------------------------------------------------------

    def _start_sampler(self) -> Sampler | None:
        if not self._sampled:
            return None
        try:
            sampler = Sampler(list(self._sampled.values()), os.getpid())
        except (UnavailableError, OSError):
            return None
        if self.gauges:
            sampler.pause()
        return sampler

    def begin_gauges(self) -> None:
        """Let the sampler run and wait for a sample of each gauge."""
        with self._lock:
            self._gauging += 1
            if self._sampler is not None:
                self._sampler.resume()
                self._await_samples(_clock_ns())

    def collect(self, start_ns: int, end_ns: int) -> tuple[dict[int, Trace], bool]:
        """The sampler's readings of a window that has ended, by channel, and whether it was lost.

        A short window of counters needs none.
        """
        if not self._sampled or not (self.gauges or end_ns - start_ns > self._tick_ns // 2):
            return {}, False
        if self._sampler is None:
            return {}, True
        with self._lock:
            if self.gauges:
                self._await_samples(end_ns)
                self._gauging -= 1
                if self._gauging == 0:
                    self._sampler.pause()
            else:
                self._drain()
            found = {index: self._cut(index, start_ns, end_ns) for index in self._store}
            self._forget()
        return found, not self._sampler.alive

    def _await_samples(self, after_ns: int) -> None:
        """Drain until every gauge has a sample not before ``after_ns``, or it takes too long."""
        slowest_s = max(1.0 / self.channels[index].rate_hz for index in self.gauges)
        deadline = time.monotonic() + 2 * slowest_s + _SAMPLE_TIMEOUT_S
        while time.monotonic() < deadline:
            alive = self._sampler is not None and self._sampler.alive
            self._drain()
            stores = [self._store.get(index) for index in self.gauges]
            if all(store is not None and store[0][-1] >= after_ns for store in stores):
                return
            if not alive:
                return
            time.sleep(slowest_s / 20)

    def _drain(self) -> None:
        assert self._sampler is not None  # noqa: S101
        fresh = self._sampler.drain()
        indices = list(self._sampled)
        for t_ns, place, raw in zip(fresh.t_ns, fresh.channel, fresh.raw, strict=True):
            times, raws = self._store.setdefault(indices[place], (array("q"), array("q")))
            times.append(t_ns)
            raws.append(raw)

    def _cut(self, index: int, start_ns: int, end_ns: int) -> Trace:
        """The part of a channel's readings that brackets a window."""
        times, raws = self._store[index]
        first = max(bisect_right(times, start_ns) - 1, 0)
        last = bisect_left(times, end_ns) + 1
        return Trace(times[first:last], raws[first:last])

    def _forget(self) -> None:
        """Drop readings from before the oldest window that is still open, but the last of them."""
        starts = [start for w in list(self.windows) if (start := getattr(w, "t0_ns", 0))]
        oldest = min(starts, default=_clock_ns())
        for times, raws in self._store.values():
            old = bisect_left(times, oldest) - 1
            if old > 0:
                del times[:old], raws[:old]

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
            before, after = start[1][place], end[1][place]
            spec = self._specs[index]
            if before is None or after is None:
                seconds = (end[0] - start[0]) * 1e-9
                window = WindowEnergy(None, None, spec.method, ("sensor_lost",), seconds)
            else:
                trace = traces.get(index, NO_TRACE)
                window = counter_energy((start[0], before), (end[0], after), spec, trace)
            yield self._figure(index, window, idle)
        for index in self.gauges if counters is None else ():
            trace = traces.get(index, NO_TRACE)
            period_s = 1.0 / self.channels[index].rate_hz
            window = gauge_energy(start[0], end[0], self._specs[index], trace, period_s)
            yield self._figure(index, window, idle)

    def _figure(self, index: int, window: WindowEnergy, idle: Mapping[int, IdlePower]) -> EnergyFigure:
        channel = self.channels[index]
        return EnergyFigure(
            channel.path,
            channel.domain,
            channel.provenance,
            channel.counted,
            window,
            net_energy(window, idle[index]) if index in idle else None,
            self._specs[index].update_period_s,
            index in self._periods,
            channel.note,
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
    covered = {each.domain for each in channels if each.kind == "counter"}
    return tuple(
        each
        for each in channels
        if (each.quantity == "energy" and each.kind == "counter")
        or (each.quantity == "power" and each.kind == "gauge" and each.domain not in covered)
    )


def _measured_periods(channels: Sequence[Channel], seconds: float) -> dict[int, float]:
    """Update periods (95th percentile, s) as found here; a model is as fine as its reader."""
    chosen = [index for index, each in enumerate(channels) if each.provenance != "estimated"]
    if seconds <= 0 or not chosen:
        return {}
    from joulebench.meter.live.calibration import calibrate

    found = calibrate([channels[index] for index in chosen], seconds)
    return {
        index: each.period_high_s for index, each in zip(chosen, found, strict=True) if each.period_high_s is not None
    }


def _sampling_plan(channels: Sequence[Channel], most_power_w: float) -> tuple[dict[int, Channel], float]:
    """What the sampler reads, by index, and the period (s) of the wrapping counters."""
    wrapping = {index: each for index, each in enumerate(channels) if each.wraps_at is not None}
    joules = [(each.wraps_at or 0) * each.scale for each in wrapping.values()]
    limit_s = min(joules, default=0.0) / most_power_w / READS_PER_WRAP
    tick_s = max(limit_s / _TICK_MARGIN, _SHORTEST_TICK_S)
    sampled = {index: replace(each, rate_hz=1 / tick_s) for index, each in wrapping.items()}
    sampled |= {index: each for index, each in enumerate(channels) if each.kind == "gauge"}
    return sampled, tick_s
