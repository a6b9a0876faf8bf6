"""``joulebench plan``."""

from __future__ import annotations

import click

from joulebench.commands.common import (
    duration_text,
    echo_json,
    json_option,
    load_profile,
    set_option,
)


@click.command()
@click.argument("profile")
@set_option
@json_option
def plan(profile: str, overrides: tuple[str, ...], as_json: bool) -> None:
    """Show each cell of PROFILE as runnable or skipped with its reason, and the time it takes.

    PROFILE is a shipped profile's name ('joulebench profiles list') or the path of a TOML file.
    """
    _, _, _, made = load_profile(profile, overrides)
    if as_json:
        echo_json(made.to_json())
        return
    for cell in made.cells:
        if cell.runnable:
            steps = " → ".join(step.name for step in cell.transforms)
            click.echo(
                f"  run   {cell.label}   [{cell.device}]" + (f"  via {steps}" if steps else "")
            )
        else:
            click.echo(click.style(f"  skip  {cell.label}   [{cell.device}]", dim=True))
            click.echo(click.style(f"        {cell.reason}", dim=True))
    for label, ref in made.models.items():
        if not ref.fetched:
            click.echo(f"  model {label} will be fetched first ({ref.source})")
    total, runnable = len(made.cells), len(made.runnable)
    click.echo(
        f"{runnable} of {total} cells can run here; at least {duration_text(made.estimate_s)}"
    )
