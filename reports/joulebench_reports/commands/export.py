"""``joulebench export``. What it needs is imported when it is called."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

if TYPE_CHECKING:
    from joulebench_reports.data.export import Form

_TABLES: Final = ("summary", "figures", "session", "cells", "blocks", "energy", "requests", "samples", "events")


@click.command()
@click.argument("sessions", nargs=-1, required=True, metavar="SESSION")
@click.option(
    "--to", "folder", required=True, type=click.Path(path_type=Path), metavar="FOLDER", help="Folder to write into."
)
@click.option(
    "--format",
    "form",
    default="parquet",
    show_default=True,
    type=click.Choice(("parquet", "csv")),
    help="parquet or csv.",
)
@click.option(
    "--table",
    "tables",
    multiple=True,
    type=click.Choice(_TABLES),
    help="Write only this table: summary, session, cells, blocks, energy, requests, "
    "samples or events. Repeatable. Default: all.",
)
@click.option("--baseline", metavar="CELL", help="Label or id of the cell that summary compares the others with.")
def export(sessions: tuple[str, ...], folder: Path, form: Form, tables: tuple[str, ...], baseline: str | None) -> None:
    """Write the tables of one or more sessions as Parquet or CSV files.

    One file for each table; every row names its session. 'summary' has the figures and verdicts of
    the reports, a row for each cell. Units are in Parquet's metadata, and for CSV in
    datapackage.json. SESSION is what 'joulebench report' takes.
    """
    from joulebench.session.places import open_sessions
    from joulebench_reports.data.export import export as write
    from joulebench_reports.summary.joining import join
    from joulebench_reports.summary.session import summarise

    read = open_sessions(sessions, lambda text: click.echo(text, err=True))
    one = len(read) == 1
    summary = summarise(read[0], baseline) if one else join(read, baseline)[0]
    for file in write(read, summary, folder, form, tables or _TABLES):
        click.echo(f"wrote {file}", err=True)
