"""Entry points of plugins among the installed distributions, without importing any of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from typing import Final

ENTRY_POINT_GROUP: Final = "joulebench"
#: The distribution that this module comes with.
SHIPPED: Final = "joulebench"
_FIELD: Final = re.compile(r"^(Name|Version):[ \t]*(.*?)[ \t]*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Source:
    """Where a plugin comes from: its entry point, and the distribution that has it."""

    entry_point: str
    distribution: str = "unknown"
    version: str = ""
    #: Names the module, of what is installed.
    point: metadata.EntryPoint | None = None


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A distribution whose list of entry points cannot be read, and why."""

    distribution: str
    error: str


def find_sources() -> Iterator[Source | Unreadable]:
    """Entry points of the group: ours first, so that no name of ours can be taken; then by name."""
    sources: list[Source] = []
    named: set[str] = set()
    for distribution in metadata.distributions():
        try:
            text = distribution.read_text("entry_points.txt")
            # Most distributions have none of ours: no more of them is read.
            if not text or ENTRY_POINT_GROUP not in text:
                continue
            name, version = name_and_version(distribution)
            points = [point for point in distribution.entry_points if point.group == ENTRY_POINT_GROUP]
        except Exception as error:  # whatever its files are
            yield Unreadable(str(getattr(distribution, "_path", "a distribution")), f"{type(error).__name__}: {error}")
            continue
        if name not in named:  # of two of one name, the first on the path is the one that is imported
            named.add(name)
            sources += [Source(point.name, name, version, point) for point in points]
    yield from sorted(sources, key=lambda source: (source.distribution != SHIPPED, source.entry_point))


@cache
def name_and_version(distribution: metadata.Distribution) -> tuple[str, str]:
    """Name and version of a distribution, from the head of its metadata."""
    text = distribution.read_text("METADATA") or distribution.read_text("PKG-INFO") or ""
    fields = dict(reversed(_FIELD.findall(text.partition("\n\n")[0])))
    return fields.get("Name", "unknown"), fields.get("Version", "")
