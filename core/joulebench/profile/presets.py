"""Published procedures as data: ``protocols/NAME.toml`` in a profile folder.

A preset gives values of ``[protocol]`` and ``[sampler]`` that hold where a profile says nothing.
Which procedures there are is no business of the host's.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from joulebench.errors import ProfileError, unknown_name_hint
from joulebench.profile.position import locate
from joulebench.profile.sections import SECTIONS
from joulebench.profile.values import check_value

#: Sections that a preset may fill.
PRESET_SECTIONS: Final = ("protocol", "sampler")
_KEYS: Final = ("version", "description", *PRESET_SECTIONS)
_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Preset:
    """The values of a procedure, by section, each checked."""

    name: str
    description: str
    sections: Mapping[str, Mapping[str, Any]]


def shipped_presets(folders: Iterable[Path]) -> dict[str, Path]:
    """Files of presets by name; an earlier folder wins."""
    presets: dict[str, Path] = {}
    for folder in folders:
        for file in sorted((folder / "protocols").glob("*.toml")):
            presets.setdefault(file.stem, file)
    return presets


def find_preset(name: str, folders: Iterable[Path], where: str) -> Preset:
    """The preset of that name, or a :class:`ProfileError` with the nearest one."""
    known = shipped_presets(folders)
    if name not in known:
        raise ProfileError(f"no protocol is named '{name}'", where=where, hint=unknown_name_hint(name, known))
    return read_preset(known[name])


def read_preset(file: Path) -> Preset:
    """Read and check the file of a preset."""
    try:
        text = file.read_text(encoding="utf-8")
        data = tomllib.loads(text)
    except OSError as error:
        raise ProfileError(f"cannot be read: {error.strerror}", where=str(file)) from None
    except (ValueError, RecursionError) as error:
        raise ProfileError(f"not valid TOML: {error}", where=str(file)) from None
    where = partial(locate, str(file), text)
    for key in data:
        if key not in _KEYS:
            raise ProfileError(f"unknown key '{key}'", where=where((key,)), hint=unknown_name_hint(key, _KEYS))
    if data.get("version") != _VERSION:
        raise ProfileError(f"must have version = {_VERSION}", where=where(("version",)))
    sections: dict[str, Mapping[str, Any]] = {}
    for section in PRESET_SECTIONS:
        known = {key.name: key for key in SECTIONS[section] if key.name != "preset"}
        values = data.get(section, {})
        if not isinstance(values, dict):
            raise ProfileError("must be a table", where=where((section,)))
        for name, value in values.items():
            place = where((section, name))
            if name not in known:
                raise ProfileError(f"unknown key '{name}'", where=place, hint=unknown_name_hint(name, known))
            check_value(known[name], value, place)
        sections[section] = values
    return Preset(file.stem, str(data.get("description", "")), sections)
