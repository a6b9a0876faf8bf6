"""``joulebench import melodi``: published tables into a session."""

from __future__ import annotations

from pathlib import Path

import click


@click.group("import", short_help="Read others' measurements into a session.")
def import_group() -> None:
    """Import published measurements as a session."""


@import_group.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder of the session, new or empty.")
def melodi(files: tuple[Path, ...], out: Path) -> None:
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
    made = import_tables(tables, out)
    for name, faults in made.faults:
        click.echo(f"{plain(name)}: " + (_count(len(faults), "fault") if faults else "no fault found"))
        for fault in faults:
            click.echo(f"  {plain(fault_text(fault))}")
    prompts, cells = _count(made.rows, "prompt"), _count(made.cells, "cell")
    click.echo(f"{prompts} in {cells}: {made.folder}")


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
