"""Looks after the artifact store: what is in it, whether it is whole, what can go."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from joulebench.errors import ArtifactError, unknown_name_hint
from joulebench.models.store import (
    MAKING,
    MANIFEST,
    Store,
    Stored,
    folder_bytes,
    hash_content,
    load_entry,
    remove_unused,
    sweep,
)

_DAY_S: Final = 86400.0


@dataclass(frozen=True, slots=True)
class Entry:
    """One folder of the store: what it holds, or what is wrong with it."""

    key: str
    folder: Path
    stored: Stored | None
    fault: str | None
    #: When a run last used it, in seconds since 1970 (UTC).
    used_s: float | None
    #: All its files, whatever state they are in, when the store was looked through.
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Pruned:
    """What :func:`prune` removed (or would), and what it left since a run uses it."""

    removed: tuple[str, ...]
    in_use: tuple[str, ...]
    freed_bytes: int


def entries(store: Store) -> list[Entry]:
    """Every entry of the store, the one used last first."""
    listed = list(_entries(store))
    return sorted(listed, key=lambda entry: entry.used_s or 0.0, reverse=True)


def _entries(store: Store) -> Iterator[Entry]:
    if not store.root.is_dir():
        return
    for folder in sorted(store.root.iterdir()):
        if folder.name.startswith(MAKING) or not folder.is_dir():
            continue
        stored = fault = used_s = None
        try:
            used_s = (folder / MANIFEST).stat().st_mtime
            stored = load_entry(folder)
        except FileNotFoundError:
            fault = f"has no {MANIFEST}"
        except ArtifactError as error:
            fault = error.what
        yield Entry(folder.name, folder, stored, fault, used_s, folder_bytes(folder))


def chosen(store: Store, keys: Sequence[str]) -> list[Entry]:
    """The entries of these keys (or beginnings of keys), or all.

    Raises :class:`ArtifactError` for a key that none or more than one entry has.
    """
    everything = entries(store)
    if not keys:
        return everything
    picked: list[Entry] = []
    for key in keys:
        fitting = [entry for entry in everything if entry.key.startswith(key)]
        if len(fitting) != 1:
            what = "no artifact" if not fitting else "more than one artifact"
            hint = unknown_name_hint(key, [entry.key for entry in everything])
            raise ArtifactError(f"{what} of that key", where=key, hint=hint)
        picked += fitting
    return picked


def verify(entry: Entry) -> str | None:
    """What is wrong with an entry, every byte read; ``None`` if it is as it was made."""
    if entry.stored is None:
        return entry.fault
    artifact = entry.stored.artifact
    if hash_content(artifact.path)[0] != artifact.content_hash:
        return "its files are not what was written (another sha256)"
    return None


def prune(store: Store, keys: Sequence[str], unused_days: float, *, dry_run: bool = False) -> Pruned:
    """Remove the entries of ``keys``; without keys, damaged ones and those not used for long.

    What killed makers have left goes in any case. An entry that a run uses stays.
    """
    if not dry_run:
        sweep(store.root)
    oldest_s = time.time() - unused_days * _DAY_S
    doomed = [
        entry for entry in chosen(store, keys) if keys or entry.stored is None or (entry.used_s or 0.0) <= oldest_s
    ]
    removed: list[str] = []
    in_use: list[str] = []
    freed_bytes = 0
    for entry in doomed:
        if dry_run or remove_unused(entry.folder):
            removed.append(entry.key)
            freed_bytes += entry.size_bytes
        else:
            in_use.append(entry.key)
    return Pruned(tuple(removed), tuple(in_use), freed_bytes)
