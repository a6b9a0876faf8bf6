"""Idle time around a block that is watched, and counted into its energy where a procedure asks.

Published procedures (MELODI's, for one) wait before and after each prompt and integrate polled
power over the prompt and a part of both waits. Nothing reads a sensor at such a window's ends, so
its energy comes from the sampler's readings alone: a gauge's trapezoid as always, and of a counter
what it would have shown there if it rose evenly between two readings, which is the integral of the
power polled at the sampler's rate.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from dataclasses import dataclass, replace
from typing import Final

from joulebench.meter.counters import counter_energy_for_fit
from joulebench.meter.energy import Method, Read, SensorSpec, Trace, WindowEnergy
from joulebench.meter.gauges import integrated_power

#: The flag of an energy that holds idle time.
MARGINS_COUNTED: Final = "margins_counted"
#: Sampling periods without a reading that make a window void, as for a gauge.
_WIDEST_GAP: Final = 4
#: A reading late by a uniform 0…1 period at both ends: the spread of their difference.
_TWO_EDGES: Final = math.sqrt(2 / 12)
_NS: Final = 1e-9


@dataclass(frozen=True, slots=True)
class Margins:
    """Seconds of idle time around each block, and what of them its energy holds."""

    before_s: float = 0.0
    after_s: float = 0.0
    counted_before_s: float = 0.0
    counted_after_s: float = 0.0

    @property
    def counted(self) -> bool:
        """Whether any idle time is in the energies."""
        return self.counted_before_s > 0 or self.counted_after_s > 0


NO_MARGINS: Final = Margins()


def energy_with_margins(
    start_ns: int,
    end_ns: int,
    margins: Margins,
    spec: SensorSpec,
    trace: Trace,
    *,
    is_gauge: bool,
    sampling_period_s: float,
) -> WindowEnergy:
    """Energy of [start, end] and the idle time that counts, by the sampler's readings."""
    from_ns = start_ns - round(margins.counted_before_s / _NS)
    to_ns = end_ns + round(margins.counted_after_s / _NS)
    # Published procedures integrate what a gauge shows; they undo no averaging.
    integrate = integrated_power if is_gauge else traced_energy
    window = integrate(from_ns, to_ns, replace(spec, averaging_s=0.0), trace, sampling_period_s)
    return replace(window, flags=(*window.flags, MARGINS_COUNTED))


def traced_energy(start_ns: int, end_ns: int, spec: SensorSpec, trace: Trace, sampling_period_s: float) -> WindowEnergy:
    """A counter's energy over [start, end], taken to rise evenly between the sampler's readings.

    ``None`` where no reading stands outside each end or readings are missing within. ``u_j`` takes
    both ends for late by up to a sampling or update period, whichever is longer.
    """
    duration_s = (end_ns - start_ns) * _NS
    times, raw = trace.t_ns, trace.raw
    method: Method = "model" if spec.method == "model" else "integrated"
    first, last = bisect_right(times, start_ns) - 1, bisect_left(times, end_ns)
    if first < 0 or last >= len(times) or last <= first or duration_s <= 0:
        return WindowEnergy(None, None, method, ("samples_missing",), duration_s)
    widest_ns = _WIDEST_GAP * sampling_period_s / _NS
    if any(times[i + 1] - times[i] > widest_ns for i in range(first, last)):
        return WindowEnergy(None, None, method, ("samples_missing",), duration_s)

    def step(a: int, b: int, over: Trace = trace) -> WindowEnergy:
        begin: Read = (times[a], raw[a])
        return counter_energy_for_fit(begin, (times[b], raw[b]), spec, over)

    whole = step(first, last)
    head, tail = step(first, first + 1), step(last - 1, last)
    if whole.gross_j is None or head.gross_j is None or tail.gross_j is None:
        return replace(whole, gross_j=None, u_j=None, worst_j=None, method=method, duration_s=duration_s)
    outside_j = head.gross_j * (start_ns - times[first]) / (times[first + 1] - times[first]) + tail.gross_j * (
        times[last] - end_ns
    ) / (times[last] - times[last - 1])
    gross_j = whole.gross_j - outside_j
    late_s = max(sampling_period_s, spec.update_period_s or 0.0)
    late_j = abs(gross_j) / duration_s * late_s
    quantum = spec.scale if spec.resolution is None else spec.resolution
    return WindowEnergy(
        gross_j, math.hypot(late_j, quantum) * _TWO_EDGES, method, (), duration_s, late_j + quantum, spec.relative_u
    )
