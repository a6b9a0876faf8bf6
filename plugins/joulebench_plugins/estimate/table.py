"""The table of processor families and their powers (families.toml, beside this file)."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Family:
    """Powers of a processor family: what the file's head says of each key."""

    name: str
    match: str
    package_cores: int
    idle_w: float
    core_w: float
    relative_range: float
    source: str


@cache
def families() -> tuple[Family, ...]:
    """All families, in the order in which they are tried; the last one matches everything."""
    text = Path(__file__).with_name("families.toml").read_text(encoding="utf-8")
    return tuple(Family(**entry) for entry in tomllib.loads(text)["family"])


def find_family(description: str) -> Family:
    """The first family whose pattern is found in a processor's description."""
    return next(family for family in families() if re.search(family.match, description, re.IGNORECASE))
