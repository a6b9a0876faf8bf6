"""Errors that a user can mend: what was wrong, where, and what to do.

They are raised where the fault is found and turned into words once, in the command line's
``main``. Anything that is not a :class:`JoulebenchError` is a bug and keeps its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class JoulebenchError(Exception):
    """A fault that its reader can mend.

    ``where`` names a file, a key path, a line or an option; ``hint`` says what to do.
    """

    #: The process exit code when this error ends a command (design: 2 is wrong use).
    exit_code = 2

    def __init__(self, what: str, *, where: str | None = None, hint: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        text = self.what if self.where is None else f"{self.where}: {self.what}"
        return text if self.hint is None else f"{text}\n  hint: {self.hint}"


class ProfileError(JoulebenchError):
    """A profile that cannot be read, or says something that does not exist."""


class ModelError(JoulebenchError):
    """A model that is missing, damaged, or of a form that is refused."""


class ArtifactError(JoulebenchError):
    """A conversion or technique that did not produce what it promised."""


class PluginError(JoulebenchError):
    """A plugin that cannot be loaded or breaks its contract."""


class UnknownPluginError(PluginError):
    """A name that no installed plugin provides."""


class SessionError(JoulebenchError):
    """A folder that is no session, a damaged one, or one of a newer schema."""


class UnavailableError(JoulebenchError):
    """Something this machine or installation lacks; ``hint`` names the cure."""


class InterpreterError(JoulebenchError):
    """An interpreter or environment that is missing, half made, in use, or of another version."""


class NothingRanError(JoulebenchError):
    """A run in which no cell could be measured."""

    exit_code = 1


class DefectError(JoulebenchError):
    """A defect of joulebench or of a plugin, which nobody but its author can mend; its traceback is kept."""

    #: As sysexits.h has it: an internal software error.
    exit_code = 70


def nearest(name: str, valid: Iterable[str]) -> str | None:
    """The valid name closest to a misspelt one, or ``None`` when nothing is close."""
    matches = difflib.get_close_matches(name, list(valid), n=1, cutoff=0.6)
    return matches[0] if matches else None


def unknown_name_hint(name: str, valid: Iterable[str]) -> str:
    """A hint that names the nearest valid spelling and all the valid ones."""
    names = sorted(valid)
    close = nearest(name, names)
    listed = ", ".join(names) if names else "none"
    return f"did you mean '{close}'? valid: {listed}" if close else f"valid: {listed}"
