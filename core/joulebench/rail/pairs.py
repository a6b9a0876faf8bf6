"""Two cells that take turns on one drifting machine: how often their comparison is right."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from joulebench.meter.comparison import CellBlocks, CellComparison, compare
from joulebench.meter.uncertainty import LOOKS
from joulebench.rail.cells import CellOnRail, Machine
from joulebench.rail.scenarios import Drift, Level, Protocol, Scenario, Wander

#: Most false differences between equal cells, least findings of a true one.
FALSE_AT_MOST: Final = 0.05
FOUND_AT_LEAST: Final = 0.90
#: The true difference that must be found with the default target.
DIFFERENCE: Final = 0.05

#: A machine that warms up by 1 W a minute, and the protocol's default target of 2 %.
PAIR: Final = Scenario(
    "pair",
    "two cells in turns, drift",
    (Level(0.0, math.inf, 20.0, 20.0), Wander(0.5, 0.2), Drift(1 / 60, 10.0)),
    protocol=Protocol(target=0.02),
)


@dataclass(frozen=True, slots=True)
class PairStudy:
    """Verdicts on pairs whose true difference is known."""

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
    """Measure two cells in randomised rounds until both reach the target, and compare them.

    The candidate takes longer for each token by ``difference``, and so as much more energy.
    """
    machine = Machine(scenario, seed)
    machine.idle_w = machine.baseline().power_w
    work = scenario.work
    slower = replace(
        work,
        prefill_s_per_token=work.prefill_s_per_token * (1 + difference),
        decode_s_per_token=work.decode_s_per_token * (1 + difference),
    )
    cells = (CellOnRail(machine, slower), CellOnRail(machine, work))
    rounds: tuple[list[int], list[int]] = ([], [])
    waiting = [0, 1]
    for number in range(LOOKS[-1]):
        order = list(waiting)
        machine.random.shuffle(order)
        for which in order:
            cells[which].block(0)
            rounds[which].append(number)
        if number + 1 in LOOKS:
            waiting = [i for i in waiting if not _reached(cells[i], scenario.protocol.target)]
        if not waiting:
            break
    candidate, baseline = (
        CellBlocks([w.gross_j or 0.0 for w in cell.noted.energies], cell.noted.tokens, numbers, starts=cell.noted.t0_ns)
        for cell, numbers in zip(cells, rounds, strict=True)
    )
    # Processes on the rail do not differ from start to start.
    return compare(candidate, baseline, start_u=0.0)


def _reached(cell: CellOnRail, target: float | None) -> bool:
    found = cell.per_token()
    relative = None if found is None else found.relative_half_width
    return target is None or (relative is not None and relative <= target)


def simulate_pairs(difference: float, seed: int, numbers: Iterable[int]) -> list[CellComparison]:
    """The pairs of these numbers; each depends on ``seed`` and its number alone."""
    return [simulate_pair(difference, seed * 1_000_003 + i) for i in numbers]


def pair_study(difference: float, found: Sequence[CellComparison]) -> PairStudy:
    """What the comparisons come to."""
    detectable = [c.smallest_detectable for c in found if c.smallest_detectable is not None]
    return PairStudy(
        len(found),
        difference,
        sum(c.verdict == "lower" for c in found),
        sum(c.verdict == "higher" for c in found),
        sum(c.n for c in found) / len(found),
        sum(detectable) / len(detectable) if detectable else None,
    )
