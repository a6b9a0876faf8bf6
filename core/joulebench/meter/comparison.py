"""Whether one cell needs less than another: the ratio of their means on the log scale.

The logarithm of a ratio of means (or of ratios of sums) is linear in each block's residual, so
the residuals carry the uncertainty: paired within rounds where the cells' blocks took turns,
which removes common drift, else each cell for itself (Welch). Cells of two runs never took
turns: each is reduced to its :class:`LogMean`, which can be kept, and :func:`compare_apart`
compares those.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final, Literal

from joulebench.meter.student import t_quantile, two_sided_p
from joulebench.meter.uncertainty import DEFAULT_LEVEL, Interval, by_process, mean_interval, process_interval

Verdict = Literal["lower", "higher", "no_difference", "cannot_tell"]

#: Chance with which the smallest detectable difference would have been seen.
POWER: Final = 0.8
_FEWEST_PAIRS: Final = 2


@dataclass(frozen=True, slots=True)
class CellBlocks:
    """A cell's blocks in the order in which they were measured.

    ``units`` is the work of each block (``None``: energies are compared as they are). ``rounds``
    numbers the randomised turns within a group of cells, and ``starts`` says when each block
    began, on a clock that the cells share (its unit does not matter). Every group counts its
    rounds from 0, so the numbers alone do not tell that two cells took turns; see
    :func:`compare`.
    """

    energies: Sequence[float]
    units: Sequence[float] | None = None
    rounds: Sequence[int] | None = None
    processes: Sequence[int] | None = None
    starts: Sequence[float] | None = None


@dataclass(frozen=True, slots=True)
class CellComparison:
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


@dataclass(frozen=True, slots=True)
class LogMean:
    """The logarithm of a cell's mean (or ratio of sums), and how sure it is.

    ``u`` is its standard uncertainty (a relative one of the mean) with ``df`` degrees of freedom;
    both are ``None`` with fewer than two blocks. ``processes`` is ``None`` where unknown.
    """

    log: float
    u: float | None
    df: float | None
    n: int
    processes: int | None


def log_mean(cell: CellBlocks, level: float = DEFAULT_LEVEL) -> LogMean | None:
    """What a cell's blocks say by themselves; ``None`` where their sum is not positive."""
    found = _log_ratio(cell)
    if found is None:
        return None
    spread = _spread(found[1], cell.processes, level)
    processes = None if cell.processes is None else len(set(cell.processes))
    return LogMean(found[0], spread.u, spread.df, len(cell.energies), processes)


def compare(candidate: CellBlocks, baseline: CellBlocks, level: float = DEFAULT_LEVEL) -> CellComparison:
    """Compare two cells; see :class:`CellComparison` for what the verdict needs.

    They are compared in pairs where they share rounds and both cells' blocks of each such round
    began before any block of the next one: so they did take turns. Else :func:`compare_apart`.
    A round that a cell has twice (a block was repeated) counts once, with the mean of both.
    """
    shared = _shared_rounds(candidate, baseline)
    if not shared:
        first, second = log_mean(candidate, level), log_mean(baseline, level)
        if first is None or second is None:
            n = min(len(candidate.energies), len(baseline.energies))
            flags = (*_process_flags(candidate, baseline), "no_positive_mean")
            return _unknown(n, level, paired=False, flags=flags)
        return compare_apart(first, second, level)
    candidate, baseline = _by_round(candidate, shared), _by_round(baseline, shared)
    flags, n = _process_flags(candidate, baseline), len(shared)
    ours, theirs = _log_ratio(candidate), _log_ratio(baseline)
    if ours is None or theirs is None:
        return _unknown(n, level, paired=True, flags=(*flags, "no_positive_mean"))
    differences = [a - b for a, b in zip(ours[1], theirs[1], strict=True)]
    spread = _spread(differences, _processes_of_pairs(candidate, baseline), level)
    if spread.u is None or spread.df is None:
        return _unknown(n, level, paired=True, flags=(*flags, "too_few_blocks"))
    return _judged(ours[0] - theirs[0], spread.u, spread.df, n, level, paired=True, flags=flags)


def compare_apart(candidate: LogMean, baseline: LogMean, level: float = DEFAULT_LEVEL) -> CellComparison:
    """Compare cells that did not take turns (two runs, say), by Welch's rule.

    What drifted on the machine between them is in no interval, so the verdict of a difference is
    left to the caller: it is ``cannot_tell`` with the flag ``not_interleaved``.
    """
    single = any(each.processes is None or each.processes < 2 for each in (candidate, baseline))
    flags = ("single_process",) if single else ()
    n = min(candidate.n, baseline.n)
    u, df = _welch(candidate, baseline)
    if u is None or df is None:
        return _unknown(n, level, paired=False, flags=(*flags, "too_few_blocks"))
    flags = (*flags, "not_interleaved")
    return _judged(candidate.log - baseline.log, u, df, n, level, paired=False, flags=flags)


def _judged(
    log_ratio: float, u: float, df: float, n: int, level: float, *, paired: bool, flags: tuple[str, ...]
) -> CellComparison:
    bare = CellComparison(
        "cannot_tell",
        math.exp(log_ratio),
        None,
        None,
        _p_value(log_ratio, u, df),
        None,
        u,
        df,
        n,
        level,
        paired,
        1,
        flags,
    )
    return at_level(bare, level)


def at_level(comparison: CellComparison, level: float) -> CellComparison:
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
    return replace(comparison, low=low, high=high, verdict=verdict, level=level, smallest_detectable=detectable)


def holm_adjusted(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values (Holm 1979), in the order given."""
    m = len(p_values)
    adjusted = [0.0] * m
    highest = 0.0
    for rank, index in enumerate(sorted(range(m), key=lambda i: p_values[i])):
        highest = max(highest, min(1.0, (m - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted


def corrected_for_many(comparisons: Sequence[CellComparison], level: float = DEFAULT_LEVEL) -> list[CellComparison]:
    """Several cells against one baseline, with Holm's correction of levels and p-values.

    A comparison's level is that of Holm's step at which it was decided, so its interval
    excludes 1 exactly where the corrected p-value is below 1 - ``level``.
    """
    order = sorted(
        (i for i, c in enumerate(comparisons) if c.p_value is not None), key=lambda i: comparisons[i].p_value or 0.0
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


def _shared_rounds(candidate: CellBlocks, baseline: CellBlocks) -> list[int]:
    """The rounds in which both cells had their turn, in order; empty where they took none.

    Of cells of different groups one was measured after the other: a round of the later one then
    begins after the next round of the earlier one.
    """
    first, second = _starts_of_rounds(candidate), _starts_of_rounds(baseline)
    shared = sorted(set(first) & set(second))
    if len(shared) < _FEWEST_PAIRS:
        return []
    in_turns = all(
        max(*first[number], *second[number]) < min(*first[following], *second[following])
        for number, following in pairwise(shared)
    )
    return shared if in_turns else []


def _starts_of_rounds(cell: CellBlocks) -> dict[int, list[float]]:
    starts: dict[int, list[float]] = {}
    if cell.rounds is not None and cell.starts is not None:
        for number, start in zip(cell.rounds, cell.starts, strict=True):
            starts.setdefault(number, []).append(start)
    return starts


def _by_round(cell: CellBlocks, rounds: Sequence[int]) -> CellBlocks:
    """The cell with one block for each of these rounds."""
    assert cell.rounds is not None  # noqa: S101
    places: dict[int, list[int]] = {number: [] for number in rounds}
    for index, number in enumerate(cell.rounds):
        if number in places:
            places[number].append(index)

    def means(values: Sequence[float]) -> list[float]:
        return [math.fsum(values[i] for i in each) / len(each) for each in places.values()]

    return CellBlocks(
        means(cell.energies),
        None if cell.units is None else means(cell.units),
        rounds,
        None if cell.processes is None else [cell.processes[each[0]] for each in places.values()],
    )


def _processes_of_pairs(candidate: CellBlocks, baseline: CellBlocks) -> Sequence[int] | None:
    """The processes of the cell that had fewer of them: pairs that share one are not independent.

    The cells' processes change together, but for a run that was resumed.
    """
    if candidate.processes is None or baseline.processes is None:
        return None
    return min(candidate.processes, baseline.processes, key=lambda each: len(set(each)))


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
    return math.log(ratio), [(y - ratio * x) / mean for y, x in zip(cell.energies, units, strict=True)]


def _spread(residuals: Sequence[float], processes: Sequence[int] | None, level: float) -> Interval:
    if processes is None:
        return mean_interval(residuals, level)
    return process_interval(by_process(residuals, processes), level)


def _welch(first: LogMean, second: LogMean) -> tuple[float | None, float | None]:
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


def _unknown(n: int, level: float, *, paired: bool, flags: tuple[str, ...]) -> CellComparison:
    return CellComparison("cannot_tell", None, None, None, None, None, None, None, n, level, paired, 1, flags)
