"""``joulebench env``."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import click

from joulebench.api import examples
from joulebench.commands import completing
from joulebench.commands.common import duration_text, echo_json, echo_table, json_option
from joulebench.commands.helping import CommandGroup

if TYPE_CHECKING:
    from joulebench.environments.store import Environments, Needed


@click.group(cls=CommandGroup)
def env() -> None:
    """Python environments for plugins with conflicting dependencies."""


@env.command("list", epilog=examples("joulebench env list"))
@json_option
def list_environments(as_json: bool) -> None:
    """List the environments that installed plugins need, and those that exist."""
    from joulebench.environments.store import Environments, needed_environments
    from joulebench.registry.loading import default_registry

    store = Environments()
    needed = needed_environments(default_registry())
    rows = [_state(store, name, needed.get(name)) for name in sorted({*needed, *store.names()})]
    if as_json:
        echo_json([asdict(row) for row in rows])
        return
    if not rows:
        click.echo("no installed plugin needs an environment")
        return
    echo_table(
        [
            [
                row.name,
                row.state,
                _size(row.size_bytes),
                row.python or "–",
                ", ".join(row.needed_by) or "nothing installed",
                ", ".join(row.requirements),
            ]
            for row in rows
        ],
        ["name", "state", "size", "python", "needed by", "requirements"],
    )
    for row in rows:
        if row.cure:
            click.echo(f"  {row.name} {row.state}: {row.cure}")


@dataclass(frozen=True, slots=True)
class EnvironmentState:
    """An environment that a plugin needs or that is there; ``state`` is ``ready`` or what is wrong."""

    name: str
    ready: bool
    state: str
    cure: str | None
    size_bytes: int | None
    python: str | None
    needed_by: tuple[str, ...]
    requirements: tuple[str, ...]


def _state(store: Environments, name: str, needed: Needed | None) -> EnvironmentState:
    from joulebench.api import ENVIRONMENT_NAME
    from joulebench.errors import InterpreterError
    from joulebench.models.store import folder_bytes

    fit = ENVIRONMENT_NAME.fullmatch(name) is not None
    try:
        record = store.record(name) if fit else None
    except InterpreterError:
        record = None
    if needed is not None:
        fault = store.fault(needed.environment)
        cure = f"joulebench env create {name}" if fault else None
    else:
        fault = "is needed by no installed plugin"
        cure = f"joulebench env remove {name}" if fit else None
    if fit and record is None and store.busy(name):
        fault, cure = "is being made", None
    requirements = needed.environment.requirements if needed else record.requirements if record else ()
    return EnvironmentState(
        name=name,
        ready=fault is None,
        state=fault or "ready",
        cure=cure,
        size_bytes=sum(map(folder_bytes, store.folders(name))) if fit else None,
        python=record.python if record else None,
        needed_by=tuple(plugin for _, plugin in needed.plugins) if needed else (),
        requirements=tuple(requirements),
    )


def _size(size_bytes: int | None) -> str:
    return f"{size_bytes / 1e6:.0f} MB" if size_bytes else "–"


@env.command("create", epilog=examples("joulebench env create NAME", "joulebench env create NAME -- --prefer-binary"))
@click.argument("name", shell_complete=completing.environments)
@click.option("--python", metavar="PATH", help="Interpreter of the environment; by default joulebench's own.")
@click.argument("pip_arguments", nargs=-1)
def create_environment(name: str, python: str | None, pip_arguments: tuple[str, ...]) -> None:
    """Make the environment NAME: a venv in the user's cache, filled once by your own pip.

    joulebench is installed into it as it is installed here, or shared with it where the plugins ask
    for that. An existing environment of that name
    is replaced once the new one is complete. Arguments after -- are passed to 'pip install', such
    as the index of a CPU-only build.
    """
    from joulebench.environments.making import make_environment
    from joulebench.environments.store import Environments, checked_name, needed_environments
    from joulebench.errors import InterpreterError, unknown_name_hint
    from joulebench.registry.loading import default_registry

    registry = default_registry()
    needed = needed_environments(registry)
    if checked_name(name) not in needed:
        raise InterpreterError(
            f"no installed plugin needs an environment '{name}'", hint=unknown_name_hint(name, needed)
        )
    start = time.monotonic()

    def say(text: str) -> None:
        click.echo(f"[{time.monotonic() - start:6.1f} s] {text}", err=True)

    store = Environments()
    record = make_environment(needed[name], registry, store, python, pip_arguments, say)
    click.echo(f"environment '{name}' is ready after {duration_text(record.seconds)}: {store.root / record.folder}")


@env.command("remove", epilog=examples("joulebench env remove NAME"))
@click.argument("name", shell_complete=completing.environments)
def remove_environment(name: str) -> None:
    """Remove the environment NAME, unless a run uses it."""
    from joulebench.environments.store import Environments

    Environments().remove(name)
    click.echo(f"removed environment '{name}'")
