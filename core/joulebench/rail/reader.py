"""The reader of a virtual sensor under calibration. Loaded from its file, as every reader is."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from joulebench.rail import instrument


class VirtualReader:
    """Reads a virtual sensor at the present moment of its own clock."""

    def __init__(self, read: Callable[[], int]) -> None:
        self._read = read

    def read(self) -> Sequence[int | None]:
        """The one item."""
        return [self._read()]


def virtual_reader(argument: str) -> VirtualReader:
    """The reader of a sensor that is being calibrated."""
    return VirtualReader(instrument.readable[argument])
