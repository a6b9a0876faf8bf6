"""The names and help lines of plugins' commands, remembered so that ``joulebench --help`` imports no plugin.

They hold while no folder of modules has changed (an install or its end does that) and no file of a plugin.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from joulebench.cachefolder import cache_folder
from joulebench.version import __version__

#: Entry points that are not to be loaded, by name, with commas between them.
WITHOUT_VARIABLE: Final = "JOULEBENCH_WITHOUT"
_FILE: Final = "commands.json"


@dataclass(frozen=True, slots=True)
class CommandLine:
    """A command of a plugin in a list of commands."""

    name: str
    section: str
    text: str


def remembered_commands() -> list[CommandLine] | None:
    """The commands as they were when they were last listed; ``None`` where that no longer holds."""
    try:
        entry = json.loads((cache_folder() / _FILE).read_text(encoding="utf-8"))
        if entry["place"] != _place() or entry["changed_ns"] != _changed_ns(entry["changed_ns"]):
            return None
        return [CommandLine(str(name), str(section), str(text)) for name, section, text in entry["commands"]]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def remember_commands(commands: Iterable[CommandLine], files: Iterable[str]) -> None:
    """Keep them, with the plugins' ``files`` as they are now."""
    entry: dict[str, Any] = {
        "place": _place(),
        "changed_ns": _changed_ns([*sys.path, *files]),
        "commands": [(line.name, line.section, line.text) for line in commands],
    }
    with contextlib.suppress(OSError):  # then plugins are imported again
        file = cache_folder() / _FILE
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary = file.with_name(f".{_FILE}.{os.getpid()}")
        temporary.write_text(json.dumps(entry), encoding="utf-8")
        temporary.replace(file)


def _place() -> list[str]:
    """What decides which plugins there are: the interpreter, where it looks, and what it leaves out."""
    return [__version__, sys.executable, os.environ.get(WITHOUT_VARIABLE, ""), *sys.path]


def _changed_ns(paths: Iterable[str] | Mapping[str, int]) -> dict[str, int]:
    """When each of these was changed last; 0 for what is not there."""
    changed_ns = dict.fromkeys(paths, 0)
    for path in changed_ns:
        with contextlib.suppress(OSError):
            changed_ns[path] = os.stat(path or ".").st_mtime_ns  # noqa: PTH116  pathlib would double its cost
    return changed_ns
