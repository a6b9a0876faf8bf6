"""``joulebench plan``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from joulebench.api import examples
from joulebench.commands import completing
from joulebench.commands.common import (
    between_text,
    echo_json,
    json_option,
    load_profile,
    set_option,
    thread_warnings,
    trust_option,
)

if TYPE_CHECKING:
    from joulebench.models.making import Transform
    from joulebench.plan.cells import Plan, PlannedCell
    from joulebench.profile.reading import AgreementCheck


def _agreement(agreement: AgreementCheck, plan: Plan) -> Iterator[str]:
    """What each model's cells are compared with, a line for models that have the same reference."""
    models: dict[tuple[str, str, str | None], list[str]] = {}
    for model, reference in plan.references.items():
        key = (reference.label, reference.device, reference.reason)
        models.setdefault(key, []).append(model)
    for (label, device, reason), named in models.items():
        of = "" if len(models) == 1 else f" of {', '.join(named)}"
        if reason is None:
            yield (
                f"agreement{of} is checked first: {agreement.count} × {agreement.tokens} tokens against "
                f"{label} [{device}], prompts of {agreement.prompts}"
            )
        else:
            yield f"agreement{of} is not checked, no reference: {label} [{device}] cannot run: {reason}"


def _step(step: Transform) -> str:
    return step.name if step.python is None else f"{step.name} [{step.python.title}]"


def _notes(cell: PlannedCell) -> tuple[str, ...]:
    return cell.notes if cell.unknown is None else (*cell.notes, cell.unknown)


def _where(cell: PlannedCell) -> str:
    """Where the worker runs, if that is another interpreter."""
    return "" if cell.python is None else f"  in {cell.python.title}"


@click.command(
    epilog=examples(
        "joulebench plan quick",
        "joulebench plan mine.toml --set protocol.processes=5",
        "joulebench plan quick --set model.mine.source=path:model.gguf --json",
    )
)
@click.argument("profile", shell_complete=completing.profiles)
@set_option
@trust_option
@json_option
def plan(profile: str, overrides: tuple[str, ...], trust: bool, as_json: bool) -> None:
    """Show which cells of PROFILE can run here, why others are skipped, and how long it takes.

    PROFILE is the name of a shipped profile ('joulebench profiles list') or a TOML file. The
    maximum is what the protocol's limits allow; fetching, conversions and waits for the machine to
    cool come on top.
    """
    planned = load_profile(profile, overrides, trusted=trust)
    read, made = planned.profile, planned.plan
    if as_json:
        echo_json(made.to_json())
        return
    from joulebench.plan.consent import programs_of

    for cell in made.cells:
        if cell.runnable:
            steps = " → ".join(_step(step) for step in cell.transforms)
            line = f"  {'run  ' if cell.unknown is None else '?    '} {cell.label}   [{cell.device}]{_where(cell)}"
            click.echo(line + (f"  via {steps}" if steps else ""))
        else:
            click.echo(click.style(f"  skip  {cell.label}   [{cell.device}]", dim=True))
            click.echo(click.style(f"        {cell.reason}", dim=True))
    for label, ref in made.models.items():
        if not ref.fetched and ref.config is not None:
            expected = f"; {ref.note}" if ref.kind == "hub" else ""
            click.echo(f"  model {label} will be fetched first ({ref.source}){expected}")
    for model, note in dict.fromkeys((cell.model, note) for cell in made.runnable for note in _notes(cell)):
        click.echo(f"  model {model}: {note}")
    for program in programs_of(read, planned.registry):
        click.echo(f"  executes {program.words}  ({program.key})")
    if read.agreement is not None:
        for line in _agreement(read.agreement, made):
            click.echo(f"  {line}")
    for warning in thread_warnings(made):
        click.echo(click.style(f"  warning: {warning}", fg="yellow"))
    known = sum(cell.unknown is None for cell in made.runnable)
    unknown = len(made.runnable) - known
    more = f", of {unknown} it is unknown" if unknown else ""
    click.echo(f"{known} of {len(made.cells)} cells can run here{more}; {between_text(made.duration)}")
