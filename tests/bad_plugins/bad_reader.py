"""Readers of the dishonest probes, loaded by the sampler: the standard library alone."""

from __future__ import annotations

import time
from collections.abc import Sequence


class Gauge:
    """Always the same number."""

    def __init__(self, argument: str) -> None:
        self._value = int(argument)

    def read(self) -> Sequence[int | None]:
        return [self._value]


class Counter:
    """Microjoules of so many microwatts; ``backward`` takes some back now and then."""

    def __init__(self, argument: str) -> None:
        kind, _, watts = argument.partition(":")
        self._kind, self._uw = kind, float(watts) * 1e6

    def read(self) -> Sequence[int | None]:
        now = time.perf_counter()
        if self._kind == "slow":
            time.sleep(0.5)
        if self._kind == "frozen":
            return [12345]
        jump = 5_000_000 if self._kind == "backward" and int(now * 4) % 2 else 0
        return [int(now * self._uw) - jump]
