"""``extends = "NAME"``: a profile that says only what it has otherwise than a shipped one."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from joulebench.errors import ProfileError, unknown_name_hint
from joulebench.profile.shipped import shipped_profiles

KEY: Final = "extends"
#: Of these a profile that names any has only those that it names.
_AXES: Final = ("model", "technique", "backend", "workload")
#: What a profile calls itself is not inherited.
_OWN: Final = ("name", "description", KEY)


@dataclass(frozen=True, slots=True)
class Base:
    """A profile that another one extends: its file and text, for errors."""

    file: str
    text: str


def extended(data: dict[str, Any], profile_dirs: Iterable[Path], where: str) -> tuple[dict[str, Any], tuple[Base, ...]]:
    """The profile with what it inherits, and what it inherits from, the nearest first.

    An axis that the profile names replaces the base's; an entry of the same label keeps the base's
    settings where it gives none of its own. Sections and probes are merged key by key, and left out
    where the profile says ``false``; other values replace the base's. ``where`` is the place of the key, for errors.
    """
    folders = list(profile_dirs)
    bases: list[Base] = []
    merged, named, names = data, data.get(KEY), []
    while named is not None:
        if not isinstance(named, str):
            raise ProfileError("must be the name of a shipped profile", where=where)
        shipped = shipped_profiles(folders)
        if named not in shipped:
            raise ProfileError(f"no shipped profile '{named}'", where=where, hint=unknown_name_hint(named, shipped))
        if named in names:
            raise ProfileError(f"'{named}' extends itself", where=where)
        names.append(named)
        text = shipped[named].read_text(encoding="utf-8")
        bases.append(Base(str(shipped[named]), text))
        inherited = tomllib.loads(text)
        named = inherited.get(KEY)
        merged = _over(inherited, merged)
    merged.pop(KEY, None)
    return merged, tuple(bases)


def _over(base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """A profile's own values over those of its base."""
    merged = {key: value for key, value in base.items() if key not in _OWN}
    for key, value in own.items():
        inherited = merged.get(key)
        if value is False and isinstance(inherited, dict):
            del merged[key]
        elif not isinstance(value, dict) or not isinstance(inherited, dict):
            merged[key] = value
        elif key in _AXES:
            merged[key] = {label: _merged(inherited.get(label), entry) for label, entry in value.items()}
        else:
            merged[key] = {**inherited, **value}
    return merged


def _merged(base: object, own: object) -> object:
    return {**base, **own} if isinstance(base, dict) and isinstance(own, dict) else own
