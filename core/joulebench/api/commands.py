"""Where a plugin's command stands in ``joulebench --help``, and the examples of its own help."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal, TypeVar

#: Groups of commands in ``joulebench --help``: measuring, reading what was measured, the rest.
CommandSection = Literal["Start", "Results", "Upkeep"]

_ATTRIBUTE: Final = "joulebench_section"
_C = TypeVar("_C")


def in_section(section: CommandSection) -> Callable[[_C], _C]:
    """Decorator above ``@click.command``: where ``joulebench --help`` lists it (else ``Upkeep``)."""

    def placed(command: _C) -> _C:
        setattr(command, _ATTRIBUTE, section)
        return command

    return placed


def section_of(command: object) -> CommandSection:
    """The section that a command asks for."""
    section: CommandSection = getattr(command, _ATTRIBUTE, "Upkeep")
    return section


def examples(*lines: str) -> str:
    """An ``epilog`` for ``@click.command``: whole command lines, under ``Examples``."""
    return "\n".join(["\b", "Examples:", *(f"  {line}" for line in lines)])
