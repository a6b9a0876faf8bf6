"""Idle power, net energy, and the share of a process: what is made of gross energy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final

from joulebench.meter.counters import counter_energy_for_fit
from joulebench.meter.energy import SensorSpec, Trace, WindowEnergy
from joulebench.meter.uncertainty import mean_interval

#: Net is refused where the two baselines differ by more than this share of their mean …
DRIFT_SHARE: Final = 0.02
#: … and by more than this many standard uncertainties of their difference.
DRIFT_SIGMAS: Final = 2.0
#: Slices of a baseline, whose scatter shows how much the idle machine wavers.
_SLICES: Final = 20
#: Each slice must hold so many update periods.
_SLICE_PERIODS: Final = 5


@dataclass(frozen=True, slots=True)
class IdlePower:
    """Mean power of the idle machine in W with its standard uncertainty; ``None`` if refused."""

    power_w: float | None
    u_w: float | None
    flags: tuple[str, ...] = ()


def idle_from_counter(trace: Trace, spec: SensorSpec) -> IdlePower:
    """Idle power over a baseline from a counter's readings in it (edges and ticks).

    Its uncertainty is the larger of what late edges make and what the scatter of some twenty
    slices shows, their autocorrelation included.
    """
    times, raw = trace.t_ns, trace.raw
    if len(times) < 2:
        return IdlePower(None, None, ("samples_missing",))
    reads = list(zip(times, raw, strict=True))
    whole = counter_energy_for_fit(reads[0], reads[-1], spec, trace)
    power = whole.mean_power_w
    if power is None:
        return IdlePower(None, None, whole.flags)
    cuts = _cuts(times, spec.update_period_s or 0.0)
    slices = [counter_energy_for_fit(reads[a], reads[b], spec, trace).mean_power_w for a, b in pairwise(cuts)]
    return _wavering(power, whole, [p for p in slices if p is not None])


def idle_from_gauge(trace: Trace, spec: SensorSpec, window: WindowEnergy) -> IdlePower:
    """Idle power of a baseline from a gauge: ``window`` is its integral, ``trace`` its samples."""
    power = window.mean_power_w
    if power is None:
        return IdlePower(None, None, window.flags)
    count = len(trace.raw)
    size = max(1, count // _SLICES)
    groups = [trace.raw[i : i + size] for i in range(0, count - size + 1, size)]
    means = [spec.scale * math.fsum(g) / len(g) for g in groups]
    return _wavering(power, window, means)


def _wavering(power: float, window: WindowEnergy, slices: Sequence[float]) -> IdlePower:
    edges = 0.0 if window.u_j is None else window.u_j / window.duration_s
    scatter = mean_interval(slices).u
    if scatter is None:
        return IdlePower(power, edges if window.u_j is not None else None, window.flags)
    return IdlePower(power, max(edges, scatter), window.flags)


def _cuts(times: Sequence[int], period_s: float) -> list[int]:
    """Indices of reads that cut a baseline into slices of equal length."""
    step = max((times[-1] - times[0]) / _SLICES, _SLICE_PERIODS * period_s * 1e9)
    cuts = [0]
    for i, t in enumerate(times):
        if t - times[cuts[-1]] >= step * (1 - 1e-9):
            cuts.append(i)
    return cuts


def combined_idle(before: IdlePower, after: IdlePower) -> IdlePower:
    """The idle power of a cell from its two baselines; refused with ``idle_drift``.

    Between the baselines the machine may have idled anywhere from one to the other: half their
    difference counts as the half-width of a rectangular distribution (GUM 4.3.7).
    """
    if before.power_w is None or after.power_w is None:
        flags = tuple(dict.fromkeys((*before.flags, *after.flags, "no_idle_baseline")))
        return IdlePower(None, None, flags)
    mean = (before.power_w + after.power_w) / 2
    difference = abs(before.power_w - after.power_w)
    u = math.hypot(before.u_w or 0.0, after.u_w or 0.0)
    flags = tuple(dict.fromkeys((*before.flags, *after.flags)))
    if difference > max(DRIFT_SHARE * abs(mean), DRIFT_SIGMAS * u):
        return IdlePower(None, None, (*flags, "idle_drift"))
    if before.u_w is None or after.u_w is None:
        return IdlePower(mean, None, flags)
    return IdlePower(mean, math.hypot(u / 2, difference / math.sqrt(12)), flags)


def net_energy(window: WindowEnergy, idle: IdlePower) -> WindowEnergy:
    """Gross minus idle power × duration; ``None`` with the idle's flags where it was refused.

    The scale errs on both alike, so ``relative_u`` stays that of the gross energy; an offset is in both
    and cancels.
    """
    if window.gross_j is None or idle.power_w is None:
        flags = window.flags if window.gross_j is None else (*window.flags, *idle.flags)
        return replace(window, gross_j=None, u_j=None, worst_j=None, flags=flags)
    # Where a sensor's update period is unknown, the idle power's part is still known.
    parts = [
        part for part in (window.u_j, None if idle.u_w is None else idle.u_w * window.duration_s) if part is not None
    ]
    u = math.hypot(*parts) if idle.u_w is not None else None
    return replace(window, gross_j=window.gross_j - idle.power_w * window.duration_s, u_j=u, offset_u_w=0.0)


def attributed_energy(
    window: WindowEnergy, process_cpu_s: float, all_cpu_s: float
) -> tuple[float, float | None] | None:
    """A process's share of the window's energy by CPU time, in J, with its uncertainty.

    An estimate: it takes all CPU time for equally dear. ``None`` where nothing was counted.
    """
    if window.gross_j is None or all_cpu_s <= 0 or process_cpu_s < 0:
        return None
    share = min(process_cpu_s / all_cpu_s, 1.0)
    return share * window.gross_j, None if window.u_j is None else share * window.u_j
