"""``joulebench session``."""

from __future__ import annotations

from pathlib import Path

import click

from joulebench.api import examples
from joulebench.commands import completing
from joulebench.commands.helping import CommandGroup, SessionFolder

_session_argument = click.argument(
    "folder", metavar="SESSION", type=SessionFolder(), shell_complete=completing.sessions
)


@click.group(cls=CommandGroup)
def session() -> None:
    """Check and repair the files of sessions."""


@session.command("verify", epilog=examples("joulebench session verify latest"))
@_session_argument
def verify_session(folder: Path) -> int:
    """Check every file of SESSION (a folder, or latest). Exit code 1 if something is wrong."""
    from joulebench.session.upkeep import verify

    findings = verify(folder)
    for finding in findings:
        cure = " ('joulebench session recover' saves it)" if finding.recoverable else ""
        click.echo(f"{finding.file}: {finding.what}{cure}")
    if not findings:
        click.echo(f"{folder}: whole")
    return 1 if findings else 0


@session.command("recover", epilog=examples("joulebench session recover latest"))
@_session_argument
def recover_session(folder: Path) -> None:
    """Turn the unfinished streams of an interrupted SESSION into plain Arrow files.

    To continue the measurement instead: joulebench run --resume SESSION.
    """
    from joulebench.session.upkeep import recover

    made = recover(folder)
    for name in made:
        click.echo(f"recovered {name}")
    if not made:
        click.echo("nothing to recover")
