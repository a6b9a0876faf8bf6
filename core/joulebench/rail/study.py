"""The whole study on the virtual rail, spread over the processors.

Each simulated thing depends on the seed and its own number alone, so neither the number of
processes nor their order changes a figure.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from joulebench.meter.comparison import CellComparison
from joulebench.rail.coverage import FALSE_AT_MOST, CellOutcome, Coverage, coverage_of, simulate_outcomes, write_table
from joulebench.rail.faults import FaultStudy, fault_study
from joulebench.rail.pairs import DIFFERENCE, FOUND_AT_LEAST, ONE_PROCESS, PAIR, PairStudy, pair_study, simulate_pairs
from joulebench.rail.scenarios import Scenario

DEFAULT_CELLS: Final = 1000
DEFAULT_PAIRS: Final = 200
DEFAULT_WINDOWS: Final = 500_000
#: What one task simulates: cells of a scenario, pairs, windows.
_CELLS_AT_ONCE: Final = 50
_PAIRS_AT_ONCE: Final = 25
_WINDOWS_AT_ONCE: Final = 25_000

_Result = TypeVar("_Result")
#: Called with the share of the work that is done, from 0 to 1, and what is being done.
Progress = Callable[[float, str], None]


@dataclass(frozen=True, slots=True)
class RailStudy:
    """Coverage by scenario, comparisons of equal and of different cells, counter faults."""

    seed: int
    coverage: tuple[Coverage, ...]
    pairs: tuple[PairStudy, ...]
    faults: FaultStudy | None

    def good(self) -> bool:
        """Coverage and comparisons as promised, beyond chance, and no energy wrong."""
        wrong = self.faults is not None and self.faults.wrong > 0
        rows = all(not row.outside(by_chance=False) and not row.too_many_false() for row in self.coverage)
        return rows and not wrong and all(study.good() for study in self.pairs)


# Tasks are functions of plain values, so that they can go to another process.


def _cells(task: tuple[Scenario, int, int, int]) -> list[CellOutcome]:
    scenario, seed, first, last = task
    return simulate_outcomes(scenario, seed, range(first, last))


def _pairs(task: tuple[Scenario, float, int, int, int]) -> list[CellComparison]:
    scenario, difference, seed, first, last = task
    return simulate_pairs(difference, seed, range(first, last), scenario)


def _faults(task: tuple[int, int]) -> FaultStudy:
    return fault_study(*task)


def _spans(count: int, size: int) -> Iterator[tuple[int, int]]:
    for first in range(0, count, size):
        yield first, min(first + size, count)


def study(
    scenarios: Sequence[Scenario],
    *,
    cells: int = DEFAULT_CELLS,
    pairs: int = DEFAULT_PAIRS,
    windows: int = DEFAULT_WINDOWS,
    seed: int = 0,
    progress: Progress = lambda share, doing: None,
) -> RailStudy:
    """Simulate everything, on all processors; ``pairs`` or ``windows`` of 0 leave that part out."""
    processors = len(os.sched_getaffinity(0))
    context = multiprocessing.get_context("fork")
    with context.Pool(processors) as pool:

        def compared(scenario: Scenario, difference: float, count: int) -> PairStudy | None:
            tasks = [(scenario, difference, seed, *span) for span in _spans(count, _PAIRS_AT_ONCE)]
            comparisons = _joined(pool.imap(_pairs, tasks))
            return pair_study(difference, comparisons, scenario) if comparisons else None

        rows = []
        for place, scenario in enumerate(scenarios):
            progress(0.85 * place / max(1, len(scenarios)), f"{cells} cells and {pairs} pairs of '{scenario.name}'")
            tasks = [(scenario, seed, *span) for span in _spans(cells, _CELLS_AT_ONCE)]
            outcomes = _joined(pool.imap(_cells, tasks))
            equal = compared(scenario, 0.0, pairs)
            rows.append(coverage_of(scenario, outcomes, None if equal is None else equal.false_share, pairs))
        studies = []
        for scenario, difference in ((PAIR, 0.0), (PAIR, DIFFERENCE), (ONE_PROCESS, 0.0)):
            progress(0.85, f"{pairs} pairs of cells that differ by {100 * difference:g} %: {scenario.what}")
            studies.append(compared(scenario, difference, pairs))
        progress(0.9, f"{windows} windows with counter faults")
        faults = FaultStudy()
        sizes = [last - first for first, last in _spans(windows, _WINDOWS_AT_ONCE)]
        for part in pool.imap(_faults, [(n, seed * 1_000_003 + i) for i, n in enumerate(sizes)]):
            faults.add(part)
    return RailStudy(
        seed, tuple(rows), tuple(study for study in studies if study is not None), faults if windows else None
    )


def _joined(parts: Iterator[list[_Result]]) -> list[_Result]:
    return [result for part in parts for result in part]


# ---------------------------------------------------------------------------------------------


def write_study(study: RailStudy, write: Callable[[str], None]) -> None:
    """The study in words and tables."""
    write_table(study.coverage, write)
    for pairs in study.pairs:
        write("")
        write(_pairs_text(pairs))
    if study.faults is not None:
        write("")
        _write_faults(study.faults, write)
    write("")
    write("all as promised" if study.good() else "NOT as promised: see above")


def _pairs_text(study: PairStudy) -> str:
    name = f"{study.scenario}, {study.pairs} pairs of"
    if study.difference == 0:
        shown = f"{100 * study.false_share:.1f} % false differences (at most {100 * FALSE_AT_MOST:.0f} %)"
        return f"{name} equal cells in turns on a drifting machine: {shown}"
    return (
        f"{name} cells that differ by {100 * study.difference:g} %: {100 * study.found_share:.1f} % found "
        f"(at least {100 * FOUND_AT_LEAST:.0f} %), {study.lower} in the wrong direction, "
        f"{study.blocks_mean:.0f} blocks each"
    )


def _write_faults(faults: FaultStudy, write: Callable[[str], None]) -> None:
    refused = ", ".join(f"{flag} {count}" for flag, count in sorted(faults.refused.items()))
    write(
        f"counter faults, {faults.windows} windows ({faults.wraps} with wraps, {faults.restarts} "
        f"with a restart, all with skipped updates): {faults.wrong} wrong energies stated"
    )
    write(f"  {faults.stated} stated; refused: {refused or 'none'}")
    write(
        f"  {faults.hidden_restarts} restarts just before a wrap looked like the wrap; their error "
        "is within maximum power × time between reads"
    )
