"""Two cells that take turns on one drifting machine: how often their comparison is right."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from joulebench.meter.comparison import CellBlocks, CellComparison, compare
from joulebench.rail.cells import CellOnRail, RailMachine, stopping_rule
from joulebench.rail.coverage import FALSE_AT_MOST
from joulebench.rail.scenarios import Drift, Level, Protocol, Scenario, Wander, Work

#: Least findings of a true difference.
FOUND_AT_LEAST: Final = 0.90
#: The true difference that must be found with the default target.
DIFFERENCE: Final = 0.05

_DRIFTING: Final = (Level(0.0, math.inf, 20.0, 20.0), Wander(0.5, 0.2), Drift(1 / 60, 10.0))
#: Three processes that differ by 1 % from start to start, on a machine that warms up by 1 W a minute,
#: with the protocol's default target of 2 %.
PAIR: Final = Scenario(
    "pair",
    "two cells in turns, three processes that differ by 1 %, drift",
    _DRIFTING,
    work=Work(processes=3, process_noise=0.01),
    protocol=Protocol(target=0.02),
)
#: The same in one process each, which says nothing of the spread from start to start.
ONE_PROCESS: Final = replace(
    PAIR, name="one-process", what="the same in one process each", work=Work(process_noise=0.01)
)


@dataclass(frozen=True, slots=True)
class PairStudy:
    """Verdicts on pairs whose true difference is known."""

    scenario: str
    pairs: int
    difference: float
    lower: int
    higher: int
    blocks_mean: float
    detectable_mean: float | None

    @property
    def false_share(self) -> float:
        """Verdicts of a difference, where there is none, or of one in the wrong direction."""
        return (self.lower + (0 if self.difference else self.higher)) / self.pairs

    @property
    def found_share(self) -> float:
        """Verdicts of the right direction."""
        return self.higher / self.pairs

    def good(self) -> bool:
        """Whether the demands are met, but for two standard errors of so few pairs."""
        limit = FALSE_AT_MOST if self.difference == 0 else FOUND_AT_LEAST
        leeway = 2 * math.sqrt(limit * (1 - limit) / self.pairs)
        if self.difference == 0:
            return self.false_share <= limit + leeway
        return self.found_share >= limit - leeway


def simulate_pair(difference: float, seed: int, scenario: Scenario = PAIR) -> CellComparison:
    """Measure two cells in randomised rounds until both are done, and compare them.

    The candidate takes longer for each token by ``difference``, and so as much more energy.
    """
    machine = RailMachine(scenario, seed)
    work, rule = scenario.work, stopping_rule(scenario)
    slower = replace(
        work,
        prefill_s_per_token=work.prefill_s_per_token * (1 + difference),
        decode_s_per_token=work.decode_s_per_token * (1 + difference),
    )
    cells = (CellOnRail(machine, slower, rule), CellOnRail(machine, work, rule))
    number = 0
    while shares := [(cell, share) for cell in cells if (share := cell.next_share()) is not None]:
        machine.idle_w = machine.baseline().power_w
        begun = {id(cell): len(cell.done) for cell, _ in shares}
        for cell, _ in shares:
            cell.begin_process()
        while turns := [cell for cell, share in shares if share.owes(len(cell.done) - begun[id(cell)], 0.0)]:
            machine.random.shuffle(turns)
            for cell in turns:
                cell.block(number)
            number += 1
    candidate, baseline = (_blocks_of(cell) for cell in cells)
    if candidate is None or baseline is None:
        return compare(CellBlocks(()), CellBlocks(()))  # says that it cannot tell
    return compare(candidate, baseline)


def _blocks_of(cell: CellOnRail) -> CellBlocks | None:
    """The cell's energies for a comparison; ``None`` where a block has none."""
    energies = [window.gross_j for window in cell.measured.energies]
    known = [energy for energy in energies if energy is not None]
    if len(known) < len(energies):
        return None
    return CellBlocks(known, cell.measured.tokens, cell.done.rounds, cell.done.processes, starts=cell.measured.t0_ns)


def simulate_pairs(
    difference: float, seed: int, numbers: Iterable[int], scenario: Scenario = PAIR
) -> list[CellComparison]:
    """The pairs of these numbers; each depends on ``seed`` and its number alone."""
    return [simulate_pair(difference, seed * 1_000_003 + i, scenario) for i in numbers]


def pair_study(difference: float, compared: Sequence[CellComparison], scenario: Scenario = PAIR) -> PairStudy:
    """What the comparisons come to."""
    detectable = [c.smallest_detectable for c in compared if c.smallest_detectable is not None]
    return PairStudy(
        scenario.name,
        len(compared),
        difference,
        sum(c.verdict == "lower" for c in compared),
        sum(c.verdict == "higher" for c in compared),
        sum(c.n for c in compared) / len(compared),
        sum(detectable) / len(detectable) if detectable else None,
    )
