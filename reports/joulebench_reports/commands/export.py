"""``joulebench export``. What it needs is imported when it is called."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from joulebench.api import examples, in_section
from joulebench.commands import completing
from joulebench.commands.helping import output_option

if TYPE_CHECKING:
    from joulebench_reports.data.export import Form

_TABLES: Final = ("summary", "figures", "session", "cells", "blocks", "energy", "requests", "samples", "events")


@in_section("Results")
@click.command(
    short_help="Write tables of sessions as Parquet or CSV",
    epilog=examples(
        "joulebench export latest -o tables", "joulebench export 'sessions/*' -o tables --format csv --table summary"
    ),
)
@click.argument("sessions", nargs=-1, required=True, metavar="SESSION...", shell_complete=completing.sessions)
@output_option("Folder to write into.", required=True, metavar="FOLDER")
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
    help="Write only this table: summary, figures, session, cells, blocks, energy, requests, "
    "samples or events. Repeatable. Default: all.",
)
@click.option(
    "--baseline",
    metavar="CELL",
    shell_complete=completing.cells,
    help="Label or id of the cell that the others are compared with in summary.",
)
def export(sessions: tuple[str, ...], output: Path, form: Form, tables: tuple[str, ...], baseline: str | None) -> None:
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
    for file in write(read, summary, output, form, tables or _TABLES):
        click.echo(f"wrote {file}", err=True)
