"""Readers that the sampler process loads: nothing but the standard library."""

from __future__ import annotations

import fcntl
import os
import select
import time
from collections.abc import Sequence


class Gauge:
    """Always the same power, in milliwatts."""

    def __init__(self, argument: str) -> None:
        self._milliwatts = int(argument)

    def read(self) -> Sequence[int | None]:
        """One item."""
        return [self._milliwatts]


class Exits:
    """Takes the process that opens it down."""

    def __init__(self, argument: str) -> None:
        os._exit(5)


class Short:
    """Gives fewer items than its channels."""

    def __init__(self, argument: str) -> None:
        pass

    def read(self) -> Sequence[int | None]:
        """None at all."""
        return []


class Caching:
    """A counter of 20 W in mJ that asks its device every 20 ms at most, so that two readers disagree.

    Its device stands for one that serves a single reader: it is locked, and who opens it is logged. The
    argument is the path of that log.
    """

    WATTS = 20.0
    PERIOD_NS = 20_000_000

    def __init__(self, argument: str) -> None:
        self._device = open(argument, "a", encoding="ascii")  # noqa: PTH123, SIM115  as long as the process
        fcntl.flock(self._device, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._device.write(f"{os.getpid()}\n")
        self._device.flush()
        self._asked_ns = 0
        self._millijoules = 0

    def read(self) -> Sequence[int | None]:
        """The counter as it was when the device was asked last."""
        now = time.perf_counter_ns()
        if now - self._asked_ns >= self.PERIOD_NS:
            self._asked_ns, self._millijoules = now, int(self.WATTS * now * 1e-6)
        return [self._millijoules]


class Line:
    """A counter in mJ behind a serial line that serves one reader: asked ``E?`` it says joules and when."""

    def __init__(self, argument: str) -> None:
        self._line = os.open(argument, os.O_RDWR | os.O_NOCTTY)
        fcntl.flock(self._line, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def read(self) -> Sequence[tuple[int, int] | None]:
        """The answer, with the moment of which it tells."""
        os.write(self._line, b"E?\n")
        answer = b""
        while not answer.endswith(b"\n"):
            if not select.select([self._line], [], [], 0.5)[0]:
                return [None]
            answer += os.read(self._line, 64)
        joules, t_ns = answer.split()
        return [(round(float(joules) * 1e3), int(t_ns))]
