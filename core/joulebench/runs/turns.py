"""Cells that take turns: loaded together, measured block by block in random order.

Drift of the machine then hits all cells alike, and those not being measured are stopped, so that
no thread of one cell stands in another's joules. What a cell does next is decided by
:mod:`joulebench.meter.stopping` alone.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Final, Protocol

from joulebench.meter.live.owner import ReaderOwner
from joulebench.meter.stopping import Share, Stop, next_process
from joulebench.meter.windows import Accountant
from joulebench.profile.measurement import MeasurementProtocol
from joulebench.runs.cell import MOST_REQUESTS, CellRun
from joulebench.runs.judging import Judge
from joulebench.runs.record import Turn
from joulebench.sensors.gate import ThermalGate, Thermometer
from joulebench.sensors.idle import AFTER, BEFORE, IdleBaseline, measure_idle
from joulebench.worker.process import WorkerError

#: Dither where no update period is known: none is needed, and this costs little.
DEFAULT_DITHER_S: Final = 0.001
#: Steps of a process before its blocks, beside what judges do.
LOADING: Final = "loading"
WARMING_UP: Final = "warming up"


class Watcher(Protocol):
    """Who is told how a run goes on (the command line's progress)."""

    def say(self, text: str) -> None:
        """Something has begun that may take long."""

    def note(self, text: str) -> None:
        """A line of news; what is under way goes on."""

    def cells(self, runs: Sequence[CellRun], protocol: MeasurementProtocol) -> None:
        """The cells that are going to be measured."""

    def step(self, run: CellRun, doing: str) -> None:
        """What is done with a cell before its blocks."""

    def measuring(self, doing: str) -> None:
        """From now on, until something else is told, the machine is measured: leave it alone."""

    def block(self, run: CellRun) -> None:
        """A block has been measured."""

    def done(self, run: CellRun, status: str) -> None:
        """A cell has its row: ``ok`` or ``failed``."""


class IdleBaselines:
    """Idle baselines between legs: one that ends a leg begins the next, if that follows at once."""

    def __init__(
        self, accountant: Accountant, protocol: MeasurementProtocol, watcher: Watcher, owner: ReaderOwner | None = None
    ) -> None:
        self._accountant = accountant
        self._owner = owner
        self._seconds = protocol.idle_s
        self._watcher = watcher
        self._latest: IdleBaseline | None = None

    def before(self) -> IdleBaseline | None:
        """The baseline that a leg begins with."""
        latest = self._latest
        return self._measure(BEFORE) if latest is None else replace(latest, when=BEFORE)

    def after(self) -> IdleBaseline | None:
        """The baseline that a leg ends with."""
        self._latest = self._measure(AFTER)
        return self._latest

    def expire(self) -> None:
        """Something else has used the machine since the last one."""
        self._latest = None

    def _measure(self, when: str) -> IdleBaseline | None:
        if self._accountant.indices and self._seconds > 0:
            self._watcher.measuring(f"idle baseline {when} the blocks")
        return measure_idle(self._accountant, self._seconds, when, self._owner)


class Rounds:
    """Numbers of rounds, none used twice in a run: cells that share one took turns in it."""

    def __init__(self, runs: Sequence[CellRun] = ()) -> None:
        #: The round under way. A resumed run's come after those of the run before.
        self.number = max((run.record.next_round for run in runs), default=0)

    def end(self) -> None:
        """The round is over."""
        self.number += 1


class GroupRun:
    """A group of cells that take turns, leg by leg. A leg is one process of each of its cells.

    The ``anchor`` is a cell of another group that takes its turn in each round of this one too, so
    that cells of both can be held against it.
    """

    def __init__(
        self,
        runs: Sequence[CellRun],
        protocol: MeasurementProtocol,
        accountant: Accountant,
        baselines: IdleBaselines,
        watcher: Watcher,
        judges: Mapping[str, Sequence[Judge]],
        rng: random.Random,
        rounds: Rounds,
        anchor: CellRun | None = None,
        owner: ReaderOwner | None = None,
    ) -> None:
        self._owner = owner
        self._rounds = rounds
        self.anchor = anchor
        self.runs = tuple(runs)
        self._protocol = protocol
        self._rule = protocol.stopping
        self._accountant = accountant
        self._baselines = baselines
        self._watcher = watcher
        self._judges = judges
        self._rng = rng
        self._gate = ThermalGate(
            Thermometer(accountant.channels, owner),
            protocol.gate.distance_c,
            protocol.gate.slope_c_per_10_s,
            protocol.gate.timeout_s,
        )
        periods = [accountant.spec(index).update_period_s or DEFAULT_DITHER_S for index in accountant.indices]
        self._dither_s = max(periods, default=0.0)
        # What a late counter lends a block from before its start, and what a gauge that averages shows
        # there, is then all idle power, which the accountant can make good; the dither comes on top of it.
        self._lead_s = accountant.settling_s

    def unfinished(self) -> list[CellRun]:
        """Cells that need another process. Notes of the others what they fell short of."""
        return [run for run in self.runs if isinstance(self._next(run), Share)]

    def _next(self, run: CellRun) -> Share | Stop:
        if run.cause is not None:
            return Stop()
        decided = next_process(run.record.so_far(), self._rule)
        if isinstance(decided, Stop) and decided.flag is not None:
            run.record.flags[decided.flag] = None
        return decided

    def leg(self) -> None:
        """Load each unfinished cell once, take turns for its share of the blocks, unload.

        Whatever ends the run itself (Ctrl-C) leaves the workers to :meth:`CellRun.leave`: one in
        the middle of a block would answer nothing else before its end.
        """
        if self._owner is not None:
            self._owner.open()
        waiting = self.unfinished()
        guests = [] if self.anchor is None or self.anchor.cause is not None else [self.anchor]
        before = self._baselines.before()
        for run in (*waiting, *guests):
            run.record.begin_leg(before)
            self._guard(run, partial(self._load, run))
        self._settle_requests([run for run in waiting if run.running])
        self._take_turns([run for run in waiting if run.running])
        for run in (*waiting, *guests):
            run.close_worker()
        after = self._baselines.after()
        for run in (*waiting, *guests):
            run.record.end_leg(after)

    def _take_turns(self, loaded: Sequence[CellRun]) -> None:
        shares = {id(run): self._next(run) for run in loaded}
        begun = {id(run): (len(run.record.done), run.record.done.measured_s) for run in loaded}

        def owes(run: CellRun) -> bool:
            share, (blocks, seconds), done = shares[id(run)], begun[id(run)], run.record.done
            return (
                run.running and isinstance(share, Share) and share.owes(len(done) - blocks, done.measured_s - seconds)
            )

        self._watcher.measuring("measuring")
        while turns := [run for run in loaded if owes(run)]:
            place = len(turns[0].record.done)
            if self.anchor is not None and self.anchor.running:
                turns.append(self.anchor)
            self._rng.shuffle(turns)
            for position, run in enumerate(turns):
                own = place if run is self.anchor else len(run.record.done)
                self._guard(run, partial(self._turn, run, position, own))
            self._rounds.end()

    def _guard(self, run: CellRun, action: Callable[[], None]) -> None:
        """A cell fails alone."""
        if run.cause is not None:
            return
        try:
            action()
        except WorkerError as error:
            run.fail(error.cause)
            self._watcher.note(f"{run.cell.label}: failed: {error.cause.message}")
            run.close_worker()

    def _load(self, run: CellRun) -> None:
        self._watcher.step(run, LOADING)
        run.open()
        for judge in self._judges[run.cell.model]:
            if judge.wants(run):
                self._watcher.step(run, judge.doing)
                judge.judge(run)
        self._watcher.step(run, WARMING_UP)
        run.warm_up(
            self._protocol.warm_up.min_s,
            self._protocol.warm_up.max_s,
            self._protocol.warm_up.requests,
            self._protocol.warm_up.steady,
        )
        run.pause()

    def _settle_requests(self, runs: Sequence[CellRun]) -> None:
        """Requests of a block: the same for all cells of the group, so that they do equal work."""
        fixed = self._protocol.requests_per_block
        runs_of_record = self.runs if self.anchor is None else (self.anchor, *self.runs)
        known = (run.record.requests_per_block for run in runs_of_record)
        settled = next((count for count in known if count is not None), None)
        if fixed is None and settled is None:
            fastest_s = min((run.warmup_mean_s for run in runs), default=1.0)
            needed = math.ceil(self._protocol.block_s / max(fastest_s, 1e-6))
            settled = min(MOST_REQUESTS, max(1, needed))
        for run in runs:
            run.record.requests_per_block = fixed or settled

    def _turn(self, run: CellRun, position: int, place: int) -> None:
        """One block of one cell, repeated if somebody else was using the machine."""
        for _ in range(1 + self._protocol.repeat_contended):
            waited_s, flags = self._gate.wait()
            dither_s = self._rng.uniform(0.0, self._dither_s)
            run.resume(self._lead_s + dither_s + self._accountant.margins.before_s)
            number, anchors = run.record.blocks, run is self.anchor
            turn = Turn(number, place, self._rounds.number, position, waited_s, dither_s, flags, anchors)
            try:
                contended = run.run_block(turn, self._protocol.contended)
            finally:
                run.pause()
            self._watcher.block(run)
            if not contended:
                break


def take_legs(groups: Sequence[GroupRun], begin: Callable[[GroupRun], None], end: Callable[[GroupRun], None]) -> None:
    """Leg after leg of each group in turn, until every cell is done or has failed.

    So the processes of a cell lie as far apart as the run is long: what changes on a machine within
    minutes is between them, and in the interval. ``begin`` is called before a group's first leg,
    ``end`` after its last. A group's anchor has been in its own group before.
    """
    waiting = list(groups)
    begun: set[int] = set()
    while waiting:
        for group in list(waiting):
            if id(group) not in begun:
                begun.add(id(group))
                begin(group)
            if group.unfinished():
                group.leg()
            if not group.unfinished():
                end(group)
                waiting.remove(group)
