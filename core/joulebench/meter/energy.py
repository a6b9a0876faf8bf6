"""From raw readings to joules: counters, gauges, phases, idle power, totals.

Everything here is pure: raw integers and nanoseconds go in, joules and watts come out. An energy
that cannot be trusted is ``None`` and its flags say why. Two kinds of uncertainty are kept
apart: ``u_j`` (edges and quanta; independent from window to window) and ``relative_u`` (the
scale of the sensor; the same in each window, so that no averaging makes it smaller).
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from joulebench.api import Channel
from joulebench.meter.student import t_quantile
from joulebench.meter.uncertainty import DEFAULT_LEVEL, Interval

Method = Literal["counter", "integrated", "model"]
#: One reading: when (monotonic, ns) and the raw value.
Read = tuple[int, int]

#: A window of fewer update periods says nothing (5 % at worst), of more than the second number
#: enough for 1 %.
SMALLEST_PERIODS: Final = 20
FINE_PERIODS: Final = 100
#: Reads in one wrap, at the device's maximum power, that make a wrap certain.
READS_PER_WRAP: Final = 4
#: Both edges late by a uniform 0…1 update period: the spread of their difference.
_TWO_EDGES: Final = math.sqrt(2 / 12)
#: A stamp and its read lie apart by up to a few ms when a process is preempted between them, so
#: a tick so near to an edge may be out of order with it.
_EDGE_GUARD_NS: Final = 5_000_000
#: An update may be skipped now and then; a step that needs more than this is no step.
_LATEST_PERIODS: Final = 4
#: Sampling periods without a sample that make a gauge's window void.
_WIDEST_GAP: Final = 4
_NS: Final = 1e-9

_NO_TRACE_T: Final[tuple[int, ...]] = ()


@dataclass(frozen=True, slots=True)
class WindowEnergy:
    """Energy of one window (or of several that were summed).

    ``u_j`` is the standard uncertainty of this single window, ``None`` where the update period
    is unknown; ``worst_j`` the largest error that late edges can make; ``relative_u`` the
    relative standard uncertainty of the scale, not contained in ``u_j``. ``pieces`` counts the
    windows that were summed.
    """

    gross_j: float | None
    u_j: float | None
    method: Method
    flags: tuple[str, ...] = ()
    duration_s: float = 0.0
    worst_j: float | None = None
    relative_u: float = 0.0
    pieces: int = 1

    @property
    def mean_power_w(self) -> float | None:
        """Energy over duration, in watts."""
        if self.gross_j is None or self.duration_s <= 0:
            return None
        return self.gross_j / self.duration_s


@dataclass(frozen=True, slots=True)
class SensorSpec:
    """What the arithmetic must know of a channel.

    ``scale`` turns a raw count into J (counter) or W (gauge). ``update_period_s`` is the period
    *measured* on this machine. ``wraps_at`` is the counter's range from the device (``None``:
    it never wraps); ``max_power_w`` the most that the domain can draw. ``method`` is ``model``
    for estimated channels.
    """

    scale: float
    update_period_s: float | None = None
    resolution: float | None = None
    wraps_at: int | None = None
    max_power_w: float | None = None
    relative_u: float = 0.0
    method: Method = "counter"

    @classmethod
    def of_channel(
        cls, channel: Channel, *, update_period_s: float | None = None, max_power_w: float | None = None
    ) -> SensorSpec:
        """The channel's facts; a measured update period goes before the channel's own."""
        own: Method = "counter" if channel.kind == "counter" else "integrated"
        return cls(
            channel.scale,
            channel.update_period_s if update_period_s is None else update_period_s,
            channel.resolution,
            channel.wraps_at,
            max_power_w,
            channel.relative_uncertainty,
            "model" if channel.provenance == "estimated" else own,
        )


@dataclass(frozen=True, slots=True)
class Trace:
    """The sampler's readings of one channel: columns of equal length, by rising time."""

    t_ns: Sequence[int] = _NO_TRACE_T
    raw: Sequence[int] = _NO_TRACE_T


NO_TRACE: Final = Trace()


# ---------------------------------------------------------------------------------------------
# Counters


def counter_energy(start: Read, end: Read, spec: SensorSpec, trace: Trace = NO_TRACE) -> WindowEnergy:
    """Energy between two edge reads, ``None`` where the window is too short to say.

    ``trace`` holds the sampler's ticks; those inside the window count the wraps.
    """
    return refused_if_short(counter_energy_for_fit(start, end, spec, trace), spec)


def counter_energy_for_fit(start: Read, end: Read, spec: SensorSpec, trace: Trace = NO_TRACE) -> WindowEnergy:
    """Like :func:`counter_energy`, but a short window keeps its energy beside its flag.

    For sums and fits over many windows only, where the edges' errors cancel.
    """
    duration_s = (end[0] - start[0]) * _NS
    counts, fault = _advance(start, end, spec, trace)
    if counts is None:
        return WindowEnergy(None, None, spec.method, (fault,), duration_s, None, spec.relative_u)
    gross = counts * spec.scale
    period = spec.update_period_s
    if period is None:
        flags: tuple[str, ...] = ("update_period_unknown",)
        return WindowEnergy(gross, None, spec.method, flags, duration_s, None, spec.relative_u)
    late_j = gross / duration_s * period
    quantum = spec.scale if spec.resolution is None else spec.resolution
    # Quantum q: each edge is uniform within q, so their difference has q·sqrt(2/12) = q/√6.
    u_j = math.hypot(late_j, quantum) * _TWO_EDGES
    return WindowEnergy(
        gross, u_j, spec.method, _resolution_flags(duration_s, 1, period), duration_s, late_j + quantum, spec.relative_u
    )


def _resolution_flags(duration_s: float, pieces: int, period: float) -> tuple[str, ...]:
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


def corrected_for_late_edges(
    window: WindowEnergy, spec: SensorSpec, power_before_w: float | None, power_end_w: float | None
) -> WindowEnergy:
    """The window with the mean lateness of its edges, T/2 each, made good.

    A late start lends T/2 of the power *before* the window, a late end withholds T/2 of the
    power at its end, so the dithered mean is off by T/2·(end - before): -1 % for a block of 40
    periods after an idle wait. Dithering makes the lateness uniform; it cancels by itself only
    where both powers are alike. Where one of them is unknown the window stays as it is.
    """
    period = spec.update_period_s
    if window.gross_j is None or period is None or power_before_w is None or power_end_w is None:
        return window
    missing_j = period / 2 * (power_end_w - power_before_w)
    return replace(window, gross_j=window.gross_j + missing_j, flags=(*window.flags, "edges_corrected"))


def _advance(start: Read, end: Read, spec: SensorSpec, trace: Trace) -> tuple[int | None, str]:
    """Raw counts between two reads with all wraps, or ``None`` and the flag that says why."""
    if end[0] <= start[0]:
        return None, "empty_window"
    times, raw = trace.t_ns, trace.raw
    first = bisect_right(times, start[0] + _EDGE_GUARD_NS)
    last = bisect_left(times, end[0] - _EDGE_GUARD_NS)
    wrap = spec.wraps_at
    total = 0
    t_before, before = start
    if wrap is not None and before > wrap:
        return None, "counter_ambiguous"
    for i in range(first, last + 1) if first < last else (last,):
        t, now = (times[i], raw[i]) if first <= i < last else end
        step = now - before
        if wrap is not None:
            fault = _step_fault(t - t_before, step % wrap, now, wrap, spec)
            if fault:
                return None, fault
            step %= wrap
        elif step < 0:
            return None, "counter_reset"
        total += step
        t_before, before = t, now
    return total, ""


def _step_fault(gap_ns: int, step: int, now: int, wrap: int, spec: SensorSpec) -> str:
    """Why a step of a wrapping counter proves nothing, or an empty string.

    Without a maximum power, a step above a quarter of the range cannot be told from one that
    hides a wrap. With it, gaps must leave four reads in a wrap, and a step larger than the
    power allows is a reset (a decrease that is no wrap). A reset from within one such step of
    the range looks like a wrap; its error is at most ``max_power_w`` times the gap.
    """
    if now > wrap:
        return "counter_ambiguous"
    if spec.max_power_w is None:
        return "counter_ambiguous" if READS_PER_WRAP * step > wrap else ""
    counts_per_ns = spec.max_power_w * _NS / spec.scale
    lag_ns = _LATEST_PERIODS * (spec.update_period_s or 0.0) / _NS
    # Nothing larger than this can be seen in one step; +1 and the quantum for truncation.
    largest = counts_per_ns * (gap_ns + lag_ns) + (spec.resolution or 0.0) / spec.scale + 1
    if READS_PER_WRAP * counts_per_ns * gap_ns > wrap or largest >= wrap:
        return "counter_ambiguous"
    return "counter_reset" if step > largest else ""


# ---------------------------------------------------------------------------------------------
# Sums of windows and of channels


def phase_energy(pieces: Iterable[WindowEnergy], spec: SensorSpec) -> WindowEnergy:
    """The sum of windows of one channel (all prefills of a block), from energies *for a fit*.

    Edges are independent from window to window, the scale is not. With n pieces the worst error
    of late edges is n·T, so 20·n·T is the shortest sum that is given at all.
    """
    summed = _sum(list(pieces), "no_windows")
    period = spec.update_period_s
    if summed.gross_j is None or period is None:
        return summed
    own = {"insufficient_resolution", "coarse_resolution"}
    flags = tuple(f for f in summed.flags if f not in own)
    resolution = _resolution_flags(summed.duration_s, summed.pieces, period)
    return refused_if_short(replace(summed, flags=(*flags, *resolution)), spec)


def _sum(windows: Sequence[WindowEnergy], if_none: str) -> WindowEnergy:
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
    return WindowEnergy(
        gross,
        math.sqrt(math.fsum((w.u_j or 0.0) ** 2 for w in windows)) if known else None,
        method,
        flags,
        duration_s,
        math.fsum(w.worst_j or 0.0 for w in windows) if known else None,
        _joint_relative(windows, gross),
        pieces,
    )


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

    One channel without a figure leaves the total without one (``incomplete_total``).
    """
    summed = _sum(channels, "no_counted_channel")
    if not channels:
        return summed
    flags = summed.flags if summed.gross_j is not None else (*summed.flags, "incomplete_total")
    return replace(summed, flags=flags, duration_s=max(w.duration_s for w in channels), pieces=1)


# ---------------------------------------------------------------------------------------------
# Gauges


def gauge_energy(start_ns: int, end_ns: int, spec: SensorSpec, trace: Trace, sampling_period_s: float) -> WindowEnergy:
    """Trapezoid over the samples that bracket [start, end], interpolated at both edges.

    ``None`` where no sample stands outside each edge, or samples are missing within. ``u_j``
    holds late edges (the sensor's averaging is unknown, at least its update period) and the
    resolution of each sample.
    """
    duration_s = (end_ns - start_ns) * _NS
    method: Method = "model" if spec.method == "model" else "integrated"
    void = WindowEnergy(None, None, method, ("gauge_integrated", "samples_missing"), duration_s, None, spec.relative_u)
    times = trace.t_ns
    first, last = bisect_right(times, start_ns) - 1, bisect_left(times, end_ns)
    if first < 0 or last >= len(times) or duration_s <= 0:
        return void
    widest_ns = _WIDEST_GAP * sampling_period_s / _NS
    if any(times[i + 1] - times[i] > widest_ns for i in range(first, last)):
        return void
    gross = spec.scale * _NS * _trapezoid(trace, first, last, start_ns, end_ns)
    period = sampling_period_s if spec.update_period_s is None else spec.update_period_s
    late_j = abs(gross) / duration_s * max(period, sampling_period_s)
    quantum = spec.scale if spec.resolution is None else spec.resolution
    rounding_j = quantum / math.sqrt(12) * duration_s / math.sqrt(max(last - first, 1))
    return WindowEnergy(
        gross,
        math.hypot(late_j * _TWO_EDGES, rounding_j),
        method,
        ("gauge_integrated", *_resolution_flags(duration_s, 1, period)),
        duration_s,
        late_j + quantum / 2 * duration_s,
        spec.relative_u,
    )


def _trapezoid(trace: Trace, first: int, last: int, start: int, end: int) -> float:
    """∫ raw dt over [start, end] in counts × ns, linear between samples first … last."""
    total = 0.0
    for i in range(first, last):
        t0, t1, p0, p1 = trace.t_ns[i], trace.t_ns[i + 1], trace.raw[i], trace.raw[i + 1]
        a, b = max(t0, start), min(t1, end)
        if b <= a:
            continue
        slope = (p1 - p0) / (t1 - t0)
        total += (b - a) * (p0 + slope * (0.5 * (a - t0) + 0.5 * (b - t0)))
    return total


# ---------------------------------------------------------------------------------------------
# A single window


def single_window_interval(window: WindowEnergy, level: float = DEFAULT_LEVEL) -> Interval | None:
    """The interval of one window alone: edges and quantum by the normal quantile, and the scale.

    ``None`` where the energy or its uncertainty is. The worst case is ``window.worst_j``.
    """
    if window.gross_j is None or window.u_j is None:
        return None
    df = 1e15  # not estimated from scatter: the normal quantile
    u = math.hypot(window.u_j, window.relative_u * window.gross_j)
    half = t_quantile(0.5 + level / 2, df) * u
    gross = window.gross_j
    return Interval(gross, gross - half, gross + half, half, u, 1, 1.0, df, None, level, ("single_block",))
