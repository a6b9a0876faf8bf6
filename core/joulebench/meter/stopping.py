"""What happens next in a cell: another block, another process, or the end. The one rule.

A *round* is one turn of a cell. A block that others disturbed is repeated within its round: all
repeats stay in the record, and the last one counts (:func:`counting`), here as in every figure.

A cell is looked at only at certain numbers of counting blocks (:attr:`StoppingRule.looks`):
stopping at the first good half-width of many eats coverage. Between two looks the blocks are
shared out over as many processes as the protocol asks for, and so is what is left of the time;
over more, where each would measure more blocks than the first ones did (:meth:`StoppingRule.processes_for`).

Used by the run, the virtual rail and the self-test alike. Pure: no clock, no file, no device.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from joulebench.meter.uncertainty import LOOKS, Interval, ratio_interval

#: Why a cell ended short of its target, as flags of the cell.
TIME_BUDGET: Final = "time_budget"
TARGET_NOT_REACHED: Final = "target_not_reached"

#: Blocks that a process may measure however few the first ones did: its start takes as long as several.
_SHORT_PROCESS: Final = 7


def counting(rounds: Sequence[int]) -> list[int]:
    """Places of the blocks that count, in order: the last one of each round.

    ``rounds`` are those of a cell's blocks in the order in which they were measured.
    """
    return sorted({number: place for place, number in enumerate(rounds)}.values())


@dataclass(frozen=True, slots=True)
class StoppingRule:
    """The numbers of a protocol that decide when a cell ends.

    ``target`` is a relative half-width of the 95 % interval, ``time_budget_s`` measured time.
    ``passes`` goes through the workload's whole list so many times, whatever the intervals say.
    """

    processes: int = 1
    min_blocks: int = LOOKS[0]
    max_blocks: int = LOOKS[-1]
    target: float = 0.02
    time_budget_s: float = math.inf
    passes: int | None = None

    @property
    def looks(self) -> tuple[int, ...]:
        """Counting blocks at which the half-width is looked at."""
        first, last = self.min_blocks, self.max_blocks
        if last <= first:
            return (first,)
        return (first, *(look for look in LOOKS if first < look < last), last)

    def processes_for(self, blocks: int) -> int:
        """Processes that share so many blocks between two looks.

        None measures more than the first ones: where processes differ, every block counts alike, so the
        longest of them would decide the mean (a true 5 % was then seen in 86 of 100 pairs, not in 92).
        """
        if self.processes == 1 or self.passes is not None:
            return self.processes
        longest = max(_SHORT_PROCESS, math.ceil(self.looks[0] / self.processes))
        return max(self.processes, math.ceil(blocks / longest))

    def most_processes(self, reached: int = 0) -> int:
        """Processes that a cell begins from so many counting blocks (a look) on, if it goes to its last look."""
        if self.passes is not None:
            return self.processes
        ahead = [look for look in self.looks if look > reached]
        return sum(self.processes_for(goal - start) for start, goal in itertools.pairwise((reached, *ahead)))


@dataclass(slots=True)
class BlocksSoFar:
    """A cell's blocks in the order in which they were measured, by column.

    ``joules`` are ``None`` where a block has no figure. ``list_blocks`` is the length of the
    workload's list in blocks, once a worker has told it.
    """

    processes: list[int] = field(default_factory=list)
    rounds: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    joules: list[float | None] = field(default_factory=list)
    units: list[float] = field(default_factory=list)
    list_blocks: int | None = None
    #: Simulated hardware says the same again, however often it is asked.
    simulated: bool = False

    def add(self, process: int, number: int, seconds: float, joules: float | None, units: float) -> None:
        """Add a block of round ``number``."""
        self.processes.append(process)
        self.rounds.append(number)
        self.seconds.append(seconds)
        self.joules.append(joules)
        self.units.append(units)

    def __len__(self) -> int:
        """Blocks that count."""
        return len(set(self.rounds))

    @property
    def measured(self) -> int:
        """All blocks, repeats included."""
        return len(self.rounds)

    @property
    def measured_s(self) -> float:
        """Time measured, repeats included."""
        return math.fsum(self.seconds)

    @property
    def has_joules(self) -> bool:
        """Whether every block that counts has an energy."""
        return all(self.joules[place] is not None for place in counting(self.rounds))

    def interval(self) -> Interval:
        """The figure that the rule looks at: J per unit of work, or s where a block has no J."""
        places = counting(self.rounds)
        figures = [self.joules[place] or 0.0 for place in places] if self.has_joules else None
        return ratio_interval(
            [self.seconds[place] for place in places] if figures is None else figures,
            [self.units[place] for place in places],
            [self.processes[place] for place in places],
        )

    def counting_processes(self) -> list[int]:
        """The process of each block that counts."""
        return [self.processes[place] for place in counting(self.rounds)]


@dataclass(frozen=True, slots=True)
class Share:
    """What one process is to measure: blocks that count, and time at most."""

    blocks: int
    seconds: float

    def owes(self, blocks: int, seconds: float) -> bool:
        """Whether a process with so many blocks and so much measured time goes on.

        Its first block is measured whatever it takes.
        """
        return blocks < self.blocks and (blocks == 0 or seconds < self.seconds)


@dataclass(frozen=True, slots=True)
class Stop:
    """The cell is done; ``flag`` says what it fell short of."""

    flag: str | None = None


def next_process(done: BlocksSoFar, rule: StoppingRule) -> Share | Stop:
    """What another process of the cell is to measure, or that none is needed."""
    blocks, left_s = len(done), rule.time_budget_s - done.measured_s
    if rule.passes is None:
        goals = rule.looks[:1] if done.simulated else rule.looks
    else:
        # Before its first worker nobody knows how long the list is.
        goals = (blocks + 1 if done.list_blocks is None else rule.passes * done.list_blocks,)
    if blocks >= goals[-1] or blocks in goals:
        ended = _at_look(done, rule, last=blocks >= goals[-1])
        if ended is not None:
            return ended
    if blocks and left_s <= 0:
        return Stop(TIME_BUDGET)
    goal = next(goal for goal in goals if goal > blocks)
    reached = max((goal for goal in goals if goal <= blocks), default=0)
    begun = len(set(done.counting_processes()[reached:]))
    processes = 1 if done.simulated else max(1, rule.processes_for(goal - reached) - begun)
    return Share(math.ceil((goal - blocks) / processes), left_s / processes)


def _at_look(done: BlocksSoFar, rule: StoppingRule, *, last: bool) -> Stop | None:
    if rule.passes is not None or done.simulated:
        return Stop()
    relative = done.interval().relative_half_width
    if relative is not None and relative <= rule.target:
        return Stop()
    return Stop(TARGET_NOT_REACHED) if last else None
