"""``joulebench extrapolate``. What it needs is imported when it is called."""

from __future__ import annotations

from pathlib import Path

import click

from joulebench.api import examples, in_section
from joulebench.commands import completing
from joulebench_reports.commands.output import output_options, write_answer


@in_section("Results")
@click.command(
    short_help="Compute a model too large to run from some of its layers",
    epilog=examples("joulebench extrapolate latest", "joulebench extrapolate latest --json"),
)
@click.argument("session", shell_complete=completing.sessions)
@output_options
def extrapolate(session: str, form: str | None, as_json: bool, output: Path | None) -> int:
    """Compute what a whole model would take from cells of SESSION with k and 2k of its layers.

    The cells come from a profile with layers = [k, 2k] at a shape: its true width, fewer layers.
    Joules and seconds of all layers follow by a straight line, with an interval; they are labelled
    extrapolated and are compared with nothing that was measured, but for the same model with all
    of its layers, where the session has that too. Exit code 1: the session has no such cells.
    """
    from joulebench.session.places import open_session
    from joulebench_reports.data.jsonformat import EXTRAPOLATIONS
    from joulebench_reports.sections.extrapolation import extrapolation_report
    from joulebench_reports.summary.session import summarise

    read = open_session(session)
    made = summarise(read).extrapolations
    name = read.row.session_id or read.path.name
    document = {"session_id": name, "extrapolations": made}
    report = extrapolation_report(made, name)
    write_answer(report, lambda: EXTRAPOLATIONS.text(document), "json" if as_json else form, output)
    return 0 if made else 1
