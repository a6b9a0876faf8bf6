"""The hooks that a plugin may implement. All carry the project's prefix and return classes.

A plugin is a module (or object) named by an entry point in the group ``joulebench``. It states
``JOULEBENCH_API = 1`` and decorates its functions with :data:`joulebench.hookspecs.hookimpl`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pluggy

from joulebench.api import Backend, Converter, FinishedCell, Probe, Renderer, Technique, Workload

if TYPE_CHECKING:
    import click

PROJECT = "joulebench"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def joulebench_backends() -> list[type[Backend]]:  # type: ignore[empty-body]
    """Backend classes.

    Called once per process, when a plugin of any kind is first looked up. Import the class here,
    not at the top of the module::

        @hookimpl
        def joulebench_backends():
            from joulebench_mine.backend import MyBackend

            return [MyBackend]
    """


@hookspec
def joulebench_techniques() -> list[type[Technique]]:  # type: ignore[empty-body]
    """Technique classes.

    Called once per process, when a plugin of any kind is first looked up. Import the class here,
    not at the top of the module::

        @hookimpl
        def joulebench_techniques():
            from joulebench_mine.technique import MyTechnique

            return [MyTechnique]
    """


@hookspec
def joulebench_converters() -> list[type[Converter]]:  # type: ignore[empty-body]
    """Converter classes.

    Called once per process, when a plugin of any kind is first looked up. Import the class here,
    not at the top of the module::

        @hookimpl
        def joulebench_converters():
            from joulebench_mine.converter import MyConverter

            return [MyConverter]
    """


@hookspec
def joulebench_probes() -> list[type[Probe]]:  # type: ignore[empty-body]
    """Probe classes.

    Called once per process, when a plugin of any kind is first looked up. Import the class here,
    not at the top of the module::

        @hookimpl
        def joulebench_probes():
            from joulebench_mine.probe import MyProbe

            return [MyProbe]

    What it reads by code of its own (a ``ReaderSource``) is open in one process at a time, the
    sampler's: never in the worker, and in the command itself only while the probe is asked.
    """


@hookspec
def joulebench_renderers() -> list[type[Renderer]]:  # type: ignore[empty-body]
    """Renderer classes.

    Called once per process, when a plugin of any kind is first looked up. Import the class here,
    not at the top of the module::

        @hookimpl
        def joulebench_renderers():
            from joulebench_mine.renderer import MyRenderer

            return [MyRenderer]
    """


@hookspec
def joulebench_workloads() -> list[type[Workload]]:  # type: ignore[empty-body]
    """Workload classes.

    Called once per process, when a plugin of any kind is first looked up. Import the class here,
    not at the top of the module::

        @hookimpl
        def joulebench_workloads():
            from joulebench_mine.workload import MyWorkload

            return [MyWorkload]
    """


@hookspec
def joulebench_profile_dirs() -> list[Path]:  # type: ignore[empty-body]
    """Folders with ``*.toml`` profiles, ``models/*.toml``, ``texts/*`` and ``scenarios/*.toml``.

    Called when a profile, a model, a builtin text or a scenario is looked up by name::

        @hookimpl
        def joulebench_profile_dirs():
            return [Path(__file__).parent / "profiles"]
    """


@hookspec
def joulebench_commands() -> dict[str, click.Command]:  # type: ignore[empty-body]
    """Further commands by name.

    Called for unknown command names, and for ``--help``, where ``@in_section("Results")`` of the
    API above ``@click.command`` places a command; ``epilog=examples(…)`` with whole command lines
    ends its own help::

        @hookimpl
        def joulebench_commands():
            from joulebench_mine.commands import calibrate

            return {"calibrate": calibrate}
    """


@hookspec
def joulebench_cell_finished(cell: FinishedCell) -> None:
    """Observer: a cell's record is complete on disk.

    Called in the parent of the run, after each cell. An exception here is reported and does not
    stop the run::

        @hookimpl
        def joulebench_cell_finished(cell):
            print(f"{cell.cell_id}: {cell.status}")
    """
