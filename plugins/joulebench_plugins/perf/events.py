"""What the kernel says of an energy event.

Documentation/ABI/testing/sysfs-bus-event_source-devices-{events,format}:

``type`` is the unit's number, ``events/NAME`` the event's terms (``event=0x02``), ``format/TERM``
the bits of the configuration that a term fills, ``events/NAME.scale`` and ``.unit`` what a count is
worth, ``cpumask`` one CPU for each package.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

UNIT: Final = "power"
_BITS: Final = re.compile(r"config:(\d+)(?:-(\d+))?")


@dataclass(frozen=True, slots=True)
class Fault:
    """Why there is no such event, and what would help."""

    reason: str
    cure: str | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """An energy event. ``joules_per_count`` is its scale, ``cpus`` one CPU for each package."""

    name: str
    folder: Path
    unit_type: int
    config: int
    joules_per_count: float
    cpus: tuple[int, ...]

    def argument(self, cpu: int) -> str:
        """What the reader module needs to open it on one CPU."""
        return f"{self.unit_type}:{self.config}:{cpu}:{self.joules_per_count!r}"


def find_event(root: Path, name: str) -> Event | Fault:
    """The event of the unit ``power`` under ``root``, or why it is not there."""
    folder = root / UNIT
    if not folder.is_dir():
        return Fault(
            f"no perf unit for energy: {folder} does not exist",
            "bare metal with a processor that has RAPL: sudo modprobe rapl (intel_rapl_perf on kernels before 5.10)",
        )
    try:
        terms = _text(folder / "events" / name)
    except OSError:
        return Fault(f"the unit has no event '{name}'; it has: {_events(folder)}")
    try:
        return _read(folder, name, terms)
    except (OSError, ValueError) as error:
        return Fault(f"{folder} cannot be understood: {error}")


def _events(folder: Path) -> str:
    try:
        names = sorted(file.name for file in (folder / "events").iterdir())
    except OSError:
        return "none"
    return ", ".join(name for name in names if "." not in name) or "none"


def _read(folder: Path, name: str, terms: str) -> Event:
    unit = _text(folder / "events" / f"{name}.unit")
    if unit != "Joules":
        raise ValueError(f"{name} counts {unit!r}, not Joules")
    scale = float(_text(folder / "events" / f"{name}.scale"))
    if not (math.isfinite(scale) and scale > 0):
        raise ValueError(f"{name}.scale is {scale}")
    cpus = parse_cpus(_text(folder / "cpumask"))
    if not cpus:
        raise ValueError("cpumask names no CPU")
    return Event(name, folder, int(_text(folder / "type")), _config(folder, terms), scale, cpus)


def _config(folder: Path, terms: str) -> int:
    """``event=0x02,umask=1`` as the number that perf_event_open(2) takes."""
    config = 0
    for term in terms.split(","):
        key, _, value = term.strip().partition("=")
        number = int(value, 0) if value else 1
        match = _BITS.fullmatch(_text(folder / "format" / key))
        if match is None:
            raise ValueError(f"format/{key} is of a form that is not known")
        low = int(match[1])
        width = int(match[2] or low) - low + 1
        if not 0 <= number < 1 << width:
            raise ValueError(f"{key}={value} does not fit its {width} bits")
        config |= number << low
    return config


def parse_cpus(text: str) -> tuple[int, ...]:
    """``0,28-29`` as numbers (the kernel's list format)."""
    cpus: list[int] = []
    for part in text.split(","):
        first, _, last = part.strip().partition("-")
        if first:
            cpus.extend(range(int(first), int(last or first) + 1))
    return tuple(cpus)


def _text(path: Path) -> str:
    return path.read_text(encoding="ascii", errors="replace").strip()
