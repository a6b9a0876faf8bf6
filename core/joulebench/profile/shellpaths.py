"""Paths in ``--set``: what is typed in a shell is relative to where the shell is."""

from __future__ import annotations

import json
import os
import shlex
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from joulebench.api import Option
from joulebench.profile.sections import SECTIONS
from joulebench.profile.values import ELSEWHERE
from joulebench.registry.loading import Registry

_PLUGIN_KINDS: Final = ("backend", "technique", "workload", "probe")
_MODEL_PATH: Final = "path:"
_SHAPE_FILE: Final = "shape:"


def from_shell(overrides: Sequence[str], registry: Registry, folder: Path) -> tuple[str, ...]:
    """The overrides with paths that a profile in ``folder`` understands.

    Files of options, ``path:`` models and ``shape:`` files are meant. The result is relative to the
    profile, so that a session that records it names no more of this machine than it must.
    """
    return tuple(_from_shell(override, registry, folder.resolve()) for override in overrides)


def _from_shell(override: str, registry: Registry, folder: Path) -> str:
    key, equals, raw = override.partition("=")
    path = tuple(part.strip() for part in key.split("."))
    if not equals or _option_type(path, registry) is None:
        return override
    try:
        value = tomllib.loads(f"value = {raw}")["value"]
    except ValueError:
        value = raw.strip()  # a bare word is text
    moved: object
    if _option_type(path, registry) == "command":
        moved = _moved_program(value, folder)
    elif isinstance(value, list):
        moved = [_moved(item, path, folder) for item in value]
    else:
        moved = _moved(value, path, folder)
    return override if moved == value else f"{key}={json.dumps(moved, ensure_ascii=False)}"


def _option_type(path: tuple[str, ...], registry: Registry) -> str | None:
    """``file`` or ``command`` where a key may hold a path, whatever plugin its label stands for."""
    if path[0] == "model":
        return "file" if len(path) == 3 and path[2] == "source" else None
    if len(path) == 2:
        return _path_type(SECTIONS.get(path[0], ()), path[1])
    if len(path) != 3 or path[0] not in _PLUGIN_KINDS:
        return None
    plugins = (registry.make(path[0], name) for name in registry.names(path[0]))
    types = (_path_type(plugin.options, path[2]) for plugin in plugins)
    return next((kind for kind in types if kind is not None), None)


def _path_type(options: Sequence[Option], name: str) -> str | None:
    return next((option.type for option in options if option.name == name and option.type in ("file", "command")), None)


def _moved_program(value: object, folder: Path) -> object:
    """A command whose program has a slash in it; one without is looked for where the system looks."""
    words = shlex.split(value) if isinstance(value, str) else value
    if not isinstance(words, list) or not words or not isinstance(words[0], str) or "/" not in words[0]:
        return value
    return [_relative(words[0], folder), *words[1:]]


def _moved(value: object, path: tuple[str, ...], folder: Path) -> object:
    """A text that names a file of the shell's folder, as seen from the profile's."""
    if not isinstance(value, str):
        return value
    prefix, name = "", value
    if path[0] == "model":
        prefix = next((kind for kind in (_MODEL_PATH, _SHAPE_FILE) if value.startswith(kind)), "")
        name = value.removeprefix(prefix)
        if not prefix or (prefix == _SHAPE_FILE and ".json" not in name):
            return value
    elif value.startswith(ELSEWHERE):
        return value
    return prefix + _relative(name, folder)


def _relative(name: str, folder: Path) -> str:
    """A path of the shell as one of the profile; ``./`` keeps it a path where it is a program."""
    if Path(name).is_absolute():
        return name
    moved = os.path.relpath(Path.cwd() / name, folder)
    return moved if "/" in moved or "/" not in name else f"./{moved}"
