"""Figures with their 95 % intervals; the statistics are the core's own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from joulebench.api import Provenance
from joulebench.meter import uncertainty
from joulebench_reports.values.figure import Figure


class BlockValue(NamedTuple):
    """One block: ``value`` over ``work``, the process it ran in, and what is known beside.

    ``common_u`` is the standard uncertainty that all blocks of the cell share (the idle
    baseline's), in the unit of ``value``. That of the single window is not needed: the scatter
    between blocks has it in it, and a single block has no interval, since nothing shows how far
    the next one would lie.
    """

    value: float
    work: float
    process: int
    common_u: float | None = None


def ratio_of_sums(
    points: Sequence[BlockValue],
    *,
    unit: str,
    provenance: Provenance | None,
    method: str,
    flags: tuple[str, ...] = (),
    reason: str | None = None,
    scale_relative_u: float | None = None,
) -> Figure:
    """Σ value / Σ work with its interval over blocks and processes.

    With ``scale_relative_u`` the uncertainty of the sensor's scale, common to everything, enters
    the interval too. Of values that are never negative (all but net energies) it is one on the
    scale of logarithms.
    """
    if not points:
        return _unknown(unit, provenance, method, flags, reason)
    interval = uncertainty.cell_interval(
        [point.value for point in points],
        [point.work for point in points],
        [point.process for point in points],
        math.fsum([point.common_u or 0.0 for point in points]),
        scale_relative_u,
    )
    return _figure(interval, unit, provenance, method, flags)


def mean_of_ratios(
    points: Sequence[BlockValue],
    *,
    unit: str,
    provenance: Provenance | None,
    method: str,
    flags: tuple[str, ...] = (),
    reason: str | None = None,
) -> Figure:
    """The mean of value / work, each block counting alike, with its interval."""
    if not points:
        return _unknown(unit, provenance, method, flags, reason)
    ratios = [point.value / point.work for point in points]
    groups = uncertainty.by_process(ratios, [point.process for point in points])
    interval = uncertainty.process_interval(groups)
    if all(ratio >= 0 for ratio in ratios):
        interval = uncertainty.positive(interval)
    return _figure(interval, unit, provenance, method, flags)


def _unknown(
    unit: str, provenance: Provenance | None, method: str, flags: tuple[str, ...], reason: str | None
) -> Figure:
    return Figure(None, unit, provenance=provenance, method=method, flags=flags, reason_if_null=reason)


def _figure(
    interval: uncertainty.Interval, unit: str, provenance: Provenance | None, method: str, flags: tuple[str, ...]
) -> Figure:
    return Figure(
        interval.mean,
        unit,
        low=interval.low,
        high=interval.high,
        n=interval.n,
        provenance=provenance,
        method=method,
        flags=tuple(dict.fromkeys((*flags, *interval.flags))),
    )
