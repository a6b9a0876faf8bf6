"""Energy per prefill and decode token by a fit, where the phases are too short for the sensor.

A request's window may say little by itself; over many requests of different lengths,
E = a + b·n_prefill + c·n_decode tells the phases apart, and the late edges are in its residuals.
The counters' raw readings at the requests' edges are in the session, so this needs no sensor. A
counter that the sampler alone may read has none there: between its readings it is interpolated.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import median
from typing import Final, Protocol

from joulebench.meter.counters import counter_energy_for_fit
from joulebench.meter.energy import SensorSpec
from joulebench.meter.fit import EnergyFit, fit_energy
from joulebench.meter.uncertainty import Interval
from joulebench_reports.reading.rows import StoredRequest
from joulebench_reports.values.figure import Figure
from joulebench_reports.values.figures import ChannelReport, EnergySummary

_PHASES: Final = ("prefill", "decode")
#: Readings that lie further apart, in periods of the counter or of its sampling, tell nothing of what is between.
_FURTHEST_PERIODS: Final = 4


class Readings(Protocol):
    """The readings of a cell's counters."""

    def at_edges(self, channel: str) -> Mapping[int, int]:
        """Raw readings at the edges of windows, by time in ns."""
        ...

    def ticks(self, channel: str) -> tuple[Sequence[int], Sequence[int]]:
        """The sampler's readings in order: times in ns, and raw values."""
        ...


@dataclass(frozen=True, slots=True)
class _Window:
    t0_ns: int
    t1_ns: int
    prefill_tokens: int
    decode_tokens: int
    block: int


def needs_fit(energy: EnergySummary) -> bool:
    """Whether both phases exist and one of them has no figure from its own windows."""
    phases = dict(energy.phases)
    return all(name in phases for name in _PHASES) and any(phases[name].value is None for name in _PHASES)


def with_fitted_phases(
    energy: EnergySummary,
    requests: Sequence[StoredRequest],
    readings: Readings,
    channels: Sequence[ChannelReport],
    processes: Mapping[int, int],
) -> EnergySummary:
    """The summary with fitted figures in place of missing phases, or with the reason why not.

    ``processes`` maps a block to its process: requests of one block, or process, err together.
    """
    used = [channel for channel in channels if channel.channel in energy.channels]
    gauges = [channel.channel for channel in used if channel.kind != "counter"]
    if gauges:
        return _noted(energy, f"no fit: {', '.join(gauges)} is not a counter")
    windows = _windows(requests)
    edges = {channel.channel: _at_edges(channel, windows, readings) for channel in used}
    kept: list[_Window] = []
    joules: list[float] = []
    for window in windows:
        total = _energy(window, used, edges)
        if total is not None:
            kept.append(window)
            joules.append(total)
    fit = fit_energy(
        joules,
        [window.prefill_tokens for window in kept],
        [window.decode_tokens for window in kept],
        blocks=[window.block for window in kept],
        processes=[processes.get(window.block, 0) for window in kept],
    )
    if fit.reason is not None:
        return _noted(energy, f"no fit: {fit.reason}")
    return replace(energy, phases=tuple((name, _fitted(name, old, fit)) for name, old in energy.phases))


def _windows(requests: Sequence[StoredRequest]) -> list[_Window]:
    rows = ((r.t0_ns, r.t1_ns, r.prefill_tokens, r.decode_tokens, r.block) for r in requests)
    return [_Window(*row) for row in rows if None not in row]  # type: ignore[arg-type]


def _at_edges(channel: ChannelReport, windows: Sequence[_Window], readings: Readings) -> Mapping[int, int]:
    """Raw readings by time: at the edges themselves, else between the sampler's own."""
    read = readings.at_edges(channel.channel)
    return read or _interpolated(channel, windows, *readings.ticks(channel.channel))


def _interpolated(
    channel: ChannelReport, windows: Sequence[_Window], times: Sequence[int], raws: Sequence[int]
) -> Mapping[int, int]:
    if len(times) < 2:
        return {}
    gap_ns = median(later - earlier for earlier, later in pairwise(times))
    furthest_ns = _FURTHEST_PERIODS * max(gap_ns, 1e9 * (_period_s(channel) or 0.0))
    between: dict[int, int] = {}
    for edge in {edge for window in windows for edge in (window.t0_ns, window.t1_ns)}:
        after = bisect_right(times, edge)
        if not 0 < after < len(times) or times[after] - times[after - 1] > furthest_ns:
            continue
        step = raws[after] - raws[after - 1]
        if channel.wraps_at is not None:
            step %= channel.wraps_at
        share = (edge - times[after - 1]) / (times[after] - times[after - 1])
        raw = raws[after - 1] + round(share * step)
        between[edge] = raw if channel.wraps_at is None else raw % channel.wraps_at
    return between


def _period_s(channel: ChannelReport) -> float | None:
    return channel.measured_period_s or channel.update_period_s


def _energy(window: _Window, channels: Sequence[ChannelReport], edges: Mapping[str, Mapping[int, int]]) -> float | None:
    """Joules of one request over the counted channels, whatever its length."""
    total = 0.0
    for channel in channels:
        raw = edges[channel.channel]
        start, end = raw.get(window.t0_ns), raw.get(window.t1_ns)
        if start is None or end is None:
            return None
        if channel.scale is None:
            return None
        spec = SensorSpec(channel.scale, _period_s(channel), channel.resolution, channel.wraps_at)
        energy = counter_energy_for_fit((window.t0_ns, start), (window.t1_ns, end), spec)
        if energy.gross_j is None:
            return None
        total += energy.gross_j
    return total


def _fitted(name: str, old: Figure, fit: EnergyFit) -> Figure:
    if old.value is not None:
        return old
    interval: Interval | None = {"prefill": fit.per_prefill_token_j, "decode": fit.per_decode_token_j}.get(name)
    if interval is None:
        return old
    return replace(
        old,
        value=interval.mean,
        low=interval.low,
        high=interval.high,
        n=fit.n,
        flags=tuple(dict.fromkeys((*old.flags, *interval.flags))),
        method="fit over requests: E = a + b·n_prefill + c·n_decode",
        reason_if_null=None,
    )


def _noted(energy: EnergySummary, why: str) -> EnergySummary:
    def noted(figure: Figure) -> Figure:
        if figure.value is not None:
            return figure
        reason = f"{figure.reason_if_null}; {why}" if figure.reason_if_null else why
        return replace(figure, reason_if_null=reason)

    return replace(energy, phases=tuple((name, noted(phase)) for name, phase in energy.phases))


def fit_missing_phases(
    summaries: Sequence[EnergySummary],
    requests: Sequence[StoredRequest],
    channels: Sequence[ChannelReport],
    readings: Readings,
    processes: Mapping[int, int],
) -> tuple[EnergySummary, ...]:
    """Every summary, its missing phases fitted."""
    return tuple(
        with_fitted_phases(summary, requests, readings, channels, processes) if needs_fit(summary) else summary
        for summary in summaries
    )
