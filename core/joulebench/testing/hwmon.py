"""A fake tree of temperature sensors and throttle counts, as the Linux kernel lays them out.

``FakeTemperatures(folder, chips, zones, throttle_counts)`` makes ``folder/class`` (which stands
for /sys/class, with ``hwmon`` and ``thermal`` inside) and ``folder/cpu`` (which stands for
/sys/devices/system/cpu). Temperatures are constants or functions of the elapsed seconds::

    tree = FakeTemperatures(folder, [Chip("coretemp", [HwmonSensor("Package id 0", lambda t: 40 + t)])])
    tree.advance(2.0)                  # virtual seconds: the sensor shows 42000
    with tree.live(period_s=0.01):     # or real time
        ...
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from joulebench.testing.livefiles import NumberFile, ticking

#: Temperature in degC: constant, or a function of the seconds since the tree was made.
Celsius = float | Callable[[float], float]


@dataclass(frozen=True, slots=True)
class HwmonSensor:
    """One ``tempN_input``; without a label the chip has none, as many drivers do."""

    label: str | None
    celsius: Celsius


@dataclass(frozen=True, slots=True)
class Chip:
    """One ``hwmonN`` folder: a driver's name and its temperatures."""

    name: str
    sensors: Sequence[HwmonSensor]


@dataclass(frozen=True, slots=True)
class ThermalZone:
    """One ``thermal_zoneN`` folder."""

    type: str
    celsius: Celsius


@dataclass(frozen=True, slots=True)
class ThrottleCounts:
    """Events that one logical processor reports; ``core`` and ``package`` say where it sits."""

    core: int
    package: int
    core_count: int = 0
    package_count: int = 0


class FakeTemperatures:
    """The tree. ``root`` stands for /sys/class, ``cpu_root`` for /sys/devices/system/cpu."""

    def __init__(
        self,
        folder: Path,
        chips: Sequence[Chip] = (),
        zones: Sequence[ThermalZone] = (),
        processors: Mapping[int, ThrottleCounts] | None = None,
    ) -> None:
        self.root = folder / "class"
        self.cpu_root = folder / "cpu"
        self._elapsed_s = multiprocessing.RawValue("d", 0.0)
        self._temperatures: list[tuple[NumberFile, Celsius]] = []
        self._counts: dict[tuple[int, str], NumberFile] = {}
        for number, chip in enumerate(chips):
            self._make_chip(self.root / "hwmon" / f"hwmon{number}", chip)
        for number, zone in enumerate(zones):
            folder = self.root / "thermal" / f"thermal_zone{number}"
            folder.mkdir(parents=True)
            (folder / "type").write_text(f"{zone.type}\n")
            self._add(folder / "temp", zone.celsius)
        for processor, counts in (processors or {}).items():
            self._make_processor(processor, counts)

    def _add(self, path: Path, celsius: Celsius) -> None:
        self._temperatures.append((NumberFile(path, _millidegrees(celsius, 0.0)), celsius))

    def _make_chip(self, folder: Path, chip: Chip) -> None:
        folder.mkdir(parents=True)
        (folder / "name").write_text(f"{chip.name}\n")
        for place, sensor in enumerate(chip.sensors, start=1):
            if sensor.label is not None:
                (folder / f"temp{place}_label").write_text(f"{sensor.label}\n")
            self._add(folder / f"temp{place}_input", sensor.celsius)

    def _make_processor(self, processor: int, counts: ThrottleCounts) -> None:
        folder = self.cpu_root / f"cpu{processor}"
        (folder / "topology").mkdir(parents=True)
        (folder / "topology" / "core_id").write_text(f"{counts.core}\n")
        (folder / "topology" / "physical_package_id").write_text(f"{counts.package}\n")
        (folder / "thermal_throttle").mkdir()
        for scope, value in (("core", counts.core_count), ("package", counts.package_count)):
            path = folder / "thermal_throttle" / f"{scope}_throttle_count"
            self._counts[processor, scope] = NumberFile(path, value)

    def set_throttle_count(self, processor: int, scope: str, value: int) -> None:
        """Set the count of a logical processor; ``scope`` is ``core`` or ``package``."""
        self._counts[processor, scope].write(value)

    def advance(self, seconds: float) -> None:
        """Let time pass and show the temperatures of that moment."""
        self._elapsed_s.value += seconds
        for file, celsius in self._temperatures:
            file.write(_millidegrees(celsius, self._elapsed_s.value))

    def live(self, period_s: float = 0.01) -> AbstractContextManager[None]:
        """Follow real time while the ``with`` block runs, updating every ``period_s``."""
        return ticking(self.advance, period_s)

    def close(self) -> None:
        """Close the files; the tree stays on disk."""
        for file, _ in self._temperatures:
            file.close()
        for file in self._counts.values():
            file.close()

    def __enter__(self) -> FakeTemperatures:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _millidegrees(celsius: Celsius, seconds: float) -> int:
    return round((celsius(seconds) if callable(celsius) else celsius) * 1000)
