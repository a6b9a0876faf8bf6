"""The virtual sensor in real time. Standard library only: the sampler and the worker import it.

The same sums as in :mod:`joulebench.rail.power`, written again because this module is loaded by
itself, without joulebench; tests/plugins/test_rail_probe.py holds the two together. Readers of
one argument agree in every process: all is a function of the monotonic clock and the seed.
"""

from __future__ import annotations

import json
import math
import random
import time
from collections.abc import Sequence

_MASK = (1 << 64) - 1


def uniform(seed: int, index: int) -> float:
    """A number in [0, 1) that depends on both alone (the mixing function of SplitMix64)."""
    z = (seed * 0x9E3779B97F4A7C15 + (index + 1) * 0xD1342543DE82EF95) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return ((z ^ (z >> 31)) >> 11) / (1 << 53)


class NoisePath:
    """Ornstein–Uhlenbeck noise, level within each grid step; grows as far as it is asked for."""

    def __init__(self, sd_w: float, correlation_s: float, grid_s: float, seed: int) -> None:
        self._grid_s = grid_s
        self._keep = math.exp(-grid_s / correlation_s)
        self._fresh_w = sd_w * math.sqrt(1 - self._keep**2)
        self._random = random.Random(seed)  # noqa: S311 - a simulation, no secret
        self._sums_j = [0.0]
        self._levels_w = [self._random.gauss(0.0, sd_w)]

    def energy_j(self, t_s: float) -> float:
        """Energy from zero to ``t_s``."""
        place = t_s / self._grid_s
        index = int(place)
        sums, levels = self._sums_j, self._levels_w
        while len(sums) <= index:
            sums.append(sums[-1] + levels[-1] * self._grid_s)
            levels.append(levels[-1] * self._keep + self._random.gauss(0.0, self._fresh_w))
        return sums[index] + levels[index] * (place - index) * self._grid_s


class RailReader:
    """A counter in µJ or a gauge in mW; the argument is JSON (``reader_argument``)."""

    def __init__(self, argument: str) -> None:
        self._facts = json.loads(argument)
        self._noise = [NoisePath(*noise) for noise in self._facts["noise"]]

    def energy_j(self, t_s: float) -> float:
        """Energy of the rail from its zero to ``t_s``."""
        facts, total = self._facts, 0.0
        for start_s, end_s, from_w, to_w in facts["levels"]:
            within_s = (t_s if end_s is None else min(t_s, end_s)) - start_s
            if within_s > 0:
                slope = 0.0 if end_s is None else (to_w - from_w) / (end_s - start_s)
                total += within_s * (from_w + slope * within_s / 2)
        for power_w, period_s, on_s, phase_s in facts["pulses"]:
            for at_s, sign in ((t_s, 1), (0.0, -1)):
                whole, rest = divmod(at_s - phase_s, period_s)
                total += sign * power_w * (whole * on_s + min(rest, on_s))
        for w_per_s, start_s in facts["drifts"]:
            total += w_per_s * max(0.0, t_s - start_s) ** 2 / 2
        return total + sum(noise.energy_j(t_s) for noise in self._noise)

    def _updated_s(self, t_s: float) -> float:
        """Time of the newest update at ``t_s``; 0 before the first."""
        facts = self._facts
        period_s, seed = facts["period_s"], facts["seed"]
        index = math.floor((t_s - facts["phase_s"]) / period_s)
        while index >= 0:
            at_s = facts["phase_s"] + index * period_s
            if facts["jitter"]:
                at_s += facts["jitter"] * period_s * uniform(seed, 2 * index)
            stale = facts["stale_share"]
            if at_s <= t_s and not (stale and uniform(seed, 2 * index + 1) < stale):
                return float(at_s)
            index -= 1
        return 0.0

    def at(self, t_s: float) -> int:
        """The raw count that a read at ``t_s`` after zero sees."""
        facts = self._facts
        at_s = self._updated_s(t_s)
        if facts["kind"] == "gauge":
            end_s = at_s - facts["delay_s"]
            start_s = max(0.0, end_s - facts["averaging_s"])
            if end_s <= start_s:
                return 0
            mean_w = (self.energy_j(end_s) - self.energy_j(start_s)) / (end_s - start_s)
            return int(round(mean_w / 1e-3))  # noqa: RUF046 - mypy takes JSON's numbers for Any
        quantum = int(facts["quantum"])
        counts = int(self.energy_j(at_s) / (1e-6 * quantum)) * quantum
        wraps_at = facts["wraps_at"]
        return counts if wraps_at is None else counts % int(wraps_at)

    def read(self) -> Sequence[int | None]:
        """The sensor now."""
        return (self.at(max(0.0, (time.perf_counter_ns() - self._facts["zero_ns"]) * 1e-9)),)
