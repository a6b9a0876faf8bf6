"""The virtual power rail: a known power over virtual time, and sensors that watch it.

The rail's power is a sum of parts whose energy is known exactly, so a meter that reads a
virtual sensor can be compared with the truth. Nothing here sleeps or looks at a clock; all is
decided by the seed. Times are seconds from the rail's own zero, ``t_ns`` the same in ns.

``joulebench selftest --rail`` simulates the shipped scenarios (docs/rail.md) and prints how often
the 95 % interval held the truth.
"""

from __future__ import annotations

import math
import random
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

_NS: Final = 1e-9
_MASK: Final = (1 << 64) - 1


class Part(ABC):
    """One summand of a rail's power."""

    @abstractmethod
    def energy_since_zero_j(self, t_s: float) -> float:
        """∫ power from 0 to ``t_s`` (``t_s`` >= 0), in J, exactly."""


@dataclass(frozen=True, slots=True)
class Constant(Part):
    """The same power always."""

    power_w: float

    def energy_since_zero_j(self, t_s: float) -> float:
        """Power times time."""
        return self.power_w * t_s


@dataclass(frozen=True, slots=True)
class Line(Part):
    """Power on a straight line from ``from_w`` at ``start_s`` to ``to_w`` at ``end_s``; else none.

    Without an end both powers must be the same.
    """

    start_s: float
    end_s: float
    from_w: float
    to_w: float

    def energy_since_zero_j(self, t_s: float) -> float:
        """A trapezoid."""
        within_s = min(t_s, self.end_s) - self.start_s
        if within_s <= 0:
            return 0.0
        slope = (self.to_w - self.from_w) / (self.end_s - self.start_s)
        return within_s * (self.from_w + slope * within_s / 2)


@dataclass(frozen=True, slots=True)
class Ramp(Part):
    """Power 0 before ``start_s``, rising by ``slope_w_per_s`` until ``end_s``, then level.

    With ``start_s`` 0 and no end it is a drift.
    """

    start_s: float
    slope_w_per_s: float
    end_s: float = math.inf

    def energy_since_zero_j(self, t_s: float) -> float:
        """A triangle, and a rectangle after it."""
        if t_s <= self.start_s:
            return 0.0
        rising = min(t_s, self.end_s) - self.start_s
        level = max(0.0, t_s - self.end_s) if t_s > self.end_s else 0.0
        return self.slope_w_per_s * rising * (rising / 2 + level)


@dataclass(frozen=True, slots=True)
class Pulses(Part):
    """A pulse train: ``power_w`` for the first ``on_s`` of each ``period_s``, from ``phase_s``."""

    power_w: float
    period_s: float
    on_s: float
    phase_s: float = 0.0

    def _on_time(self, t_s: float) -> float:
        whole, rest = divmod(t_s - self.phase_s, self.period_s)
        return whole * self.on_s + min(rest, self.on_s)

    def energy_since_zero_j(self, t_s: float) -> float:
        """Whole pulses and what there is of the last."""
        return self.power_w * (self._on_time(t_s) - self._on_time(0.0))


class Noise(Part):
    """Ornstein–Uhlenbeck noise of zero mean, by its exact discretisation.

    It is level within each grid step, so its energy is exact; neighbours ``grid_s`` apart are
    correlated by exp(-grid_s/correlation_s). The grid should be finer than the correlation
    time. It starts in its
    stationary distribution.
    """

    def __init__(self, sd_w: float, correlation_s: float, grid_s: float, seed: int) -> None:
        self._grid_s = grid_s
        self._keep = math.exp(-grid_s / correlation_s)
        self._fresh = sd_w * math.sqrt(1 - self._keep**2)
        self._random = random.Random(seed)  # noqa: S311 - a simulation, no secret
        self._level_w = self._random.gauss(0.0, sd_w)
        #: Energy up to each grid point, and the level from there on.
        self._sums_j = [0.0]
        self._levels_w = [self._level_w]

    def energy_since_zero_j(self, t_s: float) -> float:
        """Whole grid steps and the part of the last; the path grows as far as it is asked for."""
        place = t_s / self._grid_s
        index = int(place)
        sums, levels = self._sums_j, self._levels_w
        while len(sums) <= index:
            sums.append(sums[-1] + levels[-1] * self._grid_s)
            levels.append(levels[-1] * self._keep + self._random.gauss(0.0, self._fresh))
        return sums[index] + levels[index] * (place - index) * self._grid_s


class Schedule(Part):
    """Power in spans of time that are added one after the other: the work of blocks."""

    def __init__(self) -> None:
        self._starts_s = [-math.inf]
        self._ends_s = [-math.inf]
        self._powers_w = [0.0]
        self._before_j = [0.0]
        self._sum_j = 0.0

    def add(self, start_s: float, end_s: float, power_w: float) -> None:
        """A span that starts no earlier than the last one ended."""
        if start_s < self._ends_s[-1] or end_s < start_s:
            raise ValueError("spans are added in order and do not overlap")
        self._starts_s.append(start_s)
        self._ends_s.append(end_s)
        self._powers_w.append(power_w)
        self._before_j.append(self._sum_j)
        self._sum_j += (end_s - start_s) * power_w

    def energy_since_zero_j(self, t_s: float) -> float:
        """Whole spans and what there is of the last."""
        i = bisect_right(self._starts_s, t_s) - 1
        if i == 0:
            return 0.0
        within = min(t_s, self._ends_s[i]) - self._starts_s[i]
        return self._before_j[i] + within * self._powers_w[i]


class Rail:
    """A power rail: the sum of its parts."""

    def __init__(self, parts: Iterable[Part]) -> None:
        self._parts: Sequence[Part] = tuple(parts)

    def energy_since_zero_j(self, t_s: float) -> float:
        """Energy from the rail's zero to ``t_s``, in J."""
        total = 0.0
        for part in self._parts:
            total += part.energy_since_zero_j(t_s)
        return total

    def energy_j(self, t0_s: float, t1_s: float) -> float:
        """The true energy of the window [t0, t1], in J."""
        return self.energy_since_zero_j(t1_s) - self.energy_since_zero_j(t0_s)

    def power_w(self, t0_s: float, t1_s: float) -> float:
        """The true mean power of the window, in W."""
        return self.energy_j(t0_s, t1_s) / (t1_s - t0_s)


def _uniform(seed: int, index: int) -> float:
    """A number in [0, 1) that depends on both alone (the mixing function of SplitMix64)."""
    z = (seed * 0x9E3779B97F4A7C15 + (index + 1) * 0xD1342543DE82EF95) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return ((z ^ (z >> 31)) >> 11) / (1 << 53)


@dataclass(frozen=True, slots=True)
class _Updates:
    """When a sensor renews its value: periodic, with jitter, and sometimes not at all."""

    period_s: float
    phase_s: float
    jitter: float
    stale_share: float
    seed: int

    def last_s(self, t_s: float) -> float:
        """Time of the newest update at ``t_s``; 0 before the first."""
        index = math.floor((t_s - self.phase_s) / self.period_s)
        while index >= 0:
            at_s = self.phase_s + index * self.period_s
            if self.jitter:
                at_s += self.jitter * self.period_s * _uniform(self.seed, 2 * index)
            skipped = self.stale_share and _uniform(self.seed, 2 * index + 1) < self.stale_share
            if at_s <= t_s and not skipped:
                return at_s
            index -= 1
        return 0.0


class Counter:
    """An energy counter on a rail.

    It is renewed each ``period_s`` (``jitter``: late by up to this share of a period;
    ``stale_share``: updates that are left out), in steps of ``quantum_counts`` raw counts of
    ``scale_j`` each, starts at ``start`` counts and at 0 after each of ``resets_s``, and begins
    again from 0 at ``wraps_at``.
    """

    def __init__(
        self,
        rail: Rail,
        *,
        period_s: float = 1e-3,
        scale_j: float = 1e-6,
        quantum_counts: int = 61,
        wraps_at: int | None = None,
        start: int = 0,
        phase_s: float = 0.0,
        jitter: float = 0.0,
        stale_share: float = 0.0,
        resets_s: Sequence[float] = (),
        seed: int = 0,
    ) -> None:
        self._rail = rail
        self._updates = _Updates(period_s, phase_s, jitter, stale_share, seed)
        self._scale_j, self._quantum = scale_j, quantum_counts
        self._wraps_at, self._start = wraps_at, start
        self._resets_s = sorted(resets_s)

    def read(self, t_ns: int) -> int:
        """The raw count that a read at ``t_ns`` sees."""
        t_s = t_ns * _NS
        at_s = self._updates.last_s(t_s)
        resets = bisect_right(self._resets_s, t_s)
        since_s = self._resets_s[resets - 1] if resets else 0.0
        start = 0 if resets else self._start
        energy_j = self._rail.energy_j(since_s, at_s) if at_s > since_s else 0.0
        counts = start + int(energy_j / (self._scale_j * self._quantum)) * self._quantum
        return counts if self._wraps_at is None else counts % self._wraps_at


class Gauge:
    """A power gauge on a rail: renewed each ``period_s`` with a mean over ``averaging_s``.

    The mean ends ``delay_s`` before the update. The defaults are those of NVIDIA's A100 and H100,
    which average 25 ms of each 100 ms (Yang, Adamek, Armour, arXiv 2312.02741).
    """

    def __init__(
        self,
        rail: Rail,
        *,
        period_s: float = 0.1,
        averaging_s: float = 0.025,
        delay_s: float = 0.0,
        scale_w: float = 1e-3,
        phase_s: float = 0.0,
        jitter: float = 0.0,
        stale_share: float = 0.0,
        seed: int = 0,
    ) -> None:
        self._rail = rail
        self._updates = _Updates(period_s, phase_s, jitter, stale_share, seed)
        self._averaging_s, self._delay_s, self._scale_w = averaging_s, delay_s, scale_w

    def read(self, t_ns: int) -> int:
        """The raw count (times ``scale_w`` in W) that a read at ``t_ns`` sees."""
        end_s = self._updates.last_s(t_ns * _NS) - self._delay_s
        start_s = max(0.0, end_s - self._averaging_s)
        if end_s <= start_s:
            return 0
        return round(self._rail.power_w(start_s, end_s) / self._scale_w)
