"""Reads RAPL through ``pyRAPL.Sensor``. The sampler imports this module: pyRAPL and what it loads.

pyRAPL's import logs a warning to the root logger where pymongo is not installed, and so configures
that logger in the process that imports it; here it is kept from both.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence
from typing import Any, Final

FACTORY: Final = "joulebench_plugins.pyrapl.reader:SensorReader"


@contextlib.contextmanager
def _quiet_root_logger() -> Iterator[None]:
    root, silent = logging.getLogger(), logging.NullHandler()
    handlers, root.handlers = root.handlers, [silent]
    try:
        yield
    finally:
        root.handlers = handlers


def _sensor() -> Any:
    with _quiet_root_logger():
        import pyRAPL
    return pyRAPL.Sensor()


def counter_files() -> list[tuple[int, str]]:
    """(number in the sensor's list, file) of each counter; raises what pyRAPL raises."""
    sensor = _sensor()
    files: list[tuple[int, str]] = []
    for device, api in sensor._device_api.items():
        for socket, file in zip(api._socket_ids, api._sys_files, strict=True):
            files.append((2 * socket + int(device), file.name))
    return sorted(files)


class SensorReader:
    """All figures of one pyRAPL sensor, in µJ; -1, its word for none, is ``None`` here."""

    def __init__(self, _argument: str) -> None:
        self._sensor = _sensor()

    def read(self) -> Sequence[int | None]:
        """Package 0, DRAM 0, package 1, DRAM 1, …"""
        return [int(value) if value >= 0 else None for value in self._sensor.energy()]
