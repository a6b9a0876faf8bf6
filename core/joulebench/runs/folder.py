"""The folder of a run under way: made, held by one writer, and what ``--resume`` needs to know."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from joulebench.errors import SessionError
from joulebench.session.files import SESSION_FILE

_RESUME_FILE: Final = "resume.json"


def check_writable(out: Path) -> None:
    """Make the folder of sessions, or say at once that it cannot be written."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        if not os.access(out, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise _unwritable(out, error) from None


def _unwritable(out: Path, error: OSError) -> SessionError:
    return SessionError(f"cannot be written: {error.strerror}", where=str(out), hint="choose another --output")


def new_session_folder(out: Path, name: str) -> Path:
    """Make ``<out>/<UTC>-<name>/``."""
    stamp = datetime.now(tz=UTC).strftime("%Y-%m-%dT%H-%M-%SZ")
    try:
        out.mkdir(parents=True, exist_ok=True)
        for suffix in ("", *(f"-{number}" for number in range(2, 100))):
            folder = out / f"{stamp}-{name}{suffix}"
            try:
                folder.mkdir()
                return folder
            except FileExistsError:
                continue
    except OSError as error:
        raise _unwritable(out, error) from None
    raise SessionError("too many sessions in one second", where=str(out))


def note_profile_file(folder: Path, file: Path) -> None:
    """Remember where the profile's relative paths start from, for ``--resume`` alone."""
    (folder / _RESUME_FILE).write_text(json.dumps({"profile": str(file)}), encoding="utf-8")


def profile_file_of(folder: Path) -> Path | None:
    """The profile's file as the interrupted run knew it."""
    try:
        return Path(json.loads((folder / _RESUME_FILE).read_text(encoding="utf-8"))["profile"])
    except (OSError, ValueError, KeyError):
        return None


def in_session(file: Path) -> bool:
    """Whether a file lies in the folder of a session, or below it."""
    return any((folder / SESSION_FILE).exists() for folder in file.resolve().parents)


def is_own_profile(file: Path | None, text: str) -> bool:
    """Whether the profile of a session is the user's own: the file that it names has that text."""
    try:
        return file is not None and not in_session(file) and file.is_file() and file.read_text("utf-8") == text
    except (OSError, UnicodeDecodeError):
        return False


def forget_profile_file(folder: Path) -> None:
    """A complete session names no file of the machine that it was measured on."""
    (folder / _RESUME_FILE).unlink(missing_ok=True)


@contextlib.contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Hold the session's folder: two runs that write into it would spoil each other's streams.

    The kernel lets go of it when the process ends, however it ends.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise SessionError(
            "another run is still writing it", where=str(folder), hint="wait for it, or stop it"
        ) from None
    finally:
        os.close(handle)
