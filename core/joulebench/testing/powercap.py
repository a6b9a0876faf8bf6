"""A fake powercap tree: energy counters in files, as the Linux kernel lays them out.

For tests of whatever reads RAPL, and for demonstrations on a machine without sensors::

    tree = FakePowercap(folder, intel_zones(packages=2, watts=12.0))
    tree.advance(1.5)                      # virtual seconds
    with tree.live(period_s=0.001):        # real time, by a small child process
        ...
    tree.joules("intel-rapl:0")            # the truth, unwrapped

``python -m joulebench.testing.powercap DIR --watts 12`` keeps a live tree in DIR until it is
interrupted, and prints the lines by which a profile reads it.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from joulebench.testing.livefiles import NumberFile, tick, ticking

#: Power in watts: constant, or a function of the seconds since the tree was made.
Watts = float | Callable[[float], float]

#: What an Intel client package shows: 2^32 - 1 counts of 61.035 µJ.
INTEL_RANGE_UJ: Final = 262_143_328_850


@dataclass(frozen=True, slots=True)
class PowercapZone:
    """One powercap zone. ``id`` is its folder's name and gives its place in the tree.

    ``intel-rapl:0:1`` lies in ``intel-rapl:0``; the kernel numbers zones in hexadecimal, so the
    eleventh package is ``intel-rapl:a``. ``max_range_uj`` is the highest value that the counter
    shows; ``start_uj`` where it stands at first. ``readable=False`` takes all permissions from
    ``energy_uj``; ``text`` puts that text there instead of a number.
    """

    id: str
    name: str
    watts: Watts
    max_range_uj: int = INTEL_RANGE_UJ
    start_uj: int = 12_345_678
    readable: bool = True
    text: str | None = None

    @property
    def count_uj(self) -> int:
        """Energy of one count: the kernel scales a 32-bit counter, whatever its range is."""
        return max(1, round(self.max_range_uj / 0xFFFFFFFF))

    @property
    def modulus_uj(self) -> int:
        """Where the counter starts again: one count above the highest value that it shows."""
        return self.max_range_uj + self.count_uj

    def shown_uj(self, joules: float) -> int:
        """The counter after ``joules`` from the start."""
        total_uj = self.start_uj + int(joules * 1e6)
        return total_uj % self.modulus_uj // self.count_uj * self.count_uj


def intel_zones(
    *,
    packages: int = 1,
    watts: Watts = 12.0,
    core_watts: Watts | None = 8.0,
    dram_watts: Watts | None = 2.0,
    psys_watts: Watts | None = None,
    mmio: bool = False,
    max_range_uj: int = INTEL_RANGE_UJ,
) -> list[PowercapZone]:
    """Zones of an Intel machine: packages with core and dram inside, psys, the MMIO twins."""
    zones: list[PowercapZone] = []
    for number in range(packages):
        parent = f"intel-rapl:{number:x}"
        zones.append(PowercapZone(parent, f"package-{number}", watts, max_range_uj))
        inner = [("core", core_watts), ("dram", dram_watts)]
        present = [(name, power) for name, power in inner if power is not None]
        for place, (name, power) in enumerate(present):
            zones.append(PowercapZone(f"{parent}:{place}", name, power, max_range_uj))
        if mmio:
            zones.append(PowercapZone(f"intel-rapl-mmio:{number:x}", f"package-{number}", watts, max_range_uj))
    if psys_watts is not None:
        zones.append(PowercapZone(f"intel-rapl:{packages:x}", "psys", psys_watts, max_range_uj))
    return zones


class FakePowercap:
    """A powercap tree in a folder. ``root`` is what stands for /sys/class/powercap.

    ``layout="sysfs"`` is the kernel's: real folders elsewhere, nested, and in ``root`` a symbolic
    link to each zone, all side by side. ``layout="nested"`` puts the nested folders into ``root``,
    as a container sees them that mounts the device folder.
    """

    def __init__(
        self, folder: Path, zones: Sequence[PowercapZone], layout: Literal["sysfs", "nested"] = "sysfs"
    ) -> None:
        self.root = folder
        self.zones = tuple(zones)
        self._real = folder / ".devices" if layout == "sysfs" else folder
        # Shared memory: the child of live() advances what the parent reads.
        self._joules = multiprocessing.RawArray("d", len(zones))
        self._elapsed_s = multiprocessing.RawValue("d", 0.0)
        self._files = [self._make(zone) for zone in self.zones]
        if layout == "sysfs":
            self._link()

    def _folder(self, zone_id: str) -> Path:
        control, *numbers = zone_id.split(":")
        parts = [":".join([control, *numbers[: depth + 1]]) for depth in range(len(numbers))]
        return self._real.joinpath(control, *parts)

    def _make(self, zone: PowercapZone) -> NumberFile | None:
        folder = self._folder(zone.id)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "name").write_text(f"{zone.name}\n")
        (folder / "max_energy_range_uj").write_text(f"{zone.max_range_uj}\n")
        (folder / "enabled").write_text("1\n")
        energy = folder / "energy_uj"
        if zone.text is not None:
            energy.write_text(zone.text)
            return None
        file = NumberFile(energy, zone.shown_uj(0.0))
        if not zone.readable:
            energy.chmod(0)
        return file

    def _link(self) -> None:
        controls = {zone.id.split(":")[0] for zone in self.zones}
        targets = {control: self._real / control for control in controls}
        targets |= {zone.id: self._folder(zone.id) for zone in self.zones}
        for name, target in targets.items():
            link = self.root / name
            if not link.is_symlink():
                link.symlink_to(os.path.relpath(target, self.root))

    def energy_file(self, zone_id: str) -> Path:
        """The counter's file of a zone."""
        return self._folder(zone_id) / "energy_uj"

    def joules(self, zone_id: str) -> float:
        """Energy of a zone since the tree was made: the truth, never wrapped or rounded."""
        place = [zone.id for zone in self.zones].index(zone_id)
        return float(self._joules[place])

    def advance(self, seconds: float) -> None:
        """Let time pass: each zone consumes its power (midpoint rule) and shows its counter."""
        middle_s = self._elapsed_s.value + seconds / 2
        self._elapsed_s.value += seconds
        for place, (zone, file) in enumerate(zip(self.zones, self._files, strict=True)):
            watts = zone.watts(middle_s) if callable(zone.watts) else zone.watts
            self._joules[place] += watts * seconds
            if file is not None:
                file.write(zone.shown_uj(self._joules[place]))

    def live(self, period_s: float = 0.001) -> AbstractContextManager[None]:
        """Follow real time while the ``with`` block runs, updating every ``period_s``."""
        return ticking(self.advance, period_s)

    def close(self) -> None:
        """Close the files; the tree stays on disk."""
        for file in self._files:
            if file is not None:
                file.close()

    def __enter__(self) -> FakePowercap:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m joulebench.testing.powercap",
        description="Keep a live fake powercap tree in a folder until interrupted.",
    )
    parser.add_argument("folder", type=Path, help="an empty or new folder; the probe's root")
    parser.add_argument("--watts", type=float, default=12.0, help="power of each package")
    parser.add_argument("--dram-watts", type=float, default=2.0, help="power of each DRAM zone")
    parser.add_argument("--packages", type=int, default=1, help="number of packages")
    parser.add_argument("--period", type=float, default=0.001, help="seconds between updates")
    return parser.parse_args()


def _serve() -> None:
    arguments = _arguments()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    zones = intel_zones(packages=arguments.packages, watts=arguments.watts, dram_watts=arguments.dram_watts)
    with FakePowercap(arguments.folder, zones) as tree, contextlib.suppress(KeyboardInterrupt):
        print(f'[probe.rapl]\nroot = "{tree.root.resolve()}"', flush=True)
        tick(tree.advance, arguments.period)


if __name__ == "__main__":
    _serve()
