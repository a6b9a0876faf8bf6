"""Waiting until nobody else uses the machine."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from joulebench.sensors.load import MachineLoad

#: How often the gate looks, and for how long the machine must be quiet, in seconds.
LOOK_S: Final = 1.0
QUIET_S: Final = 10.0


@dataclass(slots=True)
class QuietGate:
    """Waits until other programs use less than ``share`` of one core for :data:`QUIET_S` together.

    It waits ``most_s`` at most over all of its waits, so that a run ends at last on a machine that is
    never left alone; its blocks are then flagged as they would be without the gate.
    """

    load: MachineLoad
    share: float
    most_s: float
    waited_s: float = 0.0

    def wait(
        self,
        say: Callable[[str], None],
        sleep: Callable[[float], None] = time.sleep,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> bool:
        """Whether the machine is quiet now. This process does nothing meanwhile."""
        start = quiet_since = clock_s()
        busy_s = self.load.busy_s()
        if busy_s is None:
            say("how busy the machine is cannot be read here: not waiting")
            return False
        told = False
        while clock_s() - quiet_since < QUIET_S:
            if self.waited_s + clock_s() - start >= self.most_s:
                self.waited_s += clock_s() - start
                say("the machine is still busy and the wait is over: measuring all the same")
                return False
            before = clock_s()
            sleep(LOOK_S)
            now_s, elapsed_s = self.load.busy_s() or busy_s, clock_s() - before
            others = (now_s - busy_s) / elapsed_s
            busy_s = now_s
            if others > self.share:
                quiet_since = clock_s()
                if not told:
                    say(f"waiting until the machine is quiet: other programs use {others:.0%} of a core")
                    told = True
        self.waited_s += clock_s() - start
        return True
