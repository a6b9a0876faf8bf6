"""The hooks that a plugin may implement. All carry the project's prefix and return classes.

A plugin is a module (or object) named by an entry point in the group ``joulebench``. It states
``JOULEBENCH_API = 1`` and decorates its functions with :data:`joulebench.hookspecs.hookimpl`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pluggy

from joulebench.api import (
    Backend,
    Converter,
    FinishedCell,
    Probe,
    Renderer,
    Technique,
    Workload,
)

if TYPE_CHECKING:
    import click

PROJECT = "joulebench"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def joulebench_backends() -> list[type[Backend]]:  # type: ignore[empty-body]
    """Backend classes. Called once, when a plugin of the kind is first looked up."""


@hookspec
def joulebench_techniques() -> list[type[Technique]]:  # type: ignore[empty-body]
    """Technique classes. Called once, when a plugin of the kind is first looked up."""


@hookspec
def joulebench_converters() -> list[type[Converter]]:  # type: ignore[empty-body]
    """Converter classes. Called once, when a plugin of the kind is first looked up."""


@hookspec
def joulebench_probes() -> list[type[Probe]]:  # type: ignore[empty-body]
    """Probe classes. Called once, when a plugin of the kind is first looked up."""


@hookspec
def joulebench_renderers() -> list[type[Renderer]]:  # type: ignore[empty-body]
    """Renderer classes. Called once, when a plugin of the kind is first looked up."""


@hookspec
def joulebench_workloads() -> list[type[Workload]]:  # type: ignore[empty-body]
    """Workload classes. Called once, when a plugin of the kind is first looked up."""


@hookspec
def joulebench_profile_dirs() -> list[Path]:  # type: ignore[empty-body]
    """Folders with ``*.toml`` profiles, ``models/*.toml``, ``texts/*`` and ``scenarios/*.toml``.

    Called when a profile, a model, a builtin text or a scenario is looked up by name.
    """


@hookspec
def joulebench_commands() -> dict[str, click.Command]:  # type: ignore[empty-body]
    """Further commands by name. Called when the command line meets a name it does not know,
    and for ``--help``."""


@hookspec
def joulebench_cell_finished(cell: FinishedCell) -> None:
    """Observer: a cell's record is complete on disk. Called in the parent of the run.

    An exception here is reported and does not stop the run.
    """
