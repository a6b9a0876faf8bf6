"""Finds the powercap zones of a machine and what is wrong with each.

Zones are told apart by their ``name`` files, never by number: which number DRAM has depends on the
processor. The class folder shows all zones side by side as links; a mounted device folder shows
them nested. Both are walked.
"""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from joulebench.api import Provenance, provenance_of_file
from joulebench_plugins.shared.sysfs import text_if_any, text_of

#: ``intel-rapl:0:1``: control type, then a number for each level. The kernel prints them in
#: hexadecimal (powercap_register_zone in drivers/powercap/powercap_sys.c).
_ZONE: Final = re.compile(r"[A-Za-z][\w-]*(:[0-9a-f]+)+")
#: Zones lie at most package/die/domain deep; the limit guards against links in a circle.
_DEPTH: Final = 5
#: A counter that has shown 0 J since the start of the machine and shows it still after this long
#: is not counting.
_STILL_ZERO_S: Final = 0.02
#: RAPL energy registers have 32 bits (ENERGY_STATUS_MASK in drivers/powercap/intel_rapl_common.c).
_REGISTER_MAX: Final = 0xFFFFFFFF

NO_PERMISSION: Final = "permission denied"


@dataclass(frozen=True, slots=True)
class PowerZone:
    """One zone. ``fault`` says why its counter cannot be used; ``None`` if it can.

    ``label`` is unique on the machine (``package-0/dram``), ``package`` the name of the
    package it belongs to (its own for a package; empty where there is none).
    """

    id: str
    folder: Path
    name: str
    label: str
    package: str
    modulus_uj: int | None
    fault: str | None
    #: One count of the register in microjoules; ``None`` where the range does not tell it.
    count_uj: float | None = None

    @property
    def interface(self) -> str:
        """The control type: ``intel-rapl`` (registers) or ``intel-rapl-mmio``."""
        return self.id.split(":")[0]

    @property
    def provenance(self) -> Provenance:
        """``measured`` where the counter is the kernel's own file of a powercap zone.

        A folder on a disk whose ``energy_uj`` links to some file of the kernel is an imitation.
        """
        real = Path(os.path.realpath(self.folder / "energy_uj"))
        own = real.parent == Path(os.path.realpath(self.folder)) and "powercap" in real.parts
        return provenance_of_file(real) if own else "simulated"

    @property
    def is_package(self) -> bool:
        """Whether it is a whole processor package (or a die of one)."""
        return self.name.startswith("package")


def find_zones(root: Path) -> list[PowerZone]:
    """All zones under ``root``, the plain interface before others (MMIO)."""
    folders = _zone_folders(root)
    names = {zone_id: text_if_any(folder / "name") for zone_id, folder in folders.items()}
    taken: set[str] = set()
    zones: list[PowerZone] = []
    for zone_id in sorted(folders, key=_order):
        name = names[zone_id] or zone_id
        package = names.get(_parent(zone_id)) or (name if name.startswith("package") else "")
        label = _label(zone_id, name, names)
        if label in taken:
            label = f"{label}@{zone_id}"
        taken.add(label)
        zones.append(_zone(zone_id, folders[zone_id], name, label, package))
    return zones


def _zone_folders(root: Path) -> dict[str, Path]:
    """Folders by zone id. Each zone is one device, however many links lead to it."""
    folders: dict[str, Path] = {}
    pending = [(root, 0)]
    while pending:
        folder, depth = pending.pop(0)
        try:
            entries = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir())
        except OSError:
            continue
        for entry in entries:
            path = folder / entry
            if _ZONE.fullmatch(entry):
                # DTPM and other drivers register zones with power_uw only. A zone with neither is broken.
                if entry not in folders and ((path / "energy_uj").exists() or not (path / "power_uw").exists()):
                    folders[entry] = path
            elif depth or entry in ("power", "subsystem", "device"):
                continue
            if depth < _DEPTH:
                pending.append((path, depth + 1))
    return folders


def _order(zone_id: str) -> tuple[int, str, list[int]]:
    control, *numbers = zone_id.split(":")
    # "intel-rapl" before "intel-rapl-mmio": the shorter name is the register interface itself.
    return len(control), control, [int(number, 16) for number in numbers]


def _parent(zone_id: str) -> str:
    return zone_id.rpartition(":")[0]


def _label(zone_id: str, name: str, names: dict[str, str | None]) -> str:
    parts = [name]
    above = _parent(zone_id)
    while above in names:
        parts.insert(0, names[above] or above)
        above = _parent(above)
    interface = zone_id.partition(":")[0].partition("-rapl-")[2]
    return "/".join([interface, *parts] if interface else parts)


def _zone(zone_id: str, folder: Path, name: str, label: str, package: str) -> PowerZone:
    modulus_uj = _modulus(folder)
    fault = _fault(folder / "energy_uj", modulus_uj)
    return PowerZone(zone_id, folder, name, label, package, modulus_uj, fault, _count_uj(folder))


def _modulus(folder: Path) -> int | None:
    """The counter's period in microjoules, from the device.

    ``max_energy_range_uj`` is the highest value: the register's 2^32 - 1 counts in microjoules
    (get_max_energy_counter in intel_rapl_common.c). The next count shows 0, so the period is one
    count longer: 2^32 counts.
    """
    highest = _number(text_if_any(folder / "max_energy_range_uj"))
    if highest is None or highest <= 0:
        return None
    return highest + max(1, round(highest / _REGISTER_MAX))


def _count_uj(folder: Path) -> float | None:
    """One count of a 32-bit register, by the range that the kernel has computed from its unit.

    Units are powers of two of a joule (Intel SDM vol. 3, MSR_RAPL_POWER_UNIT) or, of server DRAM,
    15.3 µJ; a range that gives anything below 1 µJ or above 1 mJ is that of something else.
    """
    highest = _number(text_if_any(folder / "max_energy_range_uj"))
    count_uj = (highest or 0) / _REGISTER_MAX
    return count_uj if 1.0 <= count_uj <= 1000.0 else None


def _fault(energy: Path, modulus_uj: int | None) -> str | None:
    try:
        text = text_of(energy)
    except OSError as error:
        denied = isinstance(error, PermissionError)
        return NO_PERMISSION if denied else f"cannot be read: {error.strerror}"
    if modulus_uj is None:
        return "does not tell its range (max_energy_range_uj), so a wrap could not be undone"
    value = _number(text)
    if value is None:
        return f"shows no number: {text.strip()[:40]!r}"
    if not 0 <= value < modulus_uj:
        return f"shows {value}, outside of its own range 0 … {modulus_uj - 1}"
    return "stays at 0: this counter is not counting" if _stays_at_zero(energy, value) else None


def _stays_at_zero(energy: Path, value: int) -> bool:
    if value != 0:
        return False
    time.sleep(_STILL_ZERO_S)
    return _number(text_if_any(energy)) == 0


def _number(text: str | None) -> int | None:
    try:
        return int(text) if text is not None else None
    except ValueError:
        return None
