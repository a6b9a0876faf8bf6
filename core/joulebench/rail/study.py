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
from joulebench.rail.coverage import CellOutcome, Coverage, coverage_of, simulate_outcomes, write_table
from joulebench.rail.faults import FaultStudy, fault_study
from joulebench.rail.pairs import DIFFERENCE, FALSE_AT_MOST, FOUND_AT_LEAST, PairStudy, pair_study, simulate_pairs
from joulebench.rail.scenarios import Scenario

DEFAULT_CELLS: Final = 1000
DEFAULT_PAIRS: Final = 400
DEFAULT_WINDOWS: Final = 1_000_000
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
    equal: PairStudy | None
    different: PairStudy | None
    faults: FaultStudy | None

    def good(self) -> bool:
        """No interval outside of 93–97 % beyond chance, comparisons as promised, nothing wrong."""
        pairs = all(each is None or each.good() for each in (self.equal, self.different))
        wrong = self.faults is not None and self.faults.wrong > 0
        return pairs and not wrong and not any(row.outside(by_chance=False) for row in self.coverage)


# Tasks are functions of plain values, so that they can go to another process.


def _cells(task: tuple[Scenario, int, int, int]) -> list[CellOutcome]:
    scenario, seed, first, last = task
    return simulate_outcomes(scenario, seed, range(first, last))


def _pairs(task: tuple[float, int, int, int]) -> list[CellComparison]:
    difference, seed, first, last = task
    return simulate_pairs(difference, seed, range(first, last))


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
        rows = []
        for place, scenario in enumerate(scenarios):
            progress(0.7 * place / max(1, len(scenarios)), f"{cells} cells of '{scenario.name}'")
            tasks = [(scenario, seed, *span) for span in _spans(cells, _CELLS_AT_ONCE)]
            rows.append(coverage_of(scenario, _joined(pool.imap(_cells, tasks))))
        found = []
        for share, difference in ((0.7, 0.0), (0.8, DIFFERENCE)):
            progress(share, f"{pairs} pairs of cells that differ by {100 * difference:g} %")
            orders = [(difference, seed, *span) for span in _spans(pairs, _PAIRS_AT_ONCE)]
            compared = _joined(pool.imap(_pairs, orders))
            found.append(pair_study(difference, compared) if compared else None)
        progress(0.9, f"{windows} windows with counter faults")
        faults = FaultStudy()
        sizes = [last - first for first, last in _spans(windows, _WINDOWS_AT_ONCE)]
        for part in pool.imap(_faults, [(n, seed * 1_000_003 + i) for i, n in enumerate(sizes)]):
            faults.add(part)
    return RailStudy(seed, tuple(rows), found[0], found[1], faults if windows else None)


def _joined(parts: Iterator[list[_Result]]) -> list[_Result]:
    return [each for part in parts for each in part]


# ---------------------------------------------------------------------------------------------


def write_study(found: RailStudy, write: Callable[[str], None]) -> None:
    """The study in words and tables."""
    write_table(found.coverage, write)
    if found.equal is not None:
        write("")
        write(
            f"two equal cells in turns on a drifting machine, {found.equal.pairs} pairs: "
            f"{100 * found.equal.false_share:.1f} % false differences "
            f"(at most {100 * FALSE_AT_MOST:.0f} %)"
        )
    if found.different is not None:
        different = found.different
        write(
            f"two cells that differ by {100 * different.difference:g} %, {different.pairs} pairs: "
            f"{100 * different.found_share:.1f} % found "
            f"(at least {100 * FOUND_AT_LEAST:.0f} %), {different.lower} in the wrong direction, "
            f"{different.blocks_mean:.0f} blocks each"
        )
    if found.faults is not None:
        write("")
        _write_faults(found.faults, write)
    write("")
    write("all as promised" if found.good() else "NOT as promised: see above")


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
