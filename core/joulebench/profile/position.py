"""Where a key of a profile stands: file, line and path, for errors.

tomllib gives no positions; keys are found in plain ``[a.b]`` tables and by the line that sets them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final

#: The option that sets a key from the command line, and so is its place.
OVERRIDE: Final = "--set"
#: ``[a.b]`` or ``[[a.b]]``. No part can match what another does, so a line is read once.
_TABLE: Final = re.compile(r"\[\[?([^\[\]]*)\]\]?[ \t]*(?:#.*)?")
_KEY: Final = re.compile(r"([A-Za-z0-9_.\"'-]+)[ \t]*=")
_PART: Final = re.compile(r"\"[^\"]*\"|'[^']*'|[^.\s]+")


def line_of(text: str, path: Sequence[str]) -> int | None:
    """The line (from 1) of a key in TOML text, by its table header and name; ``None`` if unsure."""
    return _lines(text).get(tuple(path))


@lru_cache(maxsize=8)
def _lines(text: str) -> Mapping[tuple[str, ...], int]:
    """The first line of every table and key, read in one pass."""
    lines: dict[tuple[str, ...], int] = {}
    table: tuple[str, ...] = ()
    for number, line in enumerate(text.splitlines(), start=1):
        stripped = line.strip()
        if match := _TABLE.fullmatch(stripped):
            table = _parts(match[1])
            lines.setdefault(table, number)
        elif match := _KEY.match(stripped):
            lines.setdefault(table + _parts(match[1]), number)
    return lines


def _parts(key: str) -> tuple[str, ...]:
    return tuple(part.strip("\"'") for part in _PART.findall(key))


def depth_of(text: str, path: Sequence[str]) -> int:
    """How much of a key's path TOML text has, from its start."""
    return next((length for length in range(len(path), 0, -1) if line_of(text, path[:length]) is not None), 0)


def locate(file: str, text: str, path: Sequence[str], overrides: Sequence[str] = ()) -> str:
    """``FILE:LINE: a.b.c``, by the nearest table where the key's own line cannot be told.

    A key that an override has set is in no file: ``--set a.b.c``.
    """
    key_path = ".".join(path)
    for override in overrides:
        changed = override.partition("=")[0].replace(" ", "")
        if path and (changed == key_path or key_path.startswith(f"{changed}.")):
            return f"{OVERRIDE} {key_path}"
    line = line_of(text, path[: depth_of(text, path)])
    place = file if line is None else f"{file}:{line}"
    return f"{place}: {key_path}" if path else place
