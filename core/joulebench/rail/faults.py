"""Counters that wrap, restart and skip updates: does the meter ever state a wrong energy?

Windows go through the accountant of a run, made of a calibration as there. Each has a power, a counter and readings of
its own, drawn at random, and a truth that is power times duration. Half of the windows suffer a
restart of the counter. An energy may differ from the truth by what late edges explain: the update
period and up to three skipped updates at each edge, and the quantum. More than that, and it is wrong.

One fault cannot be seen in the readings: a counter that restarts so shortly before its wrap that
the restart looks like the wrap. Then the energy is off by no more than the domain's maximum
power over the time between two readings (:mod:`joulebench.meter.energy`); such windows are counted
by themselves, and are wrong beyond that bound.
"""

from __future__ import annotations

import functools
import itertools
import math
import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from joulebench.meter.energy import MOST_POWER_W, Read, Trace
from joulebench.meter.live.calibration import SensorCalibration
from joulebench.meter.timing import FEWEST_GAPS, UpdateTiming
from joulebench.meter.windows import TOTAL, Accountant, BlockWindows, Span
from joulebench.protocol import Edge
from joulebench.rail.instrument import accountant_of, channel_of
from joulebench.rail.scenarios import Sensor

#: Updates that a counter may skip in a row (the meter allows for a step of four periods).
_SKIPS: Final = 3
_TABLE: Final = 4096
#: The most that the meter believes of any domain; its counters' ranges are in proportion.
_MAX_POWER_W: Final = MOST_POWER_W
_RANGE_S: Final = (0.1, 1.5)
_RANGES: Final = 64
#: Steps of the power that calibration has seen, up to that of the window: an idle machine's is far below it.
_POWERS: Final = 12
_SCALE_J: Final = 1e-6
#: The meter leaves out readings so near to an edge, so that its steps are longer by as much.
_GUARD_S: Final = 0.01


@dataclass(slots=True)
class FaultStudy:
    """What became of the windows; ``refused`` by flag."""

    windows: int = 0
    stated: int = 0
    wrong: int = 0
    hidden_restarts: int = 0
    wraps: int = 0
    restarts: int = 0
    refused: dict[str, int] = field(default_factory=dict)

    def refuse(self, flags: Iterable[str], times: int = 1) -> None:
        """Count windows without an energy."""
        for flag in flags:
            self.refused[flag] = self.refused.get(flag, 0) + times

    def add(self, other: FaultStudy) -> None:
        """Count another part of the study."""
        self.windows += other.windows
        self.stated += other.stated
        self.wrong += other.wrong
        self.hidden_restarts += other.hidden_restarts
        self.wraps += other.wraps
        self.restarts += other.restarts
        for flag, times in other.refused.items():
            self.refuse([flag], times)


@functools.lru_cache(maxsize=4 * _RANGES * _POWERS)
def _accountant(period_s: float, quantum_j: float, wraps_at: int, seen_w: float) -> Accountant:
    """As a run has it after a calibration of this regular counter, while the machine drew ``seen_w`` at most."""
    sensor = Sensor(period_s=period_s, quantum_j=quantum_j, wraps_at_j=wraps_at * _SCALE_J)
    calibration = SensorCalibration(
        channel=channel_of(sensor).path,
        reads=100 * FEWEST_GAPS,
        changes=FEWEST_GAPS,
        continuous=False,
        period_s=period_s,
        period_low_s=period_s,
        period_high_s=period_s,
        quantum=quantum_j,
        read_cost_s=None,
        timing=UpdateTiming.of_gaps([period_s] * FEWEST_GAPS),
        watched_s=period_s * FEWEST_GAPS,
        declared_period_s=sensor.period_s,
        largest_power_w=seen_w,
    )
    return accountant_of(sensor, calibration)


class _Windows:
    """Random windows of one stream of random numbers."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(f"faults/{seed}")  # noqa: S311 - a simulation
        self._skipped = self._skips()

    def _skips(self) -> list[int]:
        """For each update, how many back the last one lies that was not left out."""
        back, skipped = 0, []
        for _ in range(_TABLE):
            back = back + 1 if back < _SKIPS and self._random.random() < 0.05 else 0
            skipped.append(back)
        skipped[0] = 0
        return skipped

    def one(self, study: FaultStudy) -> None:
        """Draw a window, let the meter judge it, and count what came of it."""
        uniform = self._random.random
        period_s = 0.001 if uniform() < 0.5 else 0.02
        power_w = _MAX_POWER_W * uniform()
        shortest_s, longest_s = _RANGE_S
        wraps_at = int(
            _MAX_POWER_W * (shortest_s + (longest_s - shortest_s) * int(_RANGES * uniform()) / _RANGES) / _SCALE_J
        )
        quantum = 61 if uniform() < 0.5 else 1000
        start = int(wraps_at * uniform())
        offset = int(_TABLE * uniform())
        phase_s = period_s * uniform()
        end_s = 20 * period_s + 8.0 * uniform() ** 2
        reads = 1 + int(uniform() * 12)
        gap_s = end_s / reads
        restart_s = end_s * uniform() if uniform() < 0.5 else None
        skipped = self._skipped
        before_j = power_w * 1.0

        def read(t_s: float) -> int:
            place = int((t_s + 1.0 - phase_s) / period_s)
            at_s = (place - skipped[(place + offset) % _TABLE]) * period_s + phase_s - 1.0
            if restart_s is not None and t_s >= restart_s:
                joules = power_w * max(0.0, at_s - restart_s)
                return int(joules / _SCALE_J) // quantum * quantum % wraps_at
            joules = before_j + power_w * at_s
            return (start + int(joules / _SCALE_J) // quantum * quantum) % wraps_at

        times = [gap_s * i for i in range(reads + 1)]
        raw = [read(t) for t in times]
        stamps = [round(t * 1e9) for t in times]
        first, last = (stamps[0], raw[0]), (stamps[-1], raw[-1])
        inner = Trace(stamps[1:-1], raw[1:-1])
        seen_w = _MAX_POWER_W * math.ceil(_POWERS * uniform() * power_w / _MAX_POWER_W) / _POWERS
        accountant = _accountant(period_s, quantum * _SCALE_J, wraps_at, seen_w)
        self._judge(study, (first, last), inner, accountant, power_w, restart_s is not None)

    @staticmethod
    def _judge(
        study: FaultStudy,
        edges: tuple[Read, Read],
        inner: Trace,
        accountant: Accountant,
        power_w: float,
        restarts: bool,
    ) -> None:
        start, end = (Edge(t_ns, TOTAL, (raw,)) for t_ns, raw in edges)
        windows = BlockWindows(start.t_ns, end.t_ns, {TOTAL: (Span(start, end),)})
        energy, spec = accountant.block_energies(windows, {0: inner})[0].energy, accountant.spec(0)
        study.windows += 1
        study.restarts += restarts
        values = [edges[0][1], *inner.raw, edges[1][1]]
        study.wraps += not restarts and any(after < before for before, after in itertools.pairwise(values))
        if energy.gross_j is None:
            study.refuse(energy.flags)
            return
        study.stated += 1
        duration_s = (edges[1][0] - edges[0][0]) * 1e-9
        error_j = abs(energy.gross_j - power_w * duration_s)
        late_s = (1 + _SKIPS) * (spec.update_period_s or 0.0)
        late_j = power_w * late_s + 2 * (spec.resolution or 0.0)
        if error_j <= late_j:
            return
        gap_s = duration_s / (len(inner.raw) + 1)
        if restarts and error_j <= late_j + _MAX_POWER_W * (gap_s + _GUARD_S + late_s):
            study.hidden_restarts += 1
        else:
            study.wrong += 1


def fault_study(windows: int, seed: int) -> FaultStudy:
    """Judge ``windows`` random windows; the same ``seed`` gives the same windows."""
    study, drawn = FaultStudy(), _Windows(seed)
    for _ in range(windows):
        drawn.one(study)
    return study
