"""``joulebench advise``. What it needs is imported when it is called."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from joulebench.api import examples, in_section
from joulebench.commands import completing
from joulebench_reports.commands.output import output_options, write_answer
from joulebench_reports.values.options import DEFAULT_MAX_LOSS

if TYPE_CHECKING:
    from joulebench_reports.judging.advice import Aim
    from joulebench_reports.values.pareto import Objective


@in_section("Results")
@click.command(
    short_help="Recommend which combination to deploy",
    epilog=examples(
        "joulebench advise latest", "joulebench advise latest --for time --limit 'peak_memory<500MB' --max-loss 2%"
    ),
)
@click.argument("session", shell_complete=completing.sessions)
@click.option(
    "--for",
    "aim",
    type=click.Choice(("energy", "time", "memory")),
    default="energy",
    show_default=True,
    help="What to minimise: energy, time or memory.",
)
@click.option(
    "--limit",
    "limits",
    multiple=True,
    metavar="NAME<VALUE",
    help="Constraint, such as 'peak_memory<500MB'. Names: peak_memory, "
    "device_memory, disk, energy, rate, ttft, tpot, perplexity. "
    "Repeatable.",
)
@click.option(
    "--max-loss",
    metavar="PERCENT",
    default=f"{DEFAULT_MAX_LOSS:.0%}",
    show_default=True,
    help="Maximum perplexity increase over the uncompressed model, as 2%. 'none': no limit.",
)
@click.option(
    "--objective",
    "objectives",
    multiple=True,
    type=click.Choice(("energy", "loss", "memory", "time")),
    help="Of the Pareto front: energy, loss, memory, time. Repeatable. Default: the first three.",
)
@output_options
def advise(
    session: str,
    aim: Aim,
    limits: tuple[str, ...],
    max_loss: str,
    objectives: tuple[Objective, ...],
    form: str | None,
    as_json: bool,
    output: Path | None,
) -> int:
    """Recommend which cell of SESSION to deploy on its machine, with its certainty.

    For each model and workload: the cell with the least energy (--for) within the limits, the
    ones that are as good, and the Pareto front. If the session does not show which is best, there
    is no recommendation, and the output says what another run needs. Energies of different
    provenance are never ranked together. Exit code 1: nothing is recommended.
    """
    from joulebench.session.places import open_session
    from joulebench_reports.data.jsonadvice import advice_json
    from joulebench_reports.judging import advice
    from joulebench_reports.judging.constraints import parse_constraint
    from joulebench_reports.judging.workgroups import SessionWork
    from joulebench_reports.sections.advice import advice_report
    from joulebench_reports.summary.session import summarise
    from joulebench_reports.values.pareto import DEFAULT_OBJECTIVES

    constraints = [parse_constraint(text) for text in limits]
    loss = _percent(max_loss)
    read = open_session(session)
    advice_list = advice.advise(
        SessionWork.of(read), summarise(read).shown, aim, constraints, loss, objectives or DEFAULT_OBJECTIVES
    )
    report = advice_report(advice_list, read.row.session_id or read.path.name)
    write_answer(report, lambda: advice_json(advice_list), "json" if as_json else form, output)
    return 0 if any(advised.best is not None for advised in advice_list) else 1


def _percent(text: str) -> float | None:
    if text.strip() == "none":
        return None
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*%\s*", text)
    if match is None:
        raise click.BadParameter(f"'{text}' is neither a percentage such as 2% nor 'none'", param_hint="--max-loss")
    return float(match[1]) / 100
