"""Readers that the sampler process loads: nothing but the standard library."""

from __future__ import annotations

import os
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
