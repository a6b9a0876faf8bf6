"""From what a user names to sessions: a folder, a folder of many, a pattern, an address."""

from __future__ import annotations

import fnmatch
import glob
import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from joulebench.errors import JoulebenchError, SessionError
from joulebench.session.files import SESSION_FILE
from joulebench.session.reader import Session
from joulebench.session.remote import RemoteSession, file_system, is_file, is_folder, is_uri, listed, without_secret

#: How far below a folder its sessions may lie.
DEPTH: Final = 3
_WILD: Final = re.compile(r"[*?\[]")

#: What stands for the session that was written last, and the folder that it is looked for in.
LATEST: Final = "latest"
DEFAULT_FOLDER: Final = Path("sessions")

#: Opens a session; raises :class:`JoulebenchError` where it cannot be read.
Opener = Callable[[], Session]


def named_place(place: str) -> str:
    """A place as it is, but for ``latest``: the session in ``sessions/`` that was written last."""
    if place != LATEST or Path(place).exists():
        return place
    files = [(file.stat().st_mtime, file.parent) for file in DEFAULT_FOLDER.glob(f"*/{SESSION_FILE}")]
    if not files:
        raise SessionError(
            "no session is there",
            where=str(DEFAULT_FOLDER),
            hint=f"'{LATEST}' is the last session in {DEFAULT_FOLDER}/ of this folder; name another by its folder",
        )
    return str(max(files)[1])


def open_session(place: str) -> Session:
    """The one session at a place: a folder, an address or ``latest``."""
    place = named_place(place)
    if is_uri(place):
        system, path = file_system(place)
        return RemoteSession(system, path, without_secret(place)).snapshot()
    return Session(Path(place)).snapshot()


def open_sessions(places: Sequence[str], say: Callable[[str], None]) -> list[Session]:
    """Every session at these places, each once, in the order of their names.

    A session that is named itself must be readable. One that was found in a folder or by a
    pattern and is not is told of by ``say`` and left out, and so is a copy of another one.
    """
    sessions: dict[str, Session] = {}
    for place in map(named_place, places):
        many = list(_openers(place))
        if not many:
            raise SessionError(
                "no session is there",
                where=without_secret(place),
                hint="give a session's folder, a folder of such, or a pattern in quotes",
            )
        for key, opener in many:
            if key in sessions:
                continue
            try:
                sessions[key] = opener().snapshot()
            except JoulebenchError as error:
                if len(many) == 1:
                    raise
                say(f"left out: {error.what} ({error.where or key})")
                continue
            original = next(
                (name for name, other in sessions.items() if name != key and _is_copy(sessions[key], other)), None
            )
            if original is not None:
                del sessions[key]
                say(f"left out: a copy of {original} ({key})")
    if not sessions:
        raise SessionError("none of the sessions there can be read", where=", ".join(places))
    return list(sessions.values())


def _is_copy(session: Session, other: Session) -> bool:
    """Whether both are one run: every column of their own rows is the same."""
    return session.row.session_id is not None and session.row == other.row


def _openers(place: str) -> Iterator[tuple[str, Opener]]:
    """(what tells it from others, how to open it) of each session at a place."""
    if is_uri(place):
        yield from _remote(place)
    elif _WILD.search(place) and not Path(place).exists():
        for path in sorted(glob.glob(place)):  # noqa: PTH207  may be absolute
            if Path(path).is_dir():
                yield from _local(Path(path))
    else:
        yield from _local(Path(place))


def _local(folder: Path) -> Iterator[tuple[str, Opener]]:
    if not folder.is_dir() or (folder / SESSION_FILE).exists():
        # What is no folder is told of when it is opened.
        yield os.path.realpath(folder), lambda: Session(folder)
        return
    inside = list(_below(folder, DEPTH))
    if not inside:
        yield os.path.realpath(folder), lambda: Session(folder)
    for path in inside:
        yield os.path.realpath(path), lambda path=path: Session(path)  # type: ignore[misc]


def _below(folder: Path, depth: int) -> Iterator[Path]:
    """Sessions below a folder, by name. Links are not followed: they may lead anywhere."""
    with os.scandir(folder) as entries:
        names = sorted(e.name for e in entries if e.is_dir(follow_symlinks=False))
    for name in names:
        inner = folder / name
        if (inner / SESSION_FILE).exists():
            yield inner
        elif depth > 1 and not name.startswith("."):
            yield from _below(inner, depth - 1)


# -- file systems that are elsewhere ------------------------------------------------------------


def _remote(uri: str) -> Iterator[tuple[str, Opener]]:
    system, path = file_system(_fixed_part(uri))
    shown = without_secret(_fixed_part(uri)).rstrip("/")
    wild = without_secret(uri)[len(without_secret(_fixed_part(uri))) :].strip("/")
    folders = [(path.rstrip("/"), shown)]
    for pattern in wild.split("/") if wild else ():
        folders = [
            (str(info.path), f"{place}/{info.base_name}")
            for folder, place in folders
            for info in listed(system, folder, place)
            if is_folder(info) and fnmatch.fnmatchcase(str(info.base_name), pattern)
        ]
    for folder, place in folders:
        yield from _remote_below(system, folder, place, 0 if wild else DEPTH)


def _fixed_part(uri: str) -> str:
    """An address up to the first part that is a pattern."""
    scheme, _, rest = uri.partition("://")
    kept: list[str] = []
    for part in rest.split("/"):
        if _WILD.search(part):
            break
        kept.append(part)
    return f"{scheme}://{'/'.join(kept)}"


def _remote_below(system: Any, folder: str, shown: str, depth: int) -> Iterator[tuple[str, Opener]]:
    entries = listed(system, folder, shown)
    if any(is_file(info) and info.base_name == SESSION_FILE for info in entries):
        yield shown, lambda: RemoteSession(system, folder, shown)
        return
    for info in entries if depth else ():
        if is_folder(info) and not str(info.base_name).startswith("."):
            inner = f"{shown}/{info.base_name}"
            yield from _remote_below(system, str(info.path), inner, depth - 1)
