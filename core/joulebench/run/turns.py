"""Cells that take turns: loaded together, measured block by block in random order.

Drift of the machine then hits all cells alike, and those not being measured are stopped, so that
no thread of one cell stands in another's joules.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final, Protocol

from joulebench.api import OptionValue
from joulebench.meter.uncertainty import LOOKS
from joulebench.meter.windows import Accountant
from joulebench.run.cell import MOST_REQUESTS, CellRun
from joulebench.run.judging import Judge
from joulebench.run.record import Turn
from joulebench.sensors.gate import ThermalGate, Thermometer
from joulebench.sensors.idle import Baseline, measure_idle
from joulebench.worker.process import WorkerError

#: Dither where no update period is known: none is needed, and this costs little.
DEFAULT_DITHER_S: Final = 0.001


class Watcher(Protocol):
    """Who is told how a run goes on (the command line's progress)."""

    def say(self, text: str) -> None:
        """A line of news."""

    def step(self, cell: CellRun, doing: str) -> None:
        """What is being done with a cell now."""

    def block(self, cell: CellRun) -> None:
        """A block has been measured."""


class ProtocolNumbers:
    """The numbers of the measurement protocol, by name and type."""

    def __init__(self, values: Mapping[str, OptionValue]) -> None:
        self._values = values

    def number(self, name: str) -> float:
        """A number."""
        return float(self._values[name])

    def count(self, name: str) -> int:
        """A whole number."""
        return int(self._values[name])

    def optional_count(self, name: str) -> int | None:
        """A whole number that may be unset."""
        return int(self._values[name]) if name in self._values else None

    def looks(self) -> list[int]:
        """Numbers of blocks at which the half-width is looked at, within the profile's bounds."""
        first, last = self.count("min_blocks"), self.count("max_blocks")
        between = [look for look in LOOKS if first < look < last]
        return [first, *between, last] if last > first else [first]


class GroupRun:
    """A group of cells from the first idle baseline to the last."""

    def __init__(
        self,
        runs: Sequence[CellRun],
        protocol: ProtocolNumbers,
        accountant: Accountant,
        watcher: Watcher,
        judges: Mapping[str, Sequence[Judge]],
        rng: random.Random,
    ) -> None:
        self._runs = list(runs)
        self._protocol = protocol
        self._accountant = accountant
        self._watcher = watcher
        self._judges = judges
        self._rng = rng
        # A resumed cell's rounds go on: blocks of one number were measured side by side.
        self._round = max((run.record.next_round for run in self._runs), default=0)
        self._gate = ThermalGate(
            Thermometer(accountant.channels),
            protocol.number("gate_c"),
            protocol.number("gate_c_per_10_s"),
            protocol.number("gate_timeout_s"),
        )
        periods = [accountant.spec(index).update_period_s or DEFAULT_DITHER_S for index in accountant.indices]
        self._dither_s = max(periods, default=0.0)
        # What a late counter lends a block from before its start is then all idle power, which
        # the accountant can make good; the dither comes on top of it.
        self._lead_s = accountant.slowest_counter_s

    def run(self) -> None:
        """Measure until every cell is done or has failed."""
        self._baseline("before")
        while waiting := [run for run in self._runs if self._wants_more(run)]:
            targets = {id(run): self._next_look(run) for run in waiting}
            for process in range(self._protocol.count("processes")):
                left = self._protocol.count("processes") - process
                self._process(waiting, targets, left)
        self._baseline("after")

    def _baseline(self, when: str) -> None:
        if self._accountant.indices and self._protocol.number("idle_s") > 0:
            self._watcher.say(f"idle baseline {when} the blocks")
        found: Baseline | None = measure_idle(self._accountant, self._protocol.number("idle_s"), when)
        if found is not None:
            for run in self._runs:
                run.record.baselines.append(found)

    # -- stopping --------------------------------------------------------------------------

    def _next_look(self, run: CellRun) -> int:
        looks = self._protocol.looks()
        return next((look for look in looks if look > len(run.record.measured)), looks[-1])

    def _over_budget(self, run: CellRun) -> bool:
        measured_s = math.fsum(each.seconds for each in run.record.measured)
        return measured_s >= self._protocol.number("time_budget_s")

    def _whole_list(self, run: CellRun) -> int | None:
        """Blocks of the passes that the protocol asks for; ``None`` where it asks for none.

        How long the list is, the first worker tells.
        """
        passes = self._protocol.optional_count("passes")
        if passes is None or run.list_length is None:
            return None
        return passes * math.ceil(run.list_length / (run.record.requests_per_block or 1))

    def _passes_left(self, run: CellRun) -> bool:
        """Whether passes were asked for, and are not done."""
        whole, done = self._whole_list(run), len(run.record.measured)
        if whole is not None and done >= whole:
            return False
        if done and self._over_budget(run):
            run.record.flags["time_budget"] = None
            return False
        return True

    def _wants_more(self, run: CellRun) -> bool:
        """Whether the cell needs another pass of processes."""
        if run.cause is not None:
            return False
        if self._protocol.optional_count("passes") is not None:
            return self._passes_left(run)
        done = len(run.record.measured)
        looks = self._protocol.looks()
        if done < looks[0]:
            if done and self._over_budget(run):
                run.record.flags["time_budget"] = None
                return False
            return True
        if run.record.simulated:  # it would say the same again
            return False
        relative = run.record.interval().relative_half_width
        if relative is not None and relative <= self._protocol.number("target"):
            return False
        if done >= looks[-1]:
            run.record.flags["target_not_reached"] = None
            return False
        if self._over_budget(run):
            run.record.flags["time_budget"] = None
            return False
        return True

    # -- one process of every cell -----------------------------------------------------------

    def _process(self, waiting: list[CellRun], targets: dict[int, int], left: int) -> None:
        """Load each cell once, take turns for its share of the blocks, unload.

        Whatever ends the run itself (Ctrl-C) leaves the workers to :meth:`CellRun.leave`: one in
        the middle of a block would answer nothing else before its end.
        """
        for run in waiting:
            self._guard(run, partial(self._load, run))
        self._settle_requests([run for run in waiting if run.running])
        owed = {
            id(run): math.ceil(max(0, self._target(run, targets) - len(run.record.measured)) / left) for run in waiting
        }
        while turns := [run for run in waiting if run.running and self._owes(run, owed)]:
            self._rng.shuffle(turns)
            for position, run in enumerate(turns):
                self._guard(run, partial(self._turn, run, position))
                owed[id(run)] -= 1
            self._round += 1
        for run in waiting:
            run.close_worker()

    def _target(self, run: CellRun, targets: Mapping[int, int]) -> int:
        whole = self._whole_list(run)
        return targets[id(run)] if whole is None else whole

    def _owes(self, run: CellRun, owed: dict[int, int]) -> bool:
        return owed[id(run)] > 0 and not (run.record.measured and self._over_budget(run))

    def _guard(self, run: CellRun, action: Callable[[], None]) -> None:
        """A cell fails alone."""
        if run.cause is not None:
            return
        try:
            action()
        except WorkerError as error:
            run.fail(error.cause)
            self._watcher.say(f"{run.cell.label}: failed: {error.cause.message}")
            run.close_worker()

    def _load(self, run: CellRun) -> None:
        self._watcher.step(run, "loading")
        run.open()
        for judge in self._judges[run.cell.model]:
            if judge.wants(run):
                self._watcher.step(run, judge.doing)
                judge.judge(run)
        self._watcher.step(run, "warming up")
        run.warm_up(
            self._protocol.number("warmup_min_s"),
            self._protocol.number("warmup_max_s"),
            self._protocol.count("warmup_requests"),
            self._protocol.number("steady"),
        )
        run.pause()

    def _settle_requests(self, runs: Sequence[CellRun]) -> None:
        """Requests of a block: the same for all cells of the group, so that they do equal work."""
        fixed = self._protocol.optional_count("requests_per_block")
        known = (run.record.requests_per_block for run in self._runs)
        settled = next((count for count in known if count is not None), None)
        if fixed is None and settled is None:
            fastest_s = min((run.warmup_mean_s for run in runs), default=1.0)
            needed = math.ceil(self._protocol.number("block_s") / max(fastest_s, 1e-6))
            settled = min(MOST_REQUESTS, max(1, needed))
        for run in runs:
            run.record.requests_per_block = fixed or settled

    def _turn(self, run: CellRun, position: int) -> None:
        """One block of one cell, repeated if somebody else was using the machine."""
        for _ in range(1 + self._protocol.count("repeat_contended")):
            waited_s, flags = self._gate.wait()
            dither_s = self._rng.uniform(0.0, self._dither_s)
            run.resume(self._lead_s + dither_s + self._accountant.margins.before_s)
            done = len(run.record.measured)
            turn = Turn(done, self._round, position, waited_s, dither_s, flags)
            try:
                contended = run.run_block(turn, self._protocol.number("contended"))
            finally:
                run.pause()
            self._watcher.block(run)
            if not contended:
                break
