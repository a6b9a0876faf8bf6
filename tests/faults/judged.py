"""What became of a faulty sensor's figures."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Judged:
    """What was stated: ``held`` (with its interval or bound), ``null`` (with a word) or what is wrong."""

    outcome: str
    words: str = ""
    flags: tuple[str, ...] = ()
