"""``joulebench profiles``."""

from __future__ import annotations

import click

from joulebench.api import examples
from joulebench.commands import completing
from joulebench.commands.common import echo_json, echo_table, json_option
from joulebench.commands.helping import CommandGroup


@click.group(cls=CommandGroup)
def profiles() -> None:
    """Shipped profiles and the schema of profiles."""


@profiles.command("list", epilog=examples("joulebench profiles list"))
@json_option
def list_profiles(as_json: bool) -> None:
    """List the profiles that can be run by name."""
    from joulebench.profile.reading import read_profile
    from joulebench.profile.shipped import shipped_profiles
    from joulebench.registry.loading import default_registry

    folders = default_registry().profile_dirs()
    listed = [read_profile(file, (), folders) for file in shipped_profiles(folders).values()]
    if as_json:
        echo_json([{"name": profile.name, "description": profile.description} for profile in listed])
        return
    echo_table([[profile.name, profile.description] for profile in listed], ["name", "what it measures"])


@profiles.command("show", epilog=examples("joulebench profiles show quick > mine.toml"))
@click.argument("name", shell_complete=completing.shipped)
def show_profile(name: str) -> None:
    """Print a profile, to copy and change it."""
    from joulebench.profile.shipped import find_profile
    from joulebench.registry.loading import default_registry

    file = find_profile(name, default_registry().profile_dirs())
    click.echo(file.read_text(encoding="utf-8"), nl=False)


@profiles.command("schema", epilog=examples("joulebench profiles schema > profile.schema.json"))
def schema() -> None:
    """Print the JSON schema of profiles, for editors, with the options of the installed plugins."""
    from joulebench.profile.jsonschema import profile_schema
    from joulebench.registry.loading import default_registry

    echo_json(profile_schema(default_registry()))
