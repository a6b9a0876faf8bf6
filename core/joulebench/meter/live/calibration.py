"""What a channel is really like on this machine: its period, quantum, jitter and cost of a read.

Measured by reading as fast as possible for some seconds, never taken from a table.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from joulebench.api import Channel
from joulebench.errors import UnavailableError
from joulebench.meter.energy import FINE_PERIODS, SMALLEST_PERIODS
from joulebench.meter.live.channels import edge_channels, has_one_reader, source_spec
from joulebench.meter.live.sampler import edge_reader
from joulebench.meter.live.sampling import Sampler
from joulebench.meter.margins import NO_MARGINS, Margins
from joulebench.meter.timing import UpdateTiming
from joulebench.meter.uncertainty import quantile
from joulebench.meter.windows import Accountant

DEFAULT_SECONDS: Final = 3.0
QUICK_SECONDS: Final = 1.0
#: Fewer changes than this tell no period.
_FEWEST_CHANGES: Final = 5
#: A gap between two reads above this share of a period hides when the source changed.
_LARGEST_GAP_SHARE: Final = 0.25
_NORMAL_95: Final = 1.96
#: A counter that has not changed in so many of its declared periods is frozen.
_PATIENT_PERIODS: Final = 4
#: With so many changes of each channel there is no need to watch on.
_ENOUGH_CHANGES: Final = 40
#: Power is taken over so long at least.
_SLICE_NS: Final = 10_000_000
#: Readers that one process alone may open are read by a sampler, so often and emptied after so long.
_SAMPLED_HZ: Final = 2000.0
_EMPTIED_NS: Final = 50_000_000
_REST_S: Final = 0.001
#: A source that changes at more than this share of the reads is finer than reading can see.
_CONTINUOUS_SHARE: Final = 0.5


@dataclass(frozen=True, slots=True)
class SensorCalibration:
    """One channel as it was found. Times in s; ``quantum`` in the channel's unit.

    ``period_s`` is the median time between changes, ``period_low_s`` and ``period_high_s`` its
    5th and 95th percentile; all are ``None`` where too few changes were seen. A source that
    changes at nearly each read (``continuous``) has no period that could be seen.
    """

    channel: str
    reads: int
    changes: int
    continuous: bool
    period_s: float | None
    period_low_s: float | None
    period_high_s: float | None
    quantum: float | None
    read_cost_s: float | None
    #: Update times in full; ``None`` as the periods.
    timing: UpdateTiming | None = None
    #: How long it was watched, and the period that the probe declares.
    watched_s: float = 0.0
    declared_period_s: float | None = None
    #: The most power over an update period or more, in W; ``None`` for what counts no energy.
    largest_power_w: float | None = None

    def smallest_window_s(self, periods: int) -> float | None:
        """The shortest window of so many update periods; the slower periods count."""
        return None if self.period_high_s is None else periods * self.period_high_s

    @property
    def frozen(self) -> bool:
        """Whether the value never changed, in as long a time as it should have changed several times."""
        patience_s = _PATIENT_PERIODS * (self.declared_period_s or 0.0)
        return self.reads > _FEWEST_CHANGES and self.changes == 0 and self.watched_s >= patience_s

    @property
    def window_for_1_percent_s(self) -> float | None:
        """Shortest window whose energy is good for 1 %."""
        return self.smallest_window_s(FINE_PERIODS)

    @property
    def window_for_5_percent_s(self) -> float | None:
        """Shortest window whose energy is good for 5 %."""
        return self.smallest_window_s(SMALLEST_PERIODS)


def shortest_block_s(period_s: float, target: float, blocks: int) -> float:
    """The shortest block whose energies are given at all and can reach a relative target.

    At least 20 update periods; and the late edges alone, T/D·√(2/12) in each block, must leave
    1.96 standard errors of the mean of all blocks within the target.
    """
    edges_s = _NORMAL_95 * period_s * math.sqrt(2 / 12) / (math.sqrt(blocks) * target)
    return max(SMALLEST_PERIODS * period_s, edges_s)


@dataclass(slots=True)
class _Watched:
    """A channel while it is being read."""

    before: int | None = None
    reads: int = 0
    changes: int = 0
    cost_ns: int = 0
    changed_ns: int | None = None
    looked_ns: int | None = None
    longest_gap_ns: int = 0
    periods_ns: list[int] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)
    largest_per_ns: float = 0.0
    slice_ns: int | None = None
    slice_counts: int = 0

    def look(self, read: Callable[[], list[int | None]], clock_ns: Callable[[], int]) -> None:
        """Read once and note a change."""
        start = clock_ns()
        raw = read()[0]
        now = clock_ns()
        self.cost_ns += now - start
        self.note(now, raw)

    def note(self, now: int, raw: int | None) -> None:
        """A reading of that time."""
        self.reads += 1
        if self.looked_ns is not None:
            self.longest_gap_ns = max(self.longest_gap_ns, now - self.looked_ns)
        self.looked_ns = now
        if raw is not None and self.before is not None and raw != self.before:
            self._changed(now, raw - self.before)
        self.before = raw

    def _changed(self, now: int, step: int) -> None:
        self.changes += 1
        self.steps.append(abs(step))
        if self.changed_ns is not None:
            period_ns = now - self.changed_ns
            self._add_to_slice(now, step)
            # Where we ourselves were kept from reading, the interval is ours, not the sensor's.
            if self.longest_gap_ns <= _LARGEST_GAP_SHARE * period_ns:
                self.periods_ns.append(period_ns)
        else:
            self.slice_ns = now
        self.changed_ns = now
        self.longest_gap_ns = 0

    def _add_to_slice(self, now: int, step: int) -> None:
        """Power is told over slices of several updates: one that we saw late is followed by an early one."""
        if self.slice_ns is None or step < 0:  # a wrap's fall tells no power
            self.slice_ns, self.slice_counts = now, 0
            return
        self.slice_counts += step
        if now - self.slice_ns >= _SLICE_NS:
            self.largest_per_ns = max(self.largest_per_ns, self.slice_counts / (now - self.slice_ns))
            self.slice_ns, self.slice_counts = now, 0


def _largest_power_w(channel: Channel, watched: _Watched) -> float | None:
    """The most power over a slice of 10 ms or more; ``None`` where there was none, or it counts no energy."""
    if channel.unit != "J" or watched.largest_per_ns == 0:
        return None
    return watched.largest_per_ns * channel.scale * 1e9


def calibrate(
    channels: Sequence[Channel],
    seconds: float = DEFAULT_SECONDS,
    clock_ns: Callable[[], int] = time.perf_counter_ns,
    *,
    enough_changes: int | None = None,
) -> list[SensorCalibration]:
    """Calibrate the channels together: all are read in turn for so many seconds.

    With ``enough_changes`` it ends earlier, as soon as each channel has changed so often. Readers that
    one process alone may open are read in a sampler, which has ended when this returns.
    """
    watched = [_Watched() for _ in channels]
    reads = {
        index: edge_reader([source_spec(0, channel.source, None)])
        for index, channel in enumerate(channels)
        if not has_one_reader(channel)
    }
    sampler = _fast_sampler(channels) if len(reads) < len(channels) else None
    begin = now = emptied_ns = clock_ns()
    end = begin + int(seconds * 1e9)
    try:
        while watched and now < end:
            for index, read in reads.items():
                watched[index].look(read, clock_ns)
            if not reads:
                time.sleep(_REST_S)
            now = clock_ns()
            if sampler is not None and now - emptied_ns > _EMPTIED_NS:
                _note_samples(sampler, watched)
                emptied_ns = now
            if enough_changes is not None and all(watch.changes > enough_changes for watch in watched):
                break
    finally:
        if sampler is not None:
            sampler.stop()
            _note_samples(sampler, watched)
    watched_s = (now - begin) * 1e-9
    return [_calibration(channel, watch, watched_s) for channel, watch in zip(channels, watched, strict=True)]


def _fast_sampler(channels: Sequence[Channel]) -> Sampler | None:
    """A sampler of the readers that one process alone may open; ``None`` where it does not start."""
    only = [index for index, channel in enumerate(channels) if has_one_reader(channel)]
    fast = [replace(channel, rate_hz=_SAMPLED_HZ) for channel in channels]
    try:
        return Sampler(fast, None, only=only, patient=True)
    except UnavailableError:
        return None


def _note_samples(sampler: Sampler, watched: Sequence[_Watched]) -> None:
    drained = sampler.drain()
    for t_ns, index, raw in zip(drained.t_ns, drained.channel, drained.raw, strict=True):
        watched[index].note(t_ns, raw)


def calibrate_quickly(channels: Sequence[Channel], most_s: float = QUICK_SECONDS) -> list[SensorCalibration]:
    """A calibration that takes no longer than the channels need: some 40 changes of each, 1 s at most."""
    return calibrate(channels, most_s, enough_changes=_ENOUGH_CHANGES)


def calibrated_accountant(
    channels: Sequence[Channel], calibrations: Mapping[int, SensorCalibration], margins: Margins = NO_MARGINS
) -> Accountant:
    """What turns windows of these channels into energies, by what calibration has measured of them.

    The one place where an accountant is made of calibrations: a run, ``measure``'s idle baseline, the
    virtual rail and its study of faults all have theirs from here.
    """
    timings = {index: found.timing for index, found in calibrations.items() if found.timing is not None}
    frozen = [index for index, found in calibrations.items() if found.frozen and channels[index].kind == "counter"]
    powers = {i: found.largest_power_w for i, found in calibrations.items() if found.largest_power_w is not None}
    continuous = [index for index, found in calibrations.items() if found.continuous]
    return Accountant(channels, edge_channels(channels), timings, frozen, margins, powers, continuous)


def _calibration(channel: Channel, watched: _Watched, watched_s: float) -> SensorCalibration:
    continuous = watched.changes > _CONTINUOUS_SHARE * watched.reads
    known = len(watched.periods_ns) >= _FEWEST_CHANGES and not continuous
    periods = [period_ns * 1e-9 for period_ns in watched.periods_ns]
    return SensorCalibration(
        channel=channel.path,
        reads=watched.reads,
        changes=watched.changes,
        continuous=continuous,
        period_s=quantile(periods, 0.5) if known else None,
        period_low_s=quantile(periods, 0.05) if known else None,
        period_high_s=quantile(periods, 0.95) if known else None,
        quantum=_quantum(channel, watched.steps) if known else None,
        read_cost_s=watched.cost_ns * 1e-9 / watched.reads if watched.cost_ns else None,
        timing=UpdateTiming.of_gaps(periods) if known else None,
        watched_s=watched_s,
        declared_period_s=channel.update_period_s,
        largest_power_w=_largest_power_w(channel, watched),
    )


def _quantum(channel: Channel, steps: Sequence[int]) -> float:
    """The smallest step of the value: the device's own, where it tells, else what divides all steps seen.

    Counts that a driver has converted (RAPL's 61.035 µJ shown in whole µJ) have no common divisor but 1.
    """
    return max(math.gcd(*steps) * channel.scale, channel.resolution or 0.0)
