"""``joulebench session``."""

from __future__ import annotations

from pathlib import Path

import click


@click.group()
def session() -> None:
    """A session's files."""


@session.command("verify")
@click.argument("folder", type=click.Path(path_type=Path))
def verify_session(folder: Path) -> int:
    """Check every file of the session in FOLDER. Exit code 1 if something is wrong."""
    from joulebench.session.upkeep import verify

    findings = verify(folder)
    for finding in findings:
        cure = " ('joulebench session recover' saves it)" if finding.recoverable else ""
        click.echo(f"{finding.file}: {finding.what}{cure}")
    if not findings:
        click.echo(f"{folder}: whole")
    return 1 if findings else 0


@session.command("recover")
@click.argument("folder", type=click.Path(path_type=Path))
def recover_session(folder: Path) -> None:
    """Turn the unfinished streams of an interrupted session into plain Arrow files.

    To continue the measurement instead: 'joulebench run --resume FOLDER'.
    """
    from joulebench.session.upkeep import recover

    made = recover(folder)
    for name in made:
        click.echo(f"recovered {name}")
    if not made:
        click.echo("nothing to recover")
