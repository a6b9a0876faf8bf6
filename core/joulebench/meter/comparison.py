"""Whether one cell needs less than another: the ratio of their means on the log scale.

The logarithm of a ratio of means (or of ratios of sums) is linear in each block's residual, so
the residuals carry the uncertainty. Processes differ from start to start by more than blocks show,
so from three processes of each cell on their means are the units (:func:`compare`); with fewer,
an assumed spread from start to start is added. Cells of two runs never took turns: each is reduced
to its :class:`LogMean`, which can be kept, and :func:`compare_apart` compares those.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Final, Literal, NamedTuple

from joulebench.meter.student import t_quantile, two_sided_p
from joulebench.meter.uncertainty import (
    DEFAULT_LEVEL,
    PROCESSES_AS_UNITS,
    Interval,
    by_process,
    mean_interval,
    process_interval,
)

Verdict = Literal["lower", "higher", "no_difference", "cannot_tell"]

#: Chance with which the smallest detectable difference would have been seen.
POWER: Final = 0.8
#: Relative standard deviation of a cell's mean from one start to the next, assumed where fewer
#: than three processes show it. Measured: the ratio of two runtimes of the embedded model varied
#: from pass to pass by 2.4 and 5.7 % (1 σ), so one cell by 1.7 and 4.0 %; the larger counts.
ASSUMED_START_U: Final = 0.04
_FEWEST_PAIRS: Final = 2
#: With less than this share of the blocks' variance left in their differences, what drifts for
#: both cells dominates, and processes are compared in pairs. (Of independent blocks at least 20
#: have less by chance in 0.3 %; they are independent of the processes' means, so that choosing by
#: them costs no coverage.)
_OWN_SHARE: Final = 0.4
#: Degrees of freedom of a term that is assumed or known from elsewhere.
_KNOWN_DF: Final = 1e9


@dataclass(frozen=True)
class CellBlocks:
    """A cell's blocks in the order in which they were measured; what they say is computed once.

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

    @cached_property
    def log_ratio(self) -> tuple[float, list[float]] | None:
        """ln(Σ energy/Σ units), and each block's share in its error; ``None`` if not positive."""
        n = len(self.energies)
        if n == 0:
            return None
        units = [1.0] * n if self.units is None else self.units
        energy, work = math.fsum(self.energies), math.fsum(units)
        if energy <= 0 or work <= 0:
            return None
        ratio, mean = energy / work, energy / n
        return math.log(ratio), [(y - ratio * x) / mean for y, x in zip(self.energies, units, strict=True)]

    @cached_property
    def log_mean(self) -> LogMean | None:
        """What the blocks say by themselves; ``None`` where their sum is not positive."""
        if self.log_ratio is None:
            return None
        log, residuals = self.log_ratio
        spread = _spread(residuals, self.processes)
        processes = None if self.processes is None else len(set(self.processes))
        return LogMean(log, spread.u, spread.df, len(self.energies), processes)

    def scatter_within(self, processes: Sequence[int] | None) -> float:
        """Sum of the squared residuals within processes; within its own it is computed once."""
        if self.processes == processes:
            return self._scatter_within_own
        return _within(self._residuals, processes)

    @cached_property
    def _scatter_within_own(self) -> float:
        return _within(self._residuals, self.processes)

    @property
    def _residuals(self) -> Sequence[float]:
        return [] if self.log_ratio is None else self.log_ratio[1]

    @cached_property
    def starts_of_rounds(self) -> dict[int, list[float]]:
        """When the blocks of each round began."""
        starts: dict[int, list[float]] = {}
        if self.rounds is not None and self.starts is not None:
            for number, start in zip(self.rounds, self.starts, strict=True):
                starts.setdefault(number, []).append(start)
        return starts


class CellComparison(NamedTuple):
    """Candidate over baseline. ``ratio`` < 1: the candidate needs less.

    ``u_log`` is the standard uncertainty of the ratio's logarithm with ``df`` degrees of freedom,
    and ``blocks_u_log`` the part of it that blocks and processes show by themselves: without the
    assumed spread from start to start and without :func:`widened_by`. ``level`` is the interval's
    own (raised where ``compared_with`` > 1 cells). A verdict of a difference needs blocks that took
    turns (``paired``).
    """

    verdict: Verdict
    ratio: float | None
    low: float | None
    high: float | None
    p_value: float | None
    u_log: float | None
    df: float | None
    n: int
    level: float
    paired: bool
    compared_with: int = 1
    flags: tuple[str, ...] = ()
    blocks_u_log: float | None = None

    @property
    def smallest_detectable(self) -> float | None:
        """The relative difference that would have been seen with a chance of 80 %."""
        if self.ratio is None or self.u_log is None or self.df is None:
            return None
        t = t_quantile(0.5 + self.level / 2, self.df) + t_quantile(POWER, self.df)
        return math.expm1(t * self.u_log)

    @property
    def hidden(self) -> bool:
        """Whether the blocks alone would exclude 1, and what is assumed or known beside does not."""
        if self.verdict != "no_difference" or not self.blocks_u_log or self.ratio is None:
            return False
        t = t_quantile(0.5 + self.level / 2, self.df or 1.0)
        return abs(math.log(self.ratio)) > t * self.blocks_u_log


class LogMean(NamedTuple):
    """The logarithm of a cell's mean (or ratio of sums), and how sure it is.

    ``u`` is its standard uncertainty (a relative one of the mean) with ``df`` degrees of freedom,
    as blocks and processes show it; both are ``None`` with fewer than two blocks. ``processes`` is
    ``None`` where unknown.
    """

    log: float
    u: float | None
    df: float | None
    n: int
    processes: int | None

    def start_u(self, assumed: float) -> float:
        """The spread from start to start that is in its mean and not in ``u``: none from three on."""
        count = self.processes or 1
        return 0.0 if count >= PROCESSES_AS_UNITS else assumed / math.sqrt(count)


def compare(
    candidate: CellBlocks, baseline: CellBlocks, level: float = DEFAULT_LEVEL, start_u: float = ASSUMED_START_U
) -> CellComparison:
    """Compare two cells; see :class:`CellComparison` for what the verdict needs.

    They are compared over the rounds that they share if both cells' blocks of each such round
    began before any block of the next one: so they did take turns. Else :func:`compare_apart`.
    Of a round that a cell has twice (a block was repeated) the last block counts.

    With three processes or more of each, each cell's process means are its units, and the two
    add by Welch's rule: the processes of one have nothing to do with those of the other, and
    their degrees of freedom add. Where common drift dominates the blocks, the processes are
    compared in pairs instead, which removes it. With fewer processes, the rounds' differences are
    the units, and ``start_u`` is added for each cell.
    """
    first, second = candidate.log_mean, baseline.log_mean
    shared = _shared_rounds(candidate, baseline)
    if first is None or second is None:
        n = min(len(candidate.energies), len(baseline.energies))
        flags = (*_process_flags(candidate, baseline), "no_positive_mean")
        return _unknown(n, level, paired=len(shared) >= _FEWEST_PAIRS, flags=flags)
    if len(shared) < _FEWEST_PAIRS:
        apart = compare_apart(first, second, level, start_u)
        if shared and "not_interleaved" in apart.flags:
            flags = tuple("too_few_rounds" if flag == "not_interleaved" else flag for flag in apart.flags)
            return apart._replace(flags=flags)
        return apart
    candidate, baseline = _by_round(candidate, shared), _by_round(baseline, shared)
    flags, n = _process_flags(candidate, baseline), len(shared)
    ours, theirs = candidate.log_ratio, baseline.log_ratio
    first, second = candidate.log_mean, baseline.log_mean
    if ours is None or theirs is None or first is None or second is None:
        return _unknown(n, level, paired=True, flags=(*flags, "no_positive_mean"))
    processes = _processes_of_pairs(candidate, baseline)
    fewest = min(first.processes or 1, second.processes or 1)
    differences = [a - b for a, b in zip(ours[1], theirs[1], strict=True)]
    if fewest >= PROCESSES_AS_UNITS and not _drift_dominates(candidate, baseline, differences, processes):
        u, df = _welch(first, second)
    else:
        spread = _spread(differences, processes)
        u, df = spread.u, spread.df
    if u is None or df is None:
        return _unknown(n, level, paired=True, flags=(*flags, "too_few_blocks"))
    bare = _judged(ours[0] - theirs[0], u, df, n, level, paired=True, flags=flags)
    return _with_starts(bare, first, second, start_u)


def compare_apart(
    candidate: LogMean, baseline: LogMean, level: float = DEFAULT_LEVEL, start_u: float = ASSUMED_START_U
) -> CellComparison:
    """Compare cells that did not take turns (two runs, say), by Welch's rule.

    What drifted on the machine between them is in no interval, so the verdict of a difference is
    left to the caller: it is ``cannot_tell`` with the flag ``not_interleaved``.
    """
    flags = _few_processes(min(candidate.processes or 1, baseline.processes or 1))
    n = min(candidate.n, baseline.n)
    u, df = _welch(candidate, baseline)
    if u is None or df is None:
        return _unknown(n, level, paired=False, flags=(*flags, "too_few_blocks"))
    flags = (*flags, "not_interleaved")
    bare = _judged(candidate.log - baseline.log, u, df, n, level, paired=False, flags=flags)
    return _with_starts(bare, candidate, baseline, start_u)


def compare_through(candidate: CellComparison, baseline: CellComparison) -> CellComparison | None:
    """Candidate over baseline by the ratios of both to one anchor cell, with which both took turns.

    What drifted between the cells' groups is in the anchor too, and cancels. ``None`` where one of
    the ratios is unknown or its cell took no turns with the anchor.
    """
    u, df = _of_difference(candidate.u_log, candidate.df, baseline.u_log, baseline.df)
    if u is None or df is None or not (candidate.paired and baseline.paired):
        return None
    log_ratio = math.log(candidate.ratio or 1.0) - math.log(baseline.ratio or 1.0)
    flags = tuple(dict.fromkeys((*candidate.flags, *baseline.flags, "through_anchor")))
    n = min(candidate.n, baseline.n)
    comparison = _judged(log_ratio, u, df, n, candidate.level, paired=True, flags=flags)
    own = math.hypot(candidate.blocks_u_log or 0.0, baseline.blocks_u_log or 0.0)
    return comparison._replace(blocks_u_log=own)


def widened_by(comparison: CellComparison, u_log: float, flag: str) -> CellComparison:
    """The comparison with another independent uncertainty of the ratio's logarithm, 1 σ."""
    if comparison.u_log is None or comparison.df is None or u_log == 0:
        return comparison
    u, df = _of_difference(comparison.u_log, comparison.df, u_log, _KNOWN_DF)
    assert u is not None  # noqa: S101
    wider = comparison._replace(u_log=u, df=df, flags=(*comparison.flags, flag))
    log_ratio = math.log(comparison.ratio or 1.0)
    return at_level(wider._replace(p_value=_p_value(log_ratio, u, df or _KNOWN_DF)), comparison.level)


def _with_starts(comparison: CellComparison, first: LogMean, second: LogMean, start_u: float) -> CellComparison:
    return widened_by(comparison, math.hypot(first.start_u(start_u), second.start_u(start_u)), "start_spread_assumed")


def _judged(
    log_ratio: float, u: float, df: float, n: int, level: float, *, paired: bool, flags: tuple[str, ...]
) -> CellComparison:
    bare = CellComparison(
        "cannot_tell", math.exp(log_ratio), None, None, _p_value(log_ratio, u, df), u, df, n, level, paired, 1, flags, u
    )
    return at_level(bare, level)


def at_level(comparison: CellComparison, level: float) -> CellComparison:
    """The comparison with its bounds and verdict at another level."""
    if comparison.ratio is None or comparison.u_log is None or comparison.df is None:
        return comparison._replace(level=level)
    t = t_quantile(0.5 + level / 2, comparison.df)
    log_ratio, half = math.log(comparison.ratio), t * comparison.u_log
    low, high = math.exp(log_ratio - half), math.exp(log_ratio + half)
    # Two cells without any scatter are no evidence of scatter-free cells.
    excludes_one = (comparison.blocks_u_log or 0.0) > 0 and (high < 1 or low > 1)
    verdict: Verdict = "no_difference"
    if excludes_one:
        verdict = ("lower" if high < 1 else "higher") if comparison.paired else "cannot_tell"
    if comparison.blocks_u_log == 0 and comparison.ratio != 1:
        verdict = "cannot_tell"
    return comparison._replace(low=low, high=high, verdict=verdict, level=level)


# ---------------------------------------------------------------------------------------------


def _shared_rounds(candidate: CellBlocks, baseline: CellBlocks) -> list[int]:
    """The rounds in which both cells had their turn, in order; empty where they took none.

    Of cells of different groups one was measured after the other: a round of the later one then
    begins after the next round of the earlier one.
    """
    first, second = candidate.starts_of_rounds, baseline.starts_of_rounds
    shared = sorted(set(first) & set(second))
    if len(shared) == 1:
        return shared if _is_turn(shared[0], first, second) else []
    in_turns = all(
        max(*first[number], *second[number]) < min(*first[following], *second[following])
        for number, following in pairwise(shared)
    )
    return shared if in_turns else []


def _is_turn(number: int, first: dict[int, list[float]], second: dict[int, list[float]]) -> bool:
    """Whether a single common round lies between the rounds before and after it of both cells."""
    starts = [*first[number], *second[number]]
    others = [(other, start) for cell in (first, second) for other, value in cell.items() for start in value]
    before = [start for other, start in others if other < number]
    after = [start for other, start in others if other > number]
    if not before and not after:
        return False
    return max(before, default=-math.inf) < min(starts) and max(starts) < min(after, default=math.inf)


def _by_round(cell: CellBlocks, rounds: Sequence[int]) -> CellBlocks:
    """The cell with one block for each of these rounds: the last."""
    assert cell.rounds is not None  # noqa: S101
    assert cell.starts is not None  # noqa: S101
    places: dict[int, int] = {}
    for index in sorted(range(len(cell.rounds)), key=cell.starts.__getitem__):
        places[cell.rounds[index]] = index
    kept = [places[number] for number in rounds]
    if kept == list(range(len(cell.rounds))):
        return cell
    return CellBlocks(
        [cell.energies[i] for i in kept],
        None if cell.units is None else [cell.units[i] for i in kept],
        rounds,
        None if cell.processes is None else [cell.processes[i] for i in kept],
    )


def _drift_dominates(
    candidate: CellBlocks, baseline: CellBlocks, differences: Sequence[float], processes: Sequence[int] | None
) -> bool:
    """Whether blocks of one round vary together, within processes, by more than they do alone."""
    alone = sum(cell.scatter_within(processes) for cell in (candidate, baseline))
    return _within(differences, processes) < _OWN_SHARE * alone


def _within(values: Sequence[float], processes: Sequence[int] | None) -> float:
    """Sum of squared deviations from the means of the processes."""
    total = 0.0
    for group in by_process(values, processes):
        mean = math.fsum(group) / len(group)
        total += math.fsum([(value - mean) ** 2 for value in group])
    return total


def _processes_of_pairs(candidate: CellBlocks, baseline: CellBlocks) -> Sequence[int] | None:
    """The processes of the cell that had fewer of them: pairs that share one are not independent.

    The cells' processes change together, but for a run that was resumed.
    """
    if candidate.processes is None or baseline.processes is None:
        return None
    return min(candidate.processes, baseline.processes, key=lambda item: len(set(item)))


def _spread(residuals: Sequence[float], processes: Sequence[int] | None) -> Interval:
    return mean_interval(residuals) if processes is None else process_interval(by_process(residuals, processes))


def _welch(first: LogMean, second: LogMean) -> tuple[float | None, float | None]:
    """Uncertainty of the difference of two independent means, and its Welch degrees."""
    return _of_difference(first.u, first.df, second.u, second.df)


def _of_difference(
    u: float | None, df: float | None, other_u: float | None, other_df: float | None
) -> tuple[float | None, float | None]:
    if u is None or other_u is None or df is None or other_df is None:
        return None, None
    a, b = u**2, other_u**2
    if a + b == 0:
        return 0.0, df + other_df
    return math.sqrt(a + b), (a + b) ** 2 / (a * a / df + b * b / other_df)


def _p_value(log_ratio: float, u: float, df: float) -> float:
    # Without scatter there is no test; 1 keeps such a pair from taking a step of Holm's.
    return two_sided_p(log_ratio / u, df) if u > 0 else 1.0


def _process_flags(*cells: CellBlocks) -> tuple[str, ...]:
    return _few_processes(min(1 if cell.processes is None else len(set(cell.processes)) for cell in cells))


def _few_processes(fewest: int) -> tuple[str, ...]:
    return ("single_process",) if fewest < 2 else ("few_processes",) if fewest < PROCESSES_AS_UNITS else ()


def _unknown(n: int, level: float, *, paired: bool, flags: tuple[str, ...]) -> CellComparison:
    return CellComparison("cannot_tell", None, None, None, None, None, None, n, level, paired, 1, flags)
