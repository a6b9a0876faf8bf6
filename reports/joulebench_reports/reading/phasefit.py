"""Energy per prefill and decode token by a fit, where the phases are too short for the sensor.

A request's window may say little by itself; over many requests of different lengths,
E = a + b·n_prefill + c·n_decode tells the phases apart, and the late edges are in its residuals.
The counters' raw readings at the requests' edges are in the session, so this needs no sensor.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from joulebench.meter.counters import counter_energy_for_fit
from joulebench.meter.energy import SensorSpec
from joulebench.meter.fit import EnergyFit, fit_energy
from joulebench.meter.uncertainty import Interval
from joulebench_reports.reading.rows import StoredRequest
from joulebench_reports.values.figure import Figure
from joulebench_reports.values.figures import ChannelReport, EnergySummary

if TYPE_CHECKING:
    import pyarrow as pa

_PHASES: Final = ("prefill", "decode")


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
    samples: pa.Table,
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
    edges = _edges(samples, [channel.channel for channel in used])
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


def _edges(samples: pa.Table, channels: Sequence[str]) -> Mapping[str, dict[int, int]]:
    """Raw readings at edges by channel and time."""
    import pyarrow as pa
    import pyarrow.compute as pc

    at_edges = samples.filter(pc.equal(samples["origin"].cast(pa.string()), "edge"))
    edges: dict[str, dict[int, int]] = {}
    for channel in channels:
        own = at_edges.filter(pc.equal(at_edges["channel"].cast(pa.string()), channel))
        times, raws = own["t_ns"].to_pylist(), own["raw"].to_pylist()
        edges[channel] = dict(zip(times, raws, strict=True))
    return edges


def _energy(window: _Window, channels: Sequence[ChannelReport], edges: Mapping[str, dict[int, int]]) -> float | None:
    """Joules of one request over the counted channels, whatever its length."""
    total = 0.0
    for channel in channels:
        raw = edges[channel.channel]
        start, end = raw.get(window.t0_ns), raw.get(window.t1_ns)
        if start is None or end is None:
            return None
        period_s = channel.measured_period_s or channel.update_period_s
        if channel.scale is None:
            return None
        spec = SensorSpec(channel.scale, period_s, channel.resolution, channel.wraps_at)
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
    read_samples: Callable[[], pa.Table],
    processes: Mapping[int, int],
) -> tuple[EnergySummary, ...]:
    """Every summary, its missing phases fitted; samples are read only if one needs them."""
    if not any(needs_fit(summary) for summary in summaries):
        return tuple(summaries)
    samples = read_samples()
    return tuple(
        with_fitted_phases(summary, requests, samples, channels, processes) if needs_fit(summary) else summary
        for summary in summaries
    )
