"""``joulebench plugin``."""

from __future__ import annotations

from typing import Any

import click

from joulebench.commands.common import echo_json, echo_table, json_option


@click.group()
def plugin() -> None:
    """Installed plugins."""


@plugin.command("list")
@json_option
def list_plugins(as_json: bool) -> None:
    """List every plugin by kind with its state here, and the broken ones with their error."""
    from joulebench.registry import availability_of, default_registry, provided_names

    registry = default_registry()
    rows: list[dict[str, Any]] = []
    for kind, names in provided_names(registry).items():
        for name in names:
            made = registry.make(kind, name)
            availability = availability_of(made)
            rows.append(
                {
                    "kind": kind,
                    "name": name,
                    "distribution": registry.distribution_of(kind, name),
                    "available": availability.ok,
                    "reason": availability.reason,
                    "cure": availability.cure,
                    "summary": made.summary,
                }
            )
    broken = [
        {"entry_point": each.entry_point, "distribution": each.distribution, "error": each.error}
        for each in registry.broken
    ]
    if as_json:
        echo_json({"plugins": rows, "broken": broken})
        return
    echo_table(
        [
            [row["kind"], row["name"], row["distribution"], _state(row), row["summary"]]
            for row in rows
        ],
        ["kind", "name", "from", "state", "what it does"],
    )
    for each in broken:
        click.echo(
            click.style("broken ", fg="red", bold=True)
            + f"{each['entry_point']} (from {each['distribution']}): {each['error']}"
        )


def _state(row: dict[str, Any]) -> str:
    if row["available"]:
        return "ready"
    return f"{row['reason']}" + (f" → {row['cure']}" if row["cure"] else "")
