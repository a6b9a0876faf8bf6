"""The session folder: tables, schemas, streams, files, and sessions that lie elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from joulebench.session.reader import Session

__all__ = ["Session"]


def __getattr__(name: str) -> object:
    """``Session``, only when it is asked for: it brings Arrow, which the tables' rows do without."""
    if name == "Session":
        from joulebench.session.reader import Session

        return Session
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
