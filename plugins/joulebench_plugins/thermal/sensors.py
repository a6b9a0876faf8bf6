"""Finds temperature sensors and sorts out the broken ones."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from joulebench_plugins.shared.sysfs import text_if_any, text_of

#: What a working sensor in a computer can show. Drivers give values outside of this for sensors
#: that are not connected (-128, 0xFF shifted) or not ready.
_LOWEST_MC: Final = -50_000
_HIGHEST_MC: Final = 150_000
#: Labels of the sensors of single cores (coretemp: "Core 0"; k10temp: "Tccd1" is a die, kept).
_CORE_LABEL: Final = re.compile(r"core\s*\d+", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ThermalSensor:
    """One temperature in m°C. ``fault`` says why it is left out; ``None`` if it is good."""

    label: str
    file: Path
    fault: str | None


def find_sensors(root: Path, *, with_cores: bool) -> list[ThermalSensor]:
    """All sensors under ``root`` (/sys/class): hwmon chips, then thermal zones."""
    taken: set[str] = set()
    sensors: list[ThermalSensor] = []
    for label, place, file in (*_hwmon(root, with_cores), *_thermal_zones(root)):
        unique = label if label not in taken else f"{label}@{place}"
        taken.add(unique)
        sensors.append(ThermalSensor(unique, file, _fault(file)))
    return sensors


def _hwmon(root: Path, with_cores: bool) -> Iterator[tuple[str, str, Path]]:
    for folder in _numbered(root / "hwmon", "hwmon"):
        chip = text_if_any(folder / "name") or folder.name
        for file in _numbered(folder, "temp", "_input"):
            sensor = file.name.removesuffix("_input")
            label = text_if_any(folder / f"{sensor}_label") or sensor
            if with_cores or not _CORE_LABEL.fullmatch(label):
                yield f"{_slug(chip)}/{_slug(label)}", folder.name, file


def _thermal_zones(root: Path) -> Iterator[tuple[str, str, Path]]:
    for folder in _numbered(root / "thermal", "thermal_zone"):
        kind = text_if_any(folder / "type") or folder.name
        yield f"zone/{_slug(kind)}", folder.name, folder / "temp"


def _numbered(folder: Path, prefix: str, suffix: str = "") -> list[Path]:
    """Entries ``prefix`` + number + ``suffix`` of a folder, in order of their numbers."""
    pattern = re.compile(f"{prefix}(\\d+){suffix}")
    try:
        entries = [(pattern.fullmatch(path.name), path) for path in folder.iterdir()]
    except OSError:
        return []
    return [path for _, path in sorted((int(match[1]), path) for match, path in entries if match)]


def _fault(file: Path) -> str | None:
    try:
        value = int(text_of(file))
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    except ValueError:
        return "shows no number"
    if not _LOWEST_MC <= value <= _HIGHEST_MC:
        return f"shows {value / 1000:g} degC, which no computer has"
    return None


def _slug(text: str) -> str:
    return re.sub(r"[^\w.-]+", "_", text.strip()) or "unnamed"
