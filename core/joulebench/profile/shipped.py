"""Files of profiles: a path, or the name of one in a profile folder."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from joulebench.errors import ProfileError, unknown_name_hint


def find_profile(name: str, folders: Iterable[Path]) -> Path:
    """The file of a profile given as a path or as a shipped name."""
    direct = Path(name)
    if direct.suffix == ".toml" or "/" in name:
        if direct.is_file():
            return direct
        raise ProfileError("no such profile file", where=name)
    shipped = shipped_profiles(folders)
    if name in shipped:
        return shipped[name]
    raise ProfileError(
        f"unknown profile '{name}'", hint=unknown_name_hint(name, shipped) + "; or give the path of a .toml file"
    )


def shipped_profiles(folders: Iterable[Path]) -> dict[str, Path]:
    """Profiles by name; an earlier folder wins."""
    files: dict[str, Path] = {}
    for folder in folders:
        for file in sorted(folder.glob("*.toml")):
            files.setdefault(file.stem, file)
    return files
