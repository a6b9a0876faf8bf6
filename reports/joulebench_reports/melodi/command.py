"""``joulebench import melodi``: published tables into a session."""

from __future__ import annotations

from pathlib import Path

import click

from joulebench.api import examples, in_section
from joulebench.commands.helping import CommandGroup, output_option


@in_section("Results")
@click.group("import", cls=CommandGroup, short_help="Read published measurements into a session")
def import_group() -> None:
    """Import published measurements as a session."""


@import_group.command(epilog=examples("joulebench import melodi published.csv -o imported"))
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE...")
@output_option("Folder of the session, new or empty.", required=True, metavar="FOLDER")
def melodi(files: tuple[Path, ...], output: Path) -> None:
    """Import published MELODI tables (CSV) as a session, and list their faults.

    Every report and 'joulebench report SESSION --format analysis' then works on it.
    """
    from joulebench.errors import SessionError
    from joulebench_reports.melodi.importing import fault_text, import_tables
    from joulebench_reports.melodi.publishedtable import read_table
    from joulebench_reports.words.text import plain

    tables = [read_table(file) for file in files]
    names = [table.name for table in tables]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise SessionError(f"two tables have the name {twice[0]}", hint="rename one of them")
    made = import_tables(tables, output)
    for name, faults in made.faults:
        click.echo(f"{plain(name)}: " + (_count(len(faults), "fault") if faults else "no fault found"))
        for fault in faults:
            click.echo(f"  {plain(fault_text(fault))}")
    prompts, cells = _count(made.rows, "prompt"), _count(made.cells, "cell")
    click.echo(f"{prompts} in {cells}: {made.folder}")


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
