"""Waiting for a quiet machine, in time that the test makes."""

from __future__ import annotations

from collections.abc import Callable

from joulebench.sensors.load import MachineLoad
from joulebench.sensors.quiet import LOOK_S, QUIET_S, QuietGate


class Machine(MachineLoad):
    """A machine whose other programs use ``others(t)`` cores; a second passes when it is slept for."""

    def __init__(self, others: Callable[[float], float]) -> None:
        self.now_s = 0.0
        self.spent_s: float | None = 0.0
        self._others = others
        self.said: list[str] = []

    def busy_s(self) -> float | None:
        return self.spent_s

    def sleep(self, seconds: float) -> None:
        assert self.spent_s is not None
        self.spent_s += self._others(self.now_s) * seconds
        self.now_s += seconds

    def wait(self, gate: QuietGate) -> bool:
        return gate.wait(self.said.append, self.sleep, lambda: self.now_s)


def test_a_quiet_machine_is_looked_at_and_not_waited_for() -> None:
    machine = Machine(lambda t: 0.01)
    assert machine.wait(QuietGate(machine, 0.05, 3600))
    assert machine.now_s == QUIET_S
    assert machine.said == []


def test_it_waits_until_the_others_have_ended_and_the_machine_stayed_quiet() -> None:
    machine = Machine(lambda t: 1.5 if t < 100 else 0.8 if 103 <= t < 104 else 0.0)
    assert machine.wait(QuietGate(machine, 0.05, 3600))
    assert 104 + QUIET_S <= machine.now_s <= 104 + QUIET_S + 2 * LOOK_S
    assert machine.said == ["waiting until the machine is quiet: other programs use 150% of a core"]


def test_a_machine_that_is_never_quiet_is_measured_at_last() -> None:
    machine = Machine(lambda t: 1.0)
    gate = QuietGate(machine, 0.05, 60)
    assert not machine.wait(gate)
    assert 60 <= machine.now_s <= 60 + LOOK_S
    assert "measuring all the same" in machine.said[-1]
    assert not machine.wait(gate)
    assert machine.now_s <= 60 + LOOK_S  # the time is that of all waits together


def test_where_the_load_cannot_be_read_it_says_so() -> None:
    machine = Machine(lambda t: 0.0)
    machine.spent_s = None
    assert not machine.wait(QuietGate(machine, 0.05, 60))
    assert machine.now_s == 0.0
    assert "cannot be read" in machine.said[0]
