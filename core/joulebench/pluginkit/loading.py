"""In the child: loads one entry point, and says what that cost and what it provides."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from importlib import metadata
from typing import Any, Final

from joulebench.errors import UnknownPluginError
from joulebench.processes import resident_bytes
from joulebench.registry.availability import availability_of
from joulebench.registry.discovery import ENTRY_POINT_GROUP
from joulebench.registry.loading import Registry, default_registry
from joulebench.testing.contracts import BrokenContractError

#: A module that takes longer than this to import is felt at each command, in seconds.
IMPORT_S: Final = 0.3
#: What importing a plugin's module and asking it whether it works may take of memory, in bytes.
IMPORT_BYTES: Final = 30 * 2**20
#: What an answer of available() may take, in seconds.
ANSWER_S: Final = 1.0


def entry_point(name: str) -> metadata.EntryPoint:
    """The entry point of that name in joulebench's group."""
    points = list(metadata.entry_points(group=ENTRY_POINT_GROUP, name=name))
    if not points:
        raise UnknownPluginError(f"no entry point '{name}'")
    return points[0]


def load(name: str) -> Mapping[str, Any]:
    """Import the module and read its classes; facts with what it provides and what that cost."""
    point = entry_point(name)
    before, resident = set(sys.modules), resident_bytes()
    start = time.perf_counter()
    plugin = point.load()
    import_s = time.perf_counter() - start
    imported = _foreign(set(sys.modules) - before, point)
    registry = Registry()
    registry.add(plugin, name, *_distribution(point))
    (loaded,) = registry.loaded
    answers = [_ask(registry, kind, subject) for kind, subject in loaded.provides]
    return {
        "import_s": import_s,
        "import_bytes": max(0, resident_bytes() - resident),
        "imported": imported,
        "imported_later": sorted(set(_foreign(set(sys.modules) - before, point)) - set(imported)),
        "provides": [list(subject) for subject in loaded.provides],
        "hooks": _hooks(plugin),
        "answers": answers,
    }


def load_with_all(name: str) -> Mapping[str, Any]:
    """Load every installed plugin; a fault where this one or another is left out over its names."""
    registry = default_registry()
    names = [point.name for point in metadata.entry_points(group=ENTRY_POINT_GROUP)]
    if names.count(name) > 1:
        raise BrokenContractError(
            f"two distributions have an entry point '{name}'", "rename one: one of them is left out"
        )
    for broken in registry.broken:
        involved = broken.entry_point == name or f"({name})" in broken.error
        if involved and "is provided by both" in broken.error:
            what, _, hint = broken.error.partition("\n  hint: ")
            raise BrokenContractError(what, hint)
    return {}


def _ask(registry: Registry, kind: str, name: str) -> dict[str, Any]:
    """Whether the plugin is available, and how long it took to say so."""
    start = time.perf_counter()
    availability = availability_of(registry.make(kind, name))
    return {
        "kind": kind,
        "name": name,
        "available": availability.ok,
        "reason": availability.reason,
        "cure": availability.cure,
        "seconds": time.perf_counter() - start,
    }


def _hooks(plugin: object) -> list[str]:
    return sorted(name for name in dir(plugin) if name.startswith("joulebench_"))


def _distribution(point: metadata.EntryPoint) -> tuple[str, str]:
    if point.dist is None:
        return "unknown", ""
    return point.dist.name, point.dist.version


def _foreign(modules: set[str], point: metadata.EntryPoint) -> list[str]:
    """Top-level modules that are neither Python's own nor joulebench's nor the plugin's."""
    own = point.module.partition(".")[0]
    tops = {module.partition(".")[0] for module in modules} - set(sys.stdlib_module_names)
    return sorted(top for top in tops if top not in (own, "joulebench") and top.isidentifier())
