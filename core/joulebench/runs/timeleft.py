"""How long a run still takes: what its stopping rule leaves open, at the pace seen so far.

Pure: the caller has the clock.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from joulebench.meter.stopping import BlocksSoFar, Stop, StoppingRule, next_process
from joulebench.plan.cells import Duration
from joulebench.plan.duration import process_duration
from joulebench.profile.measurement import MeasurementProtocol

#: What is measured next may be slower than what was, the more so where little was.
_LEEWAY: Final = 1.25
_LEEWAY_OF_FEW: Final = 2.0


@dataclass(slots=True)
class Pace:
    """Times of a run's steps as they were seen, in seconds; empty where none has been yet.

    ``process_s`` are loads with their warm-ups, ``judging_s`` a cell's quality and agreement,
    ``between_s`` what passes from one block's end to the next one's start.
    """

    process_s: list[float] = field(default_factory=list)
    judging_s: list[float] = field(default_factory=list)
    between_s: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Remaining:
    """What is left of a cell: blocks and processes, at least and at most; measured time at most.

    ``block_s`` is the mean of the ``measured`` blocks, ``extremes_s`` the fastest and the slowest.
    """

    blocks: tuple[int, int]
    processes: tuple[int, int]
    budget_s: float
    block_s: float | None
    judged: bool
    measured: int
    extremes_s: tuple[float, float]


def remaining(
    done: BlocksSoFar, rule: StoppingRule, *, judged: bool = False, loaded: int | None = None
) -> Remaining | None:
    """What is left of a cell with these blocks; ``None`` if it is done.

    ``judged`` says that quality and agreement are behind it, ``loaded`` is the process that is
    ready, if there is one.
    """
    if isinstance(next_process(done, rule), Stop):
        return None
    blocks, measured = len(done), done.measured
    looks = rule.looks[:1] if done.simulated else rule.looks
    if rule.passes is not None:
        # Before the first worker nobody knows how long the list is.
        looks = (rule.max_blocks if done.list_blocks is None else rule.passes * done.list_blocks,)
    ahead = [look for look in looks if look > blocks] or [blocks + 1]
    reached = max((look for look in looks if look <= blocks), default=0)
    begun = set(done.counting_processes()[reached:])
    if loaded is not None and loaded not in done.processes:
        begun.add(loaded)
    now = max(0, (1 if done.simulated else rule.processes_for(ahead[0] - reached)) - len(begun))
    later = 0 if done.simulated or rule.passes is not None else rule.most_processes(ahead[0])
    repeats = measured / blocks if blocks else 1.0
    budget_s = max(0.0, rule.time_budget_s - done.measured_s)
    block_s = done.measured_s / measured if measured else None
    # A process measures a block at least, and none begins on a spent budget.
    affordable = math.inf if not block_s else budget_s // block_s + 1
    return Remaining(
        blocks=(ahead[0] - blocks, round((ahead[-1] - blocks) * repeats)),
        processes=(now, int(max(now, min(now + later, affordable)))),
        budget_s=budget_s,
        block_s=block_s,
        judged=judged,
        measured=measured,
        extremes_s=(min(done.seconds, default=0.0), max(done.seconds, default=0.0)),
    )


def time_left(cells: Sequence[Remaining], protocol: MeasurementProtocol, pace: Pace) -> Duration:
    """The time that these cells still take."""
    if not cells:
        return Duration(0.0, 0.0)
    known_s = [cell.block_s for cell in cells if cell.block_s is not None]
    margins_s = protocol.margins.before_s + protocol.margins.after_s
    between = _range(pace.between_s, Duration(margins_s, margins_s))
    process = process_range(protocol, pace)
    judging = _range(pace.judging_s, Duration(0.0, 0.0))
    total = _idle(cells, protocol)
    for cell in cells:
        total += _blocks(cell, protocol, known_s, between)
        total += Duration(cell.processes[0] * process.minimum_s, cell.processes[1] * process.maximum_s)
        if not cell.judged:
            total += judging
    return total


def process_range(protocol: MeasurementProtocol, pace: Pace) -> Duration:
    """What the load and the warm-up of a process take."""
    return _range(pace.process_s, process_duration(protocol))


def _range(seen_s: Sequence[float], assumed: Duration) -> Duration:
    """What a step takes, by those that were seen; by assumption before the first."""
    return Duration(min(seen_s), _LEEWAY * max(seen_s)) if seen_s else assumed


def _blocks(cell: Remaining, protocol: MeasurementProtocol, known_s: Sequence[float], between: Duration) -> Duration:
    """Blocks of a cell. Before its first one, they may take all of its time budget."""
    least, most = cell.blocks
    few = 1 + _LEEWAY_OF_FEW / max(1, cell.measured)
    if cell.block_s is None:
        fast_s = min([protocol.block_s, *known_s])
        shortest_s = least * fast_s / few
        longest_s = most * _LEEWAY * few * max(known_s) if known_s else math.inf
    else:
        # Where few are left, these may be the extremes.
        shortest_s = least * cell.block_s / few - (cell.block_s - cell.extremes_s[0])
        longest_s = most * _LEEWAY * few * cell.block_s + (cell.extremes_s[1] - cell.block_s)
    return Duration(
        min(max(0.0, shortest_s), cell.budget_s) + least * between.minimum_s,
        min(longest_s, cell.budget_s) + most * between.maximum_s,
    )


def _idle(cells: Sequence[Remaining], protocol: MeasurementProtocol) -> Duration:
    """One baseline after each process; cells that take turns share them."""
    together = max if protocol.turns else sum
    least, most = (1 + together(cell.processes[side] for cell in cells) for side in (0, 1))
    return Duration(least * protocol.idle_s, most * protocol.idle_s)
