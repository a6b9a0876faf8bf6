"""A statement of a report."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Note:
    """One statement of a report: a short term, and what is to be said about it."""

    term: str
    text: str
