"""How a cell's working power wanders: from block to block, for longer, and from process to process."""

from __future__ import annotations

import math
import random

from joulebench.rail.scenarios import Work

#: Correlation times of the parts of 1/f noise, in blocks: equal strength in each step of four.
_OCTAVES = (1.0, 4.0, 16.0, 64.0, 256.0)
#: Student's t with three degrees of freedom has this standard deviation.
_T3_SD = math.sqrt(3.0)


class _Remembering:
    """A series of standard deviation 1 that forgets itself exponentially."""

    def __init__(self, source: random.Random) -> None:
        self._random = source
        self._value = source.gauss(0.0, 1.0)

    def after(self, keep: float) -> float:
        """The next value, of which the last one is a share ``keep``."""
        self._value = keep * self._value + self._random.gauss(0.0, math.sqrt(1 - keep * keep))
        return self._value


class Wandering:
    """The factor on a cell's working power, of mean 1."""

    def __init__(self, work: Work, source: random.Random) -> None:
        self._work = work
        self._random = source
        self._offset = 0.0
        self._scatter = _Remembering(source)
        self._before_s: float | None = None
        self._octaves = [_Remembering(source) for _ in _OCTAVES] if work.pink_noise else []
        self._state = source.choice((-1.0, 1.0))

    def begin_process(self, now_s: float) -> None:
        """Each process has an offset of its own."""
        self._offset = self._random.gauss(0.0, self._work.process_noise)

    def factor(self, now_s: float) -> float:
        """The factor of the next block."""
        work = self._work
        value = 1 + self._offset + work.noise * self._of_block(now_s)
        if self._octaves:
            parts = (part.after(math.exp(-1 / blocks)) for part, blocks in zip(self._octaves, _OCTAVES, strict=True))
            value += work.pink_noise * math.fsum(parts) / math.sqrt(len(_OCTAVES))
        if work.states:
            if self._random.random() < 1 / work.state_blocks:
                self._state = -self._state
            value += work.states * self._state
        return value

    def _of_block(self, now_s: float) -> float:
        work = self._work
        if work.heavy_tails:
            chi_square = math.fsum(self._random.gauss(0.0, 1.0) ** 2 for _ in range(3))
            return self._random.gauss(0.0, 1.0) / math.sqrt(chi_square / 3) / _T3_SD
        before_s, self._before_s = self._before_s, now_s
        passed_s = math.inf if before_s is None else now_s - before_s
        return self._scatter.after(math.exp(-passed_s / work.correlation_s) if work.correlation_s else 0.0)
