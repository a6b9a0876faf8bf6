"""Another Python than joulebench's own, and what its processes must not inherit."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

#: They lead an interpreter to packages that are not its own (Python's manual, "Environment
#: variables").
_LEADING_ELSEWHERE: Final = frozenset({"PYTHONPATH", "PYTHONHOME", "PYTHONUSERBASE", "VIRTUAL_ENV"})


@dataclass(frozen=True, slots=True)
class OtherPython:
    """An interpreter that is not joulebench's own.

    ``environment`` is its name if joulebench made it; else a profile has named it.
    """

    path: str
    environment: str | None = None

    @property
    def title(self) -> str:
        """What it is, without its path: a record is made to be shared."""
        if self.environment is None:
            return "an interpreter that the profile names"
        return f"environment {self.environment}"


def environ_for(python: OtherPython | None) -> dict[str, str]:
    """This process's variables, for a process of that interpreter (``None``: of this one)."""
    if python is None:
        return dict(os.environ)
    return {name: value for name, value in os.environ.items() if name not in _LEADING_ELSEWHERE}


def package_folders() -> tuple[str, ...]:
    """Where the packages of this interpreter lie, in the order of its path."""
    names = ("site-packages", "dist-packages")
    return tuple(dict.fromkeys(entry for entry in sys.path if Path(entry).name in names and Path(entry).is_dir()))
