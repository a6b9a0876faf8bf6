"""Whether one cell needs less than another: the ratio of their means on the log scale.

The logarithm of a ratio of means (or of ratios of sums) is linear in each block's residual, so
the residuals carry the uncertainty: paired within rounds where the cells' blocks took turns,
which removes common drift, else each cell for itself (Welch).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from joulebench.meter.student import t_quantile, two_sided_p
from joulebench.meter.uncertainty import (
    DEFAULT_LEVEL,
    Interval,
    by_process,
    mean_interval,
    process_interval,
)

Verdict = Literal["lower", "higher", "no_difference", "cannot_tell"]

#: Chance with which the smallest detectable difference would have been seen.
POWER: Final = 0.8
_FEWEST_PAIRS: Final = 2


@dataclass(frozen=True, slots=True)
class CellBlocks:
    """A cell's blocks in the order in which they were measured.

    ``units`` is the work of each block (``None``: energies are compared as they are). ``rounds``
    numbers the randomised turns; two cells took turns where they share round numbers.
    """

    energies: Sequence[float]
    units: Sequence[float] | None = None
    rounds: Sequence[int] | None = None
    processes: Sequence[int] | None = None


@dataclass(frozen=True, slots=True)
class Comparison:
    """Candidate over baseline. ``ratio`` < 1: the candidate needs less.

    ``smallest_detectable`` is the relative difference that would have been seen with a chance of
    80 %. ``level`` is the interval's own (raised by Holm's correction when ``compared_with`` > 1
    cells). A verdict of a difference needs blocks that took turns (``paired``).
    """

    verdict: Verdict
    ratio: float | None
    low: float | None
    high: float | None
    p_value: float | None
    smallest_detectable: float | None
    u_log: float | None
    df: float | None
    n: int
    level: float
    paired: bool
    compared_with: int = 1
    flags: tuple[str, ...] = ()


def compare(
    candidate: CellBlocks, baseline: CellBlocks, level: float = DEFAULT_LEVEL
) -> Comparison:
    """Compare two cells; see :class:`Comparison` for what the verdict needs."""
    pairs = _pairs(candidate, baseline)
    if pairs:
        candidate = _select(candidate, [i for i, _ in pairs])
        baseline = _select(baseline, [j for _, j in pairs])
    first, second = _log_ratio(candidate), _log_ratio(baseline)
    flags = _process_flags(candidate, baseline)
    paired = bool(pairs)
    n = min(len(candidate.energies), len(baseline.energies))
    if first is None or second is None:
        unknown = (*flags, "no_positive_mean")
        return _unknown(n, level, paired, unknown)
    if paired:
        differences = [a - b for a, b in zip(first[1], second[1], strict=True)]
        spread = _spread(differences, candidate.processes, level)
        u, df = spread.u, spread.df
    else:
        u, df = _welch(
            _spread(first[1], candidate.processes, level),
            _spread(second[1], baseline.processes, level),
        )
    if u is None or df is None:
        return _unknown(n, level, paired, (*flags, "too_few_blocks"))
    if not paired:
        flags = (*flags, "not_interleaved")
    log_ratio = first[0] - second[0]
    bare = Comparison(
        "cannot_tell", math.exp(log_ratio), None, None, _p_value(log_ratio, u, df), None, u, df,
        n, level, paired, 1, flags,
    )  # fmt: skip
    return at_level(bare, level)


def at_level(comparison: Comparison, level: float) -> Comparison:
    """The comparison with its bounds and verdict at another level."""
    if comparison.ratio is None or comparison.u_log is None or comparison.df is None:
        return replace(comparison, level=level)
    t = t_quantile(0.5 + level / 2, comparison.df)
    log_ratio, half = math.log(comparison.ratio), t * comparison.u_log
    low, high = math.exp(log_ratio - half), math.exp(log_ratio + half)
    # Two cells without any scatter are no evidence of scatter-free cells.
    excludes_one = comparison.u_log > 0 and (high < 1 or low > 1)
    verdict: Verdict = "no_difference"
    if excludes_one:
        verdict = ("lower" if high < 1 else "higher") if comparison.paired else "cannot_tell"
    if comparison.u_log == 0 and comparison.ratio != 1:
        verdict = "cannot_tell"
    detectable = math.expm1((t + t_quantile(POWER, comparison.df)) * comparison.u_log)
    return replace(
        comparison,
        low=low,
        high=high,
        verdict=verdict,
        level=level,
        smallest_detectable=detectable,
    )


def holm_adjusted(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values (Holm 1979), in the order given."""
    m = len(p_values)
    adjusted = [0.0] * m
    highest = 0.0
    for rank, index in enumerate(sorted(range(m), key=lambda i: p_values[i])):
        highest = max(highest, min(1.0, (m - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted


def corrected_for_many(
    comparisons: Sequence[Comparison], level: float = DEFAULT_LEVEL
) -> list[Comparison]:
    """Several cells against one baseline, with Holm's correction of levels and p-values.

    A comparison's level is that of Holm's step at which it was decided, so its interval
    excludes 1 exactly where the corrected p-value is below 1 - ``level``.
    """
    order = sorted(
        (i for i, c in enumerate(comparisons) if c.p_value is not None),
        key=lambda i: comparisons[i].p_value or 0.0,
    )
    m, alpha = len(order), 1 - level
    p_values = [comparisons[i].p_value or 0.0 for i in order]
    adjusted = holm_adjusted(p_values)
    result = [replace(c, compared_with=max(m, 1)) for c in comparisons]
    step = 0
    for place, index in enumerate(order):
        decided = at_level(comparisons[index], 1 - alpha / (m - step))
        result[index] = replace(decided, p_value=adjusted[place], compared_with=m)
        # From the first that is not shown on, all are decided at its step.
        if step == place < m - 1 and p_values[place] < alpha / (m - step):
            step += 1
    return result


# ---------------------------------------------------------------------------------------------


def _pairs(candidate: CellBlocks, baseline: CellBlocks) -> list[tuple[int, int]]:
    """Indices of blocks of the two cells that stood in the same round."""
    if candidate.rounds is None or baseline.rounds is None:
        return []
    places = {number: i for i, number in enumerate(baseline.rounds)}
    pairs = [(i, places[number]) for i, number in enumerate(candidate.rounds) if number in places]
    return pairs if len(pairs) >= _FEWEST_PAIRS else []


def _select(cell: CellBlocks, indices: Sequence[int]) -> CellBlocks:
    units, rounds, processes = cell.units, cell.rounds, cell.processes
    return CellBlocks(
        [cell.energies[i] for i in indices],
        None if units is None else [units[i] for i in indices],
        None if rounds is None else [rounds[i] for i in indices],
        None if processes is None else [processes[i] for i in indices],
    )


def _log_ratio(cell: CellBlocks) -> tuple[float, list[float]] | None:
    """ln(Σ energy/Σ units), and each block's share in its error; ``None`` if not positive."""
    n = len(cell.energies)
    if n == 0:
        return None
    units = [1.0] * n if cell.units is None else cell.units
    energy, work = math.fsum(cell.energies), math.fsum(units)
    if energy <= 0 or work <= 0:
        return None
    ratio, mean = energy / work, energy / n
    return math.log(ratio), [
        (y - ratio * x) / mean for y, x in zip(cell.energies, units, strict=True)
    ]


def _spread(residuals: Sequence[float], processes: Sequence[int] | None, level: float) -> Interval:
    if processes is None:
        return mean_interval(residuals, level)
    return process_interval(by_process(residuals, processes), level)


def _welch(first: Interval, second: Interval) -> tuple[float | None, float | None]:
    """Uncertainty of the difference of two independent means, and its Welch degrees."""
    if first.u is None or second.u is None or first.df is None or second.df is None:
        return None, None
    a, b = first.u**2, second.u**2
    if a + b == 0:
        return 0.0, first.df + second.df
    return math.sqrt(a + b), (a + b) ** 2 / (a * a / first.df + b * b / second.df)


def _p_value(log_ratio: float, u: float, df: float) -> float:
    # Without scatter there is no test; 1 keeps such a pair from taking a step of Holm's.
    return two_sided_p(log_ratio / u, df) if u > 0 else 1.0


def _process_flags(*cells: CellBlocks) -> tuple[str, ...]:
    single = any(c.processes is None or len(set(c.processes)) < 2 for c in cells)
    return ("single_process",) if single else ()


def _unknown(n: int, level: float, paired: bool, flags: tuple[str, ...]) -> Comparison:
    return Comparison(
        "cannot_tell", None, None, None, None, None, None, None, n, level, paired, 1, flags
    )
