"""From a counter's raw readings to joules: wraps, resets, frozen counters, late edges.

A counter that is updated now and then shows at an edge what it had counted some time before. How long
before is the lateness of the edge; how much energy that is depends on the power *at the edge*, which the
sampler's trace tells and the mean power of the window does not (a load may come in bursts).
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final

from joulebench.meter.energy import (
    MOST_MACHINE_POWER_W,
    NO_TRACE,
    SMALLEST_PERIODS,
    Read,
    SensorSpec,
    Trace,
    WindowEnergy,
    refused_if_short,
    resolution_flags,
)
from joulebench.meter.timing import FEWEST_GAPS, UpdateTiming
from joulebench.meter.uncertainty import quantile

#: Reads in one wrap that make a wrap certain.
READS_PER_WRAP: Final = 4
#: A stamp and its read lie apart by up to a few ms when a process is preempted between them, so
#: a tick so near to an edge may be out of order with it.
_EDGE_GUARD_NS: Final = 5_000_000
#: An update may be skipped now and then; a step that needs more than this is no step.
_LATEST_PERIODS: Final = 4
#: A counter that changes at every tick stands still with so many ticks alike.
_STILL_TICKS: Final = 3
#: No load draws so many times the power that calibration saw.
_LOAD_OVER_SEEN: Final = 12
#: A tick that comes so many times later than usual was held up.
_LATE_TICKS: Final = 3
#: A step may be so many times what the power seen so far explains.
_SEEN_MARGIN: Final = 2.0
#: The share of steps whose rate is usual.
_USUALLY: Final = 0.9
#: Power at an edge is looked for within so many update or sampling periods of it.
_NEAR_PERIODS: Final = 3
#: A counter that stands still while less than this power would move it is not frozen, in W.
_LEAST_POWER_W: Final = 0.1
#: Update times that a trace shows may be so many times the known ones.
_AGREEING: Final = 1.5
#: The bounds of a rectangle in standard deviations.
_RECTANGLE: Final = math.sqrt(3)
_NS: Final = 1e-9


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
    spec = as_watched(spec, trace)
    if counts is not None:
        fault = _standing_still(start, end, counts, spec, trace)
    if counts is None or fault:
        return WindowEnergy(None, None, spec.method, (fault,), duration_s, None, spec.relative_u)
    gross, period = counts * spec.scale, spec.update_period_s
    if period is None:
        flags: tuple[str, ...] = ("update_period_unknown",)
        return WindowEnergy(gross, None, spec.method, flags, duration_s, None, spec.relative_u)
    power = edge_power(start, end, spec, trace)
    mean_w = gross / duration_s
    first_w, last_w = (mean_w, mean_w) if power is None else (power.first_most_w, power.last_most_w)
    if power is None and spec.largest_power_w is not None:
        first_w = last_w = max(mean_w, spec.largest_power_w)
    # Quantum q: each edge is uniform within q, so their difference has q·sqrt(2/12) = q/√6.
    u_j = math.hypot(first_w * spec.edge_u_s, last_w * spec.edge_u_s, spec.quantum / math.sqrt(6))
    flags = resolution_flags(duration_s, 1, period)
    if not spec.period_verified:
        flags = (*flags, "update_period_unverified")
    longest_s = period if spec.longest_gap_s is None else spec.longest_gap_s
    worst_j = max(first_w, last_w, spec.largest_power_w or 0.0) * longest_s + spec.quantum
    return WindowEnergy(gross, u_j, spec.method, flags, duration_s, worst_j, spec.relative_u)


# ---------------------------------------------------------------------------------------------
# Late edges


@dataclass(frozen=True, slots=True)
class EdgePower:
    """Power at a window's edges by the trace, in W.

    ``before_w`` and ``end_w`` are what an edge's lateness lends and withholds: the power just before
    each edge. ``first_most_w`` and ``last_most_w`` are the most that was seen near each. ``None`` for
    ``before_w`` where the trace does not reach back before the window.
    """

    before_w: float | None
    end_w: float
    first_most_w: float
    last_most_w: float


def edge_power(start: Read, end: Read, spec: SensorSpec, trace: Trace) -> EdgePower | None:
    """Power near the edges of a window; ``None`` where the trace shows no changes near them."""
    period_s = spec.update_period_s or 0.0
    changes = _changes(trace)
    if len(changes) < 2:
        return None
    tick_s = _tick_s(trace)
    near_s = _NEAR_PERIODS * max(period_s, tick_s)
    slices = list(_powers(changes, spec, max(period_s, tick_s)))

    def near(t_ns: int) -> list[tuple[int, int, float]]:
        reach_ns = int(near_s / _NS)
        return [part for part in slices if part[1] > t_ns - reach_ns and part[0] < t_ns + reach_ns]

    first, last = near(start[0]), near(end[0])
    if not first or not last:
        return None
    before = [watts for _, t1, watts in first if t1 <= start[0]]
    ending = [watts for _, t1, watts in last if t1 <= end[0]] or [last[0][2]]
    most_w = [watts for *_, watts in last] + [_last_w(changes, end, spec, period_s)]
    return EdgePower(before[-1] if before else None, ending[-1], max(watts for *_, watts in first), max(most_w))


def _last_w(changes: Sequence[Read], end: Read, spec: SensorSpec, period_s: float) -> float:
    """Power between the last tick before a window's end and the end itself: a burst may just have begun."""
    earlier = [read for read in changes if read[0] < end[0]]
    if not earlier:
        return 0.0
    t_ns, raw = earlier[-1]
    step = end[1] - raw if spec.wraps_at is None else (end[1] - raw) % spec.wraps_at
    return max(0, step) * spec.scale / max((end[0] - t_ns) * _NS, period_s)


def _changes(trace: Trace) -> list[Read]:
    """The readings of a trace at which the counter had changed, with the first."""
    changes: list[Read] = []
    for t_ns, raw in zip(trace.t_ns, trace.raw, strict=True):
        if not changes or raw != changes[-1][1]:
            changes.append((t_ns, raw))
    return changes


def _powers(changes: Sequence[Read], spec: SensorSpec, least_s: float) -> Iterator[tuple[int, int, float]]:
    """(from, to, W) between changes, over at least so many seconds each; falls that are no wrap are left out."""
    begin = changes[0]
    counts = 0
    for before, now in pairwise(changes):
        step = now[1] - before[1]
        if spec.wraps_at is not None:
            step %= spec.wraps_at
        elif step < 0:
            begin, counts = now, 0
            continue
        counts += step
        seconds = (now[0] - begin[0]) * _NS
        if seconds >= least_s * 0.5:
            yield begin[0], now[0], counts * spec.scale / seconds
            begin, counts = now, 0


def _tick_s(trace: Trace) -> float:
    gaps = [(b - a) * _NS for a, b in pairwise(trace.t_ns)]
    return quantile(gaps, 0.5) or 0.0


def as_watched(spec: SensorSpec, trace: Trace) -> SensorSpec:
    """The sensor with its update times as the trace shows them, where it proves slower than was known.

    A trace whose counter has changed at every tick says no more than that it is not slower than those.
    """
    if spec.update_period_s is None and spec.method == "model":
        return spec
    timing = _seen_timing(trace)
    if timing is None or timing.period_s < 2 * _tick_s(trace) or timing.period_s <= (spec.update_period_s or 0.0):
        return spec
    return spec.with_timing(timing)


def contradicting(spec: SensorSpec, trace: Trace) -> UpdateTiming | None:
    """Update times of a trace that are no longer those which are known; ``None`` where they agree.

    Ticks that come late make a counter look slower now and then, so that half as slow again still agrees; and one
    that is at least twice as fast as it is known to be has changed too.
    """
    timing, period_s = _seen_timing(trace), spec.update_period_s
    if timing is None or period_s is None or spec.method == "model":
        return None
    slower = timing.period_s > _AGREEING * period_s and timing.period_s >= 2 * _tick_s(trace)
    return timing if slower or 2 * timing.period_s < period_s else None


def _seen_timing(trace: Trace) -> UpdateTiming | None:
    """Times between the changes that a trace shows; ``None`` where those are too few.

    A time in which the sampler itself was kept from reading is not the counter's.
    """
    late_ns = _LATE_TICKS * _tick_s(trace) / _NS
    gaps: list[float] = []
    changed_ns: int | None = None  # not where the trace begins
    longest_ns = 0
    for before, now in pairwise(zip(trace.t_ns, trace.raw, strict=True)):
        longest_ns = max(longest_ns, now[0] - before[0])
        if now[1] == before[1]:
            continue
        if changed_ns is not None and longest_ns <= max(late_ns, (now[0] - changed_ns) / 2):
            gaps.append((now[0] - changed_ns) * _NS)
        changed_ns, longest_ns = now[0], 0
    return UpdateTiming.of_gaps(gaps) if len(gaps) >= FEWEST_GAPS else None


def held_read(t_ns: int, spec: SensorSpec, trace: Trace) -> Read | None:
    """What a counter that the sampler alone reads has at an edge: its last reading before, if it is recent."""
    reading = trace.held(t_ns, _LATEST_PERIODS * max(spec.held_s, spec.update_period_s or 0.0))
    return None if reading is None else (t_ns, reading[1])


def held_lags_s(start_ns: int, end_ns: int, spec: SensorSpec, trace: Trace) -> tuple[float, float] | None:
    """How old what such a counter has at either edge is on average, given when it was read."""
    times = [trace.held(t_ns, math.inf) for t_ns in (start_ns, end_ns)]
    own_s = 0.0 if trace.stamped else spec.mean_lateness_s - spec.held_s / 2
    ages_s = [(t_ns - read[0]) * _NS + own_s for t_ns, read in zip((start_ns, end_ns), times, strict=True) if read]
    return (ages_s[0], ages_s[1]) if len(ages_s) == len(times) else None


def corrected_for_late_edges(
    window: WindowEnergy,
    spec: SensorSpec,
    power_before_w: float | None,
    power_end_w: float | None,
    lags_s: tuple[float, float] | None = None,
) -> WindowEnergy:
    """The window with the mean lateness L of its edges made good.

    A late start lends L of the power *before* the window, a late end withholds L of the power at its
    end, so the dithered mean is off by L·(end - before): -1 % for a block of 40 periods after an idle
    wait. Dithering makes the lateness uniform; it cancels by itself only where both powers are alike.
    Where one of them is unknown the window stays as it is. ``lags_s`` are the latenesses of both edges
    where more is known of them than L.
    """
    if (
        window.gross_j is None
        or spec.update_period_s is None
        or power_before_w is None
        or power_end_w is None
        or (lags_s is None and power_before_w == power_end_w)
    ):
        return window
    start_s, end_s = (spec.mean_lateness_s, spec.mean_lateness_s) if lags_s is None else lags_s
    missing_j = end_s * power_end_w - start_s * power_before_w
    return replace(window, gross_j=window.gross_j + missing_j, flags=(*window.flags, "edges_corrected"))


def single_counter_window(start: Read, end: Read, spec: SensorSpec, trace: Trace = NO_TRACE) -> WindowEnergy:
    """A window that stands alone, its late edges made good by the powers that the trace shows.

    No repetition shows the scatter of its edges, so they are in its own uncertainty. Where the power
    before it is unknown, the start may have lent anything from nothing to the most that was seen.
    """
    window = counter_energy(start, end, spec, trace)
    spec = as_watched(spec, trace)
    if window.gross_j is None or window.u_j is None or spec.update_period_s is None:
        return window
    power = edge_power(start, end, spec, trace)
    if power is not None and power.before_w is not None:
        # Where the power near an edge varies, what its lateness held is known no better than that.
        doubt_w = math.hypot(power.first_most_w - power.before_w, power.last_most_w - power.end_w) / _RECTANGLE
        u_j = math.hypot(window.u_j, doubt_w * spec.mean_lateness_s)
        lags_s = held_lags_s(start[0], end[0], spec, trace) if spec.held_s else None
        return corrected_for_late_edges(replace(window, u_j=u_j), spec, power.before_w, power.end_w, lags_s)
    if spec.method == "model":  # its counter is computed when it is read
        return window
    late_j = (window.worst_j or 0.0) / _RECTANGLE
    return replace(window, u_j=max(window.u_j, late_j))


# ---------------------------------------------------------------------------------------------
# Wraps, resets, frozen counters


def _standing_still(start: Read, end: Read, counts: int, spec: SensorSpec, trace: Trace) -> str:
    """``counter_frozen`` where the counter stood still over a whole window or at one of its edges.

    Twenty update periods without a change are no accident, unless its quantum is so coarse that little
    power would not have moved it.
    """
    period = spec.update_period_s
    if period is None or spec.method == "model":
        return ""
    limit_s = max(SMALLEST_PERIODS * period, spec.quantum / _LEAST_POWER_W)
    if counts == 0:
        return "counter_frozen" if (end[0] - start[0]) * _NS >= limit_s else ""
    changes = _changes(trace)[1:]
    if not spec.period_verified:  # it may only be slower than its probe declares: its own changes tell
        if len(changes) <= FEWEST_GAPS:
            return ""
        usual_s = quantile([(b[0] - a[0]) * _NS for a, b in pairwise(changes)], _USUALLY) or 0.0
        limit_s = max(limit_s, SMALLEST_PERIODS * usual_s)
    limit_ns = int(max(limit_s, _STILL_TICKS * _tick_s(trace)) / _NS)
    inside = [t for t, _ in changes if start[0] < t < end[0]]
    ticks = [t for t in trace.t_ns if start[0] < t < end[0]]
    if len(ticks) < FEWEST_GAPS or end[0] - start[0] < 2 * limit_ns:
        return ""
    # An edge shows the last value before it, so what stands still between it and the next change counts.
    first, last = (inside[0], inside[-1]) if inside else (end[0], start[0])
    # What an edge shows beside its nearest tick counts, too: a sampler that was late saw no standstill.
    shown = dict(zip(trace.t_ns, trace.raw, strict=True))
    if shown[ticks[0]] != start[1]:
        first = start[0]
    if shown[ticks[-1]] != end[1]:
        last = end[0]
    still = max(first - start[0], end[0] - last)
    return "counter_frozen" if still > limit_ns else ""


def _advance(start: Read, end: Read, spec: SensorSpec, trace: Trace) -> tuple[int | None, str]:
    """Raw counts between two reads with all wraps, or ``None`` and the flag that says why."""
    if end[0] <= start[0]:
        return None, "empty_window"
    times, raw = trace.t_ns, trace.raw
    first = bisect_right(times, start[0] + _EDGE_GUARD_NS)
    last = bisect_left(times, end[0] - _EDGE_GUARD_NS)
    reads = [start, *((times[i], raw[i]) for i in range(first, last)), end]
    wrap = spec.wraps_at
    if wrap is None:
        if any(b[1] < a[1] for a, b in pairwise(reads)):
            return None, "counter_reset"
        most_j = MOST_MACHINE_POWER_W * (end[0] - start[0]) * _NS
        if spec.method != "model" and (end[1] - start[1]) * spec.scale > most_j:
            return None, "counter_reset"
        return end[1] - start[1], ""
    if any(value > wrap for _, value in reads):
        return None, "counter_ambiguous"
    steps = [(b[0] - a[0], (b[1] - a[1]) % wrap) for a, b in pairwise(reads)]
    seen = _seen_rates(steps, spec)
    fault = next((fault for gap, step in steps if (fault := _step_fault(gap, step, wrap, spec, seen))), "")
    return (None, fault) if fault else (sum(step for _, step in steps), "")


@dataclass(frozen=True, slots=True)
class _SeenRates:
    """How fast a counter is known to rise, in counts per ns: mostly, and at the most."""

    usual: float
    most: float


def _seen_rates(steps: Sequence[tuple[int, int]], spec: SensorSpec) -> _SeenRates | None:
    """By calibration, whose reads are dense enough for any wrap, and by the steps of this window.

    A load may be far above what calibration saw of an idle machine, and readings that come once in a wrap show
    nothing of it. So the steps of a window tell its power where most of its time is read twelve times in a
    wrap at the power that calibration saw. ``None`` where it is not, or nobody has calibrated. The most is
    what two steps have in common: one alone may be a counter that began anew. Single steps are far above the
    power where an update came late, so that what is usual tells how soon a wrap may come. Rates are those
    from change to change.
    """
    if spec.largest_power_w is None:
        return None
    known = spec.largest_power_w * _NS / spec.scale
    dense_ns = sum(gap for gap, _ in steps if _LOAD_OVER_SEEN * known * gap <= (spec.wraps_at or 0))
    if 2 * dense_ns < sum(gap for gap, _ in steps):
        return None
    usual_gap = quantile([float(gap) for gap, _ in steps], 0.5) or 0.0
    rates: list[float] = []
    since_change = 0
    for gap, step in steps:
        since_change += gap
        if step and since_change >= usual_gap / 2:
            rates.append(step / since_change)
        since_change = 0 if step else since_change
    rates.sort()
    return _SeenRates(max(known, quantile(rates, _USUALLY) or 0.0), max([known, *rates[-2:-1]]))


def _step_fault(gap_ns: int, step: int, wrap: int, spec: SensorSpec, seen: _SeenRates | None) -> str:
    """Why a step of a wrapping counter proves nothing, or an empty string.

    Without a maximum power, a step above a quarter of the range cannot be told from one that hides a
    wrap. With it, gaps must leave four reads in a wrap, and a step larger than the power allows is a
    reset (a fall that is no wrap). A reset from within one such step of the range looks like a wrap; its
    error is at most ``max_power_w`` times the gap. Where the counter wraps too fast for that, the power
    that was *seen* must leave four reads in a wrap, and the step must be of its size.
    """
    if spec.max_power_w is None:
        return "counter_ambiguous" if READS_PER_WRAP * step > wrap else ""
    counts_per_ns = spec.max_power_w * _NS / spec.scale
    lag_ns = _LATEST_PERIODS * (spec.update_period_s or 0.0) / _NS
    # Nothing larger than this can be seen in one step; +1 and the quantum for truncation.
    largest = counts_per_ns * (gap_ns + lag_ns) + (spec.resolution or 0.0) / spec.scale + 1
    if READS_PER_WRAP * counts_per_ns * gap_ns <= wrap and largest < wrap:
        return "counter_reset" if step > largest else ""
    if seen is None or READS_PER_WRAP * seen.usual * gap_ns > wrap or READS_PER_WRAP * step > wrap:
        return "counter_ambiguous"
    return "" if step <= _SEEN_MARGIN * seen.most * (gap_ns + lag_ns) else "counter_ambiguous"
