"""Times and rates of a cell, from its blocks and requests."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Final

from joulebench.meter.uncertainty import quantile
from joulebench_reports.reading import intervals
from joulebench_reports.values.figure import Figure
from joulebench_reports.values.figures import Speed
from joulebench_reports.values.series import BlockSums
from joulebench_reports.words.units import ShownUnit

#: Quantile of the blocks' rates that a kernel reaches at its best, and the tail of its interval.
_BEST: Final = 0.9
_TAIL: Final = 0.025


def summarise_speed(blocks: Sequence[BlockSums], first_tokens_s: Iterable[float | None], unit: ShownUnit) -> Speed:
    """Rates as ratios of sums over blocks; TTFT as quantiles over requests."""
    known_s = sorted(time_s for time_s in first_tokens_s if time_s is not None)
    work_s = _rate(blocks, "units", "duration_s", unit.rate)
    return Speed(
        decode_tok_s=_rate(blocks, "decode_tokens", "decode_s", "tok/s"),
        prefill_tok_s=_rate(blocks, "prefill_tokens", "prefill_s", "tok/s"),
        # The blocks' work is in ``per`` units of it.
        units_s=work_s.times(unit.per / unit.rate_per, unit.rate),
        best_units_s=_best(blocks, unit).times(unit.per / unit.rate_per, unit.rate),
        ttft_median_s=_quantile(known_s, 0.5),
        ttft_p95_s=_quantile(known_s, 0.95),
        tpot_s=_rate(blocks, "decode_s", "decode_steps", "s"),
        block_s=_mean_duration(blocks),
    )


def _rate(blocks: Sequence[BlockSums], above: str, below: str, unit: str) -> Figure:
    points = [
        intervals.BlockValue(top, bottom, block.process)
        for block in blocks
        if (top := getattr(block, above)) is not None
        and (bottom := getattr(block, below)) is not None
        and bottom > 0
        and top > 0
    ]
    return intervals.ratio_of_sums(
        points,
        unit=unit,
        provenance=None,
        method="ratio of sums over blocks",
        reason=None if points else "the requests of this workload mark no such phase",
    )


def _best(blocks: Sequence[BlockSums], unit: ShownUnit) -> Figure:
    """The 90 % quantile of the blocks' rates, from the order statistic that 97.5 % lie above."""
    rates = sorted(block.units / block.duration_s for block in blocks if block.units and block.duration_s)
    if not rates:
        return Figure(None, unit.rate, reason_if_null="no block has work and time")
    n, below, least = len(rates), 0.0, 0
    while least < n - 1 and below + math.comb(n, least) * _BEST**least * (1 - _BEST) ** (n - least) <= _TAIL:
        below += math.comb(n, least) * _BEST**least * (1 - _BEST) ** (n - least)
        least += 1
    low = rates[least - 1] if least else None
    return Figure(
        quantile(rates, _BEST),
        unit.rate,
        low,
        None if low is None else rates[-1],
        n,
        method="90 % quantile over blocks",
    )


def _mean_duration(blocks: Sequence[BlockSums]) -> Figure:
    points = [
        intervals.BlockValue(block.duration_s, 1.0, block.process) for block in blocks if block.duration_s is not None
    ]
    return intervals.mean_of_ratios(
        points, unit="s", provenance=None, method="mean over blocks", reason=None if points else "no blocks"
    )


def _quantile(times_s: Sequence[float], q: float) -> Figure:
    if not times_s:
        return Figure(None, "s", reason_if_null="the requests of this workload mark no first token")
    name = "median" if q == 0.5 else f"{q:.0%} quantile"
    return Figure(quantile(times_s, q), "s", n=len(times_s), method=f"{name} over requests")
