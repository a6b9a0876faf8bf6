"""Throttle counts of an Intel processor: where they are, and the reader that sums the cores'.

Standard library only: the sampler imports this module.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path


def package_count_files(cpu_root: Path) -> dict[int, Path]:
    """One ``package_throttle_count`` by package: all its processors show the same count."""
    files: dict[int, Path] = {}
    for folder in _processors(cpu_root):
        file = folder / "thermal_throttle" / "package_throttle_count"
        package = _number(folder / "topology" / "physical_package_id")
        if package is not None and _number(file) is not None:
            files.setdefault(package, file)
    return files


def core_count_files(cpu_root: Path) -> list[Path]:
    """One ``core_throttle_count`` by core: its hardware threads show the same count."""
    files: dict[tuple[int | None, int | None], Path] = {}
    for folder in _processors(cpu_root):
        file = folder / "thermal_throttle" / "core_throttle_count"
        topology = folder / "topology"
        core = (_number(topology / "physical_package_id"), _number(topology / "core_id"))
        if _number(file) is not None:
            files.setdefault(core, file)
    return list(files.values())


class CoreCounts:
    """The sum of all cores' throttle counts; one item."""

    def __init__(self, cpu_root: str) -> None:
        files = core_count_files(Path(cpu_root))
        self._descriptors = [os.open(file, os.O_RDONLY | os.O_CLOEXEC) for file in files]

    def read(self) -> Sequence[int | None]:
        """The sum now; ``None`` if a core can no longer be read (it may be offline)."""
        try:
            return (sum(int(os.pread(descriptor, 64, 0)) for descriptor in self._descriptors),)
        except (OSError, ValueError):
            return (None,)


def _processors(cpu_root: Path) -> list[Path]:
    try:
        folders = [path for path in cpu_root.iterdir() if re.fullmatch(r"cpu\d+", path.name)]
    except OSError:
        return []
    return sorted(folders, key=lambda path: int(path.name[3:]))


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
