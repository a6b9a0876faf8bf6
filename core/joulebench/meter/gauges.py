"""From a power gauge's samples to joules: the trapezoid, and what the sensor's averaging hides."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from dataclasses import replace
from typing import Final

from joulebench.meter.energy import (
    MOST_MACHINE_POWER_W,
    Method,
    SensorSpec,
    Trace,
    WindowEnergy,
    refused_if_short,
    resolution_flags,
)

#: Sampling periods without a sample that make a gauge's window void.
_WIDEST_GAP: Final = 4
#: A lag is made good where it can bias a window by more than this share.
_CORRECTED_SHARE: Final = 1e-3
#: A gauge that shows this share of its full scale or more may have been asked for more than it can show.
_SATURATED_SHARE: Final = 0.999
#: A gauge's offset, as a share of the most that it shows.
_OFFSET_SHARE: Final = 0.05
_NS: Final = 1e-9


def gauge_energy(start_ns: int, end_ns: int, spec: SensorSpec, trace: Trace, sampling_period_s: float) -> WindowEnergy:
    """Energy of a window by a power gauge, ``None`` where the window is too short to say.

    A gauge shows the mean of the last ``averaging_s``, as it was at its last update. Over a window that
    is a lag of half of the one and the mean lateness of the other: at the start it still shows the power
    before, at the end not yet all of the power in the window. What is missing is the lag times the
    difference of what it shows at both edges. Windows shorter than 20 of the longer one are refused.
    """
    return refused_if_short(integrated_power(start_ns, end_ns, spec, trace, sampling_period_s), spec)


def integrated_power(
    start_ns: int, end_ns: int, spec: SensorSpec, trace: Trace, sampling_period_s: float
) -> WindowEnergy:
    """Like :func:`gauge_energy`, but a short window keeps its energy beside its flag.

    The trapezoid over the samples that bracket [start, end], interpolated at both edges. ``None`` where
    no sample stands outside each edge, or samples are missing within. ``u_j`` holds late edges and the
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
    shown_w = [raw * spec.scale for raw in trace.raw[first : last + 1]]
    if method != "model" and _implausible(gross, min(shown_w), max(shown_w), spec.quantum):
        return replace(void, flags=("gauge_integrated", "power_implausible"))
    period = sampling_period_s if spec.update_period_s is None else spec.update_period_s
    slow_s = max(period, spec.averaging_s)
    edge_w = spec.scale * max(abs(trace.raw[i]) for i in (first, first + 1, last - 1, last) if first <= i <= last)
    late_j = max(abs(gross) / duration_s, edge_w) * max(slow_s, sampling_period_s)
    saturation = _saturation(max(shown_w), spec)
    rounding_j = spec.quantum / math.sqrt(12) * duration_s / math.sqrt(max(last - first, 1))
    window = WindowEnergy(
        gross,
        math.hypot(late_j * math.sqrt(2 / 12), rounding_j),
        method,
        ("gauge_integrated", *saturation, *resolution_flags(duration_s, 1, slow_s)),
        duration_s,
        None if saturation else late_j + spec.quantum / 2 * duration_s,
        spec.relative_u,
    )
    return _with_lag(window, spec, trace, first, last)


def _implausible(gross_j: float, least_w: float, most_w: float, quantum_w: float) -> bool:
    """Whether a gauge shows what no power is: none at all, less than none, or more than any machine draws.

    Around zero its own offset may show a little less than none.
    """
    below_zero_w = _OFFSET_SHARE * most_w + 2 * quantum_w
    return gross_j <= 0 or least_w < -below_zero_w or most_w > MOST_MACHINE_POWER_W


def _saturation(most_w: float, spec: SensorSpec) -> tuple[str, ...]:
    """The flag of a gauge that stood at its full scale: the power was that or more."""
    saturated = spec.full_scale_w is not None and most_w >= _SATURATED_SHARE * spec.full_scale_w
    return ("sensor_saturated",) if saturated else ()


def _with_lag(window: WindowEnergy, spec: SensorSpec, trace: Trace, first: int, last: int) -> WindowEnergy:
    """The window with the energy that the gauge showed too late, where that could matter."""
    lag_s = spec.averaging_s / 2 + (spec.mean_lateness_s if spec.averaging_s else 0.0)
    if window.gross_j is None or lag_s <= _CORRECTED_SHARE * window.duration_s:
        return window
    missing_j = lag_s * spec.scale * (trace.raw[last] - trace.raw[first])
    return replace(window, gross_j=window.gross_j + missing_j, flags=(*window.flags, "edges_corrected"))


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
