"""Help texts: groups of commands whose short helps are never cut, and options that several commands have."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])
#: Longer than any first sentence: click cuts a short help to the width of a line.
UNCUT = 1000


class CommandGroup(click.Group):
    """A group that lists its commands with their whole first sentences."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, short_help(command)) for name, command in self.commands.items()])


def short_help(command: click.Command) -> str:
    """The first sentence of a command's help, whole, without the full stop."""
    return command.get_short_help_str(UNCUT).rstrip(".")


class SessionFolder(click.Path):
    """A session's folder, or ``latest``."""

    name = "session"

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The folder as a path."""
        from joulebench.session.places import named_place

        return super().convert(named_place(str(value)), param, ctx)


def output_option(text: str, **more: Any) -> Callable[[F], F]:
    """``-o/--output``: the one name for where something is written."""
    return click.option("-o", "--output", type=click.Path(path_type=Path), help=text, **more)
