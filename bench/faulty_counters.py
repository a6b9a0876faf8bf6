"""What ``measure`` says over counters that freeze, lag, stutter, wrap fast or carry bursts of load.

In virtual time and by seed: a load of known power drives a counter that is updated as the scenario has
it; calibration sees its changes for a second, the sampler reads it every 10 ms or so, and windows of
random length at random moments (or beginning and ending with the load) are judged by the same functions
as in ``joulebench.measure()``. Told are the energies that were stated, and how many of their 95 %
intervals and worst cases hold the truth.
"""

from __future__ import annotations

import argparse
import random
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise

from joulebench.meter.counters import single_counter_window
from joulebench.meter.energy import MOST_POWER_W, Read, SensorSpec, Trace, single_window_interval
from joulebench.meter.timing import UpdateTiming

#: A step of the load's energy curve, the length of one life of a counter, and where its windows lie, in s.
STEP_S, LIFE_S, FROM_S = 0.0005, 12.0, 2.0
TICK_S, SHORTEST_S = 0.01, 0.1
COUNT_J = 61e-6
CALIBRATED_S, ENOUGH_CHANGES = 1.0, 40
WINDOWS_A_LIFE = 10

Power = Callable[[float], float]


@dataclass(frozen=True)
class Scenario:
    """A counter and its load. ``low_s`` … ``high_s`` between updates, some of them skipped."""

    name: str
    idle_w: float
    load_w: float
    burst_s: float
    low_s: float = 0.001
    high_s: float = 0.001
    skipped: float = 0.0
    range_j: float = 262_143.0
    frozen: str = ""
    aligned: bool = False
    calibrated: bool = True


SCENARIOS = (
    Scenario("steady, 1 ms", 40.0, 40.0, 1.0),
    Scenario("load begins and ends with the window, 20 ms", 5.0, 50.0, 1.0, 0.018, 0.022, aligned=True),
    Scenario("load begins and ends with the window, 50-60 ms", 5.0, 50.0, 1.0, 0.05, 0.06, aligned=True),
    Scenario("bursts 15/95 W, 1 ms", 15.0, 95.0, 0.1),
    Scenario("bursts 2/150 W, 1 ms", 2.0, 150.0, 0.1),
    Scenario("bursts 2/150 W of 20 ms, 1 ms", 2.0, 150.0, 0.02),
    Scenario("slow, steady, 50-60 ms", 40.0, 40.0, 1.0, 0.05, 0.06),
    Scenario("slow, bursts 15/95 W, 50-60 ms", 15.0, 95.0, 0.2, 0.05, 0.06),
    Scenario("slow, bursts 2/150 W, 50-60 ms", 2.0, 150.0, 0.2, 0.05, 0.06),
    Scenario("slow, declared 1 ms, uncalibrated", 15.0, 95.0, 0.2, 0.05, 0.06, calibrated=False),
    Scenario("10 % skipped, 20 ms", 5.0, 50.0, 0.5, 0.019, 0.021, skipped=0.1),
    Scenario("jitter, 5-35 ms", 5.0, 50.0, 0.5, 0.005, 0.035),
    Scenario("wraps each 0.5 s, 1 ms", 120.0, 120.0, 1.0, range_j=60.0),
    Scenario("wraps each 0.5 s, bursts, 1 ms", 15.0, 120.0, 0.1, range_j=30.0),
    Scenario("frozen", 40.0, 40.0, 1.0, frozen="always"),
    Scenario("frozen, uncalibrated", 40.0, 40.0, 1.0, frozen="always", calibrated=False),
    Scenario("stops inside the window, 1 ms", 40.0, 40.0, 1.0, frozen="half-way"),
)


class Life:
    """One counter and its load over some seconds."""

    def __init__(self, scenario: Scenario, source: random.Random) -> None:
        self.scenario, self._source = scenario, source
        self.windows = self._windows()
        self._energy_j = self._energy()
        self._stop_s = LIFE_S
        if scenario.frozen == "always":
            self._stop_s = 0.0
        self.updates_s = self._updates()
        self._start = int(source.random() * scenario.range_j / COUNT_J)

    def _windows(self) -> list[tuple[float, float]]:
        period_s, uniform = self.scenario.high_s, self._source.uniform
        windows = []
        for _ in range(1 if self.scenario.aligned else WINDOWS_A_LIFE):
            length_s = min(max(SHORTEST_S, uniform(21, 150) * period_s), LIFE_S - FROM_S - 1)
            start_s = uniform(FROM_S, LIFE_S - length_s - 0.5)
            windows.append((start_s, start_s + length_s))
        return windows

    def _energy(self) -> list[float]:
        scenario, joules, energy = self.scenario, 0.0, []
        on, until_s = False, 0.0
        for number in range(int(LIFE_S / STEP_S) + 2):
            at_s = number * STEP_S
            energy.append(joules)
            if scenario.aligned:
                on = self.windows[0][0] <= at_s < self.windows[0][1]
            elif at_s >= until_s:
                on = not on
                until_s = at_s + self._source.expovariate(1 / (scenario.burst_s * (1 if on else 3)))
            joules += (scenario.load_w if on else scenario.idle_w) * STEP_S
        return energy

    def _updates(self) -> list[float]:
        at_s, updates = 0.0, [0.0]
        while at_s < LIFE_S:
            at_s += self._source.uniform(self.scenario.low_s, self.scenario.high_s)
            if self._source.random() >= self.scenario.skipped:
                updates.append(at_s)
        return updates

    def true_j(self, at_s: float) -> float:
        """Energy of the load up to a moment."""
        place = int(at_s / STEP_S)
        before, after = self._energy_j[place], self._energy_j[place + 1]
        return before + (after - before) * (at_s / STEP_S - place)

    def stop_at(self, at_s: float) -> None:
        """Let the counter stand still from a moment on."""
        self._stop_s = at_s

    def shown(self, at_s: float) -> int:
        """What the counter shows: counts as of its last update."""
        updated_s = self.updates_s[bisect_right(self.updates_s, min(at_s, self._stop_s)) - 1]
        return (self._start + int(self.true_j(updated_s) / COUNT_J)) % self.wraps_at

    @property
    def wraps_at(self) -> int:
        """The counter's range."""
        return int(self.scenario.range_j / COUNT_J)

    def timing(self) -> UpdateTiming | None:
        """What calibration sees before any window."""
        end_s = min(CALIBRATED_S, self._stop_s)
        changes = [at_s for at_s in self.updates_s if at_s < end_s][: ENOUGH_CHANGES + 1]
        return UpdateTiming.of_gaps([b - a for a, b in pairwise(changes)])

    def largest_power_w(self) -> float:
        """The most power between two updates that calibration sees."""
        updates = [at_s for at_s in self.updates_s if at_s < CALIBRATED_S][: ENOUGH_CHANGES + 1]
        return max((self.true_j(b) - self.true_j(a)) / (b - a) for a, b in pairwise(updates))

    def trace(self, start_s: float, end_s: float, tick_s: float) -> Trace:
        """The sampler's ticks from a second before a window to its end."""
        ticks, at_s = [], start_s - 1.0
        while at_s < end_s:
            ticks.append(at_s)
            late_s = self._source.expovariate(1 / 0.0002) + (0.005 if self._source.random() < 0.01 else 0.0)
            at_s += tick_s + min(late_s, 0.9 * tick_s) - 0.0002
        return Trace([round(t * 1e9) for t in ticks], [self.shown(t) for t in ticks])


@dataclass
class Tally:
    """What became of a scenario's windows."""

    windows: int = 0
    stated: int = 0
    held: int = 0
    bounded: int = 0
    bias: float = 0.0
    flags: Counter[str] | None = None


def judge(scenario: Scenario, windows: int, seed: int) -> Tally:
    """Judge so many random windows of a scenario."""
    tally, source = Tally(flags=Counter()), random.Random(f"{scenario.name} {seed}")
    spec = SensorSpec(COUNT_J, 0.001, COUNT_J, max_power_w=MOST_POWER_W, period_verified=False)
    while tally.windows < windows:
        life = Life(scenario, source)
        timing = life.timing() if scenario.calibrated else None
        known = replace(spec if timing is None else spec.with_timing(timing), wraps_at=life.wraps_at)
        if timing is not None:
            known = replace(known, largest_power_w=life.largest_power_w())
        tick_s = min(TICK_S, max(0.001, scenario.range_j / MOST_POWER_W / 8))
        for start_s, end_s in life.windows:
            if scenario.frozen == "half-way":
                life.stop_at((start_s + end_s) / 2)
            _judge_one(tally, life, known, start_s, end_s, tick_s)
    return tally


def _judge_one(tally: Tally, life: Life, spec: SensorSpec, start_s: float, end_s: float, tick_s: float) -> None:
    start: Read = (round(start_s * 1e9), life.shown(start_s))
    end: Read = (round(end_s * 1e9), life.shown(end_s))
    window = single_counter_window(start, end, spec, life.trace(start_s, end_s, tick_s))
    interval = single_window_interval(window)
    truth = life.true_j(end_s) - life.true_j(start_s)
    tally.windows += 1
    assert tally.flags is not None
    if window.gross_j is None or interval is None or interval.low is None or interval.high is None:
        tally.flags.update(window.flags)
        return
    tally.stated += 1
    tally.held += interval.low <= truth <= interval.high
    tally.bounded += abs(window.gross_j - truth) <= (window.worst_j or 0.0)
    tally.bias += (window.gross_j - truth) / truth


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.faulty_counters")
    parser.add_argument("--windows", type=int, default=600, help="windows of each scenario")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    print(f"{'counter':<48} {'stated':>11} {'95 % holds':>10} {'at worst':>9} {'bias':>8}  null by", flush=True)
    for scenario in SCENARIOS:
        tally = judge(scenario, arguments.windows, arguments.seed)
        stated = tally.stated or 1
        shares = (
            f"{100 * tally.held / stated:9.1f}% {100 * tally.bounded / stated:8.1f}% {100 * tally.bias / stated:7.2f}%"
        )
        why = ", ".join(f"{flag} {count}" for flag, count in (tally.flags or {}).items())
        print(
            f"{scenario.name:<48} {tally.stated:5}/{tally.windows:<5} {shares if tally.stated else ' ' * 28}  {why}",
            flush=True,
        )


if __name__ == "__main__":
    main()
