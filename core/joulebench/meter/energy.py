"""Energies of windows: what is known of a sensor, sums of windows and channels, single intervals.

Counters and gauges have modules of their own; all of it is pure: raw integers and nanoseconds go in,
joules and watts come out. An energy
that cannot be trusted is ``None`` and its flags say why. Two kinds of uncertainty are kept
apart: ``u_j`` (edges and quanta; independent from window to window) and ``relative_u`` (the
scale of the sensor; the same in each window, so that no averaging makes it smaller).
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from joulebench.api import Channel, ReaderSource
from joulebench.meter.student import t_quantile
from joulebench.meter.timing import UpdateTiming
from joulebench.meter.uncertainty import DEFAULT_LEVEL, Interval

Method = Literal["counter", "integrated", "model"]
#: One reading: when (monotonic, ns) and the raw value.
Read = tuple[int, int]

#: A window of fewer update periods says nothing (5 % at worst), of more than the second number
#: enough for 1 %.
SMALLEST_PERIODS: Final = 20
FINE_PERIODS: Final = 100
#: No single domain of a processor or board draws more, in W; a larger step of a counter is no step.
MOST_POWER_W: Final = 2000.0

#: The flag of a reader's energies that says nothing of how far it may be off.
ACCURACY_UNDECLARED: Final = "accuracy_undeclared"

#: No machine that an instrument of ours stands in front of draws more, in W: what shows it is broken.
MOST_MACHINE_POWER_W: Final = 1e5

_NO_TRACE_T: Final[tuple[int, ...]] = ()


@dataclass(frozen=True, slots=True)
class WindowEnergy:
    """Energy of one window (or of several that were summed).

    ``u_j`` is the standard uncertainty of this single window, ``None`` where the update period
    is unknown; ``worst_j`` the largest error that late edges can make; ``relative_u`` the
    relative standard uncertainty of the scale, not contained in ``u_j``, and ``offset_u_w`` that of a power
    which is in each reading. ``pieces`` counts the windows that were summed.
    """

    gross_j: float | None
    u_j: float | None
    method: Method
    flags: tuple[str, ...] = ()
    duration_s: float = 0.0
    worst_j: float | None = None
    relative_u: float = 0.0
    pieces: int = 1
    offset_u_w: float = 0.0

    @property
    def systematic_u_j(self) -> float:
        """What no repetition makes smaller: standard uncertainty by scale and offset of the sensor."""
        return math.hypot(self.relative_u * (self.gross_j or 0.0), self.offset_u_w * self.duration_s)

    @property
    def mean_power_w(self) -> float | None:
        """Energy over duration, in watts."""
        if self.gross_j is None or self.duration_s <= 0:
            return None
        return self.gross_j / self.duration_s


@dataclass(frozen=True, slots=True)
class SensorSpec:
    """What the arithmetic must know of a channel.

    ``scale`` turns a raw count into J (counter) or W (gauge). ``update_period_s`` is the time between
    changes of the source (its 95th percentile where measured; ``period_verified`` says that it was).
    ``wraps_at`` is the counter's range from the device (``None``: it never wraps); ``max_power_w`` the
    most that the domain can draw, ``largest_power_w`` the most seen so far. ``averaging_s`` is the time
    over which a gauge averages, ``full_scale_w`` the most that it can show. ``method`` is ``model`` for
    estimated channels.

    ``lateness_s`` is how old a shown value is on average, ``lateness_u_s`` the standard deviation of
    that; ``None``: those of a constant period, T/2 and T/√12. ``longest_gap_s`` is the longest time between
    changes that was seen. ``held_s`` is the sampling period that is in all of these, of a counter that the
    sampler alone reads.
    """

    scale: float
    update_period_s: float | None = None
    resolution: float | None = None
    wraps_at: int | None = None
    max_power_w: float | None = None
    relative_u: float = 0.0
    method: Method = "counter"
    lateness_s: float | None = None
    lateness_u_s: float | None = None
    period_verified: bool = True
    averaging_s: float = 0.0
    full_scale_w: float | None = None
    largest_power_w: float | None = None
    longest_gap_s: float | None = None
    held_s: float = 0.0

    @classmethod
    def of_channel(
        cls, channel: Channel, timing: UpdateTiming | None = None, largest_power_w: float | None = None
    ) -> SensorSpec:
        """The channel's facts; measured update times go before the channel's own."""
        own: Method = "counter" if channel.kind == "counter" else "integrated"
        declared = channel.update_period_s
        return cls(
            scale=channel.scale,
            update_period_s=declared if timing is None else timing.period_s,
            resolution=channel.resolution,
            wraps_at=channel.wraps_at,
            max_power_w=MOST_POWER_W if channel.wraps_at is not None and channel.unit == "J" else None,
            relative_u=relative_u_of(channel),
            method="model" if channel.provenance == "estimated" else own,
            lateness_s=None if timing is None else timing.lateness_s,
            lateness_u_s=None if timing is None else timing.lateness_u_s,
            period_verified=timing is not None or channel.provenance == "estimated",
            averaging_s=channel.averaging_s or 0.0,
            full_scale_w=None if channel.accuracy is None else channel.accuracy.range_w,
            largest_power_w=largest_power_w,
            longest_gap_s=None if timing is None else timing.longest_s,
        )

    def with_timing(self, timing: UpdateTiming) -> SensorSpec:
        """The same sensor with update times as they were measured."""
        measured = replace(
            self,
            update_period_s=timing.period_s,
            lateness_s=timing.lateness_s,
            lateness_u_s=timing.lateness_u_s,
            period_verified=True,
            longest_gap_s=timing.longest_s,
        )
        return measured.held(self.held_s) if self.held_s else measured

    def held(self, sampling_period_s: float) -> SensorSpec:
        """The same counter where an edge has what the sampler read last before it.

        That is up to a sampling period older still, by a time that is uniform.
        """
        period_s = self.update_period_s
        if period_s is None:
            return replace(self, held_s=sampling_period_s)
        longest_s = period_s if self.longest_gap_s is None else self.longest_gap_s
        return replace(
            self,
            update_period_s=period_s + sampling_period_s,
            lateness_s=self.mean_lateness_s + sampling_period_s / 2,
            lateness_u_s=math.hypot(self.edge_u_s, sampling_period_s / math.sqrt(12)),
            longest_gap_s=longest_s + sampling_period_s,
            held_s=sampling_period_s,
        )

    @property
    def quantum(self) -> float:
        """The smallest step of the value, in J or W."""
        return self.scale if self.resolution is None else self.resolution

    @property
    def mean_lateness_s(self) -> float:
        """How old a shown value is on average; 0 where no update period is known."""
        return (self.update_period_s or 0.0) / 2 if self.lateness_s is None else self.lateness_s

    @property
    def edge_u_s(self) -> float:
        """Standard deviation of the lateness of one edge."""
        return (self.update_period_s or 0.0) / math.sqrt(12) if self.lateness_u_s is None else self.lateness_u_s


def relative_u_of(channel: Channel) -> float:
    """Relative standard uncertainty of a channel's scale, of all that it states."""
    return math.hypot(channel.relative_uncertainty, 0.0 if channel.accuracy is None else channel.accuracy.relative_u)


def is_accuracy_undeclared(channel: Channel) -> bool:
    """Whether a plugin's reader is said to measure joules or watts, and not how well."""
    return (
        channel.quantity in ("energy", "power")
        and channel.provenance == "measured"
        and isinstance(channel.source, ReaderSource)
        and channel.accuracy is None
        and channel.relative_uncertainty == 0.0
    )


def with_accuracy(window: WindowEnergy, channel: Channel) -> WindowEnergy:
    """The window with what its sensor declares of its offset, or the flag that it declares nothing."""
    if is_accuracy_undeclared(channel):
        return replace(window, flags=(*window.flags, ACCURACY_UNDECLARED))
    if channel.accuracy is None:
        return window
    return replace(window, offset_u_w=channel.accuracy.offset_u_w)


@dataclass(frozen=True, slots=True)
class Trace:
    """The sampler's readings of one channel: columns of equal length, by rising time.

    ``stamped`` says that the times are those of which the readings tell, not those at which they were read.
    """

    t_ns: Sequence[int] = _NO_TRACE_T
    raw: Sequence[int] = _NO_TRACE_T
    stamped: bool = False

    def held(self, t_ns: int, longest_s: float) -> tuple[int, int] | None:
        """The last reading no later than ``t_ns``, with its own time; ``None`` where it is older than that."""
        place = bisect_right(self.t_ns, t_ns) - 1
        if place < 0 or (t_ns - self.t_ns[place]) * 1e-9 > longest_s:
            return None
        return self.t_ns[place], self.raw[place]


NO_TRACE: Final = Trace()


def resolution_flags(duration_s: float, pieces: int, period: float) -> tuple[str, ...]:
    """What so few periods in a window (or in so many pieces) say against its energy."""
    if duration_s < SMALLEST_PERIODS * pieces * period:
        return ("insufficient_resolution",)
    if duration_s < FINE_PERIODS * pieces * period:
        return ("coarse_resolution",)
    return ()


def refused_if_short(window: WindowEnergy, spec: SensorSpec) -> WindowEnergy:
    """The window without its energy where it is flagged ``insufficient_resolution``."""
    if "insufficient_resolution" not in window.flags:
        return window
    return replace(window, gross_j=None, u_j=None, worst_j=None)


# ---------------------------------------------------------------------------------------------
# Sums of windows and of channels


def phase_energy(
    pieces: Iterable[WindowEnergy], spec: SensorSpec, sampling_period_s: float | None = None
) -> WindowEnergy:
    """The sum of windows of one channel (all prefills of a block), from energies *for a fit*.

    Edges are independent from window to window, the scale is not. With n pieces the worst error
    of late edges is n·T, so 20·n·T is the shortest sum that is given at all. T of a gauge is the longest
    of its update period (``sampling_period_s`` where that is unknown) and the time over which it averages.
    """
    summed = _sum(list(pieces), "no_windows", alike=False)
    period = sampling_period_s if spec.update_period_s is None else spec.update_period_s
    if summed.gross_j is None or period is None:
        return summed
    period = max(period, spec.averaging_s)
    own = {"insufficient_resolution", "coarse_resolution"}
    flags = tuple(f for f in summed.flags if f not in own)
    resolution = resolution_flags(summed.duration_s, summed.pieces, period)
    return refused_if_short(replace(summed, flags=(*flags, *resolution)), spec)


def _sum(windows: Sequence[WindowEnergy], if_none: str, *, alike: bool) -> WindowEnergy:
    if not windows:
        return WindowEnergy(None, None, "counter", (if_none,))
    flags = tuple(dict.fromkeys(flag for w in windows for flag in w.flags))
    method = _joint_method(windows)
    duration_s = math.fsum(w.duration_s for w in windows)
    pieces = sum(w.pieces for w in windows)
    if any(w.gross_j is None for w in windows):
        return WindowEnergy(None, None, method, flags, duration_s, pieces=pieces)
    gross = math.fsum(w.gross_j or 0.0 for w in windows)
    known = all(w.u_j is not None for w in windows)
    bounded = all(w.worst_j is not None for w in windows)
    return WindowEnergy(
        gross,
        _joint_u(windows, alike=alike) if known else None,
        method,
        flags,
        duration_s,
        math.fsum(w.worst_j for w in windows if w.worst_j is not None) if bounded else None,
        _joint_relative(windows, gross),
        pieces,
        # One after the other they share the sensor, side by side each has its own; all may err alike.
        math.fsum(w.offset_u_w for w in windows) if alike else max(w.offset_u_w for w in windows),
    )


def _joint_u(windows: Sequence[WindowEnergy], *, alike: bool) -> float:
    """Edge errors of windows that follow each other are independent, those of one moment are not."""
    parts = [w.u_j or 0.0 for w in windows]
    return math.fsum(parts) if alike else math.sqrt(math.fsum(part * part for part in parts))


def _joint_method(windows: Sequence[WindowEnergy]) -> Method:
    """The least trusted method among the windows: a sum is no better than its worst part."""
    methods = {w.method for w in windows}
    for method in ("model", "integrated"):
        if method in methods:
            return method
    return "counter"


def _joint_relative(windows: Sequence[WindowEnergy], gross: float) -> float:
    """Scale uncertainties added without quadrature: one maker's sensors may err alike."""
    if gross == 0:
        return max(w.relative_u for w in windows)
    return math.fsum(w.relative_u * abs(w.gross_j or 0.0) for w in windows) / abs(gross)


def total_energy(channels: Sequence[WindowEnergy]) -> WindowEnergy:
    """The sum over the counted channels of one provenance, over the same window.

    One channel without a figure leaves the total without one (``incomplete_total``). Counters of one
    machine may change at the same moments, so their edge errors add up without quadrature.
    """
    summed = _sum(channels, "no_counted_channel", alike=True)
    if not channels:
        return summed
    flags = summed.flags if summed.gross_j is not None else (*summed.flags, "incomplete_total")
    return replace(summed, flags=flags, duration_s=max(w.duration_s for w in channels), pieces=1)


# ---------------------------------------------------------------------------------------------
# A single window


def single_window_interval(window: WindowEnergy, level: float = DEFAULT_LEVEL) -> Interval | None:
    """The interval of one window alone: edges and quantum by the normal quantile, and the scale.

    ``None`` where the energy or its uncertainty is. The worst case is ``window.worst_j``.
    """
    if window.gross_j is None or window.u_j is None:
        return None
    df = 1e15  # not estimated from scatter: the normal quantile
    u = math.hypot(window.u_j, window.systematic_u_j)
    half = t_quantile(0.5 + level / 2, df) * u
    gross = window.gross_j
    return Interval(gross, gross - half, gross + half, half, u, 1, 1.0, df, None, level, ("single_block",))
