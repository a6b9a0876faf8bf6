"""MELODI: the published method's columns, tables and analysis."""

from __future__ import annotations

from typing import TYPE_CHECKING

from joulebench.api import Renderer
from joulebench.hookspecs import hookimpl

if TYPE_CHECKING:
    import click

JOULEBENCH_API = 1


@hookimpl
def joulebench_renderers() -> list[type[Renderer]]:
    """The table and the analysis; numpy, textstat and textblob are imported when they render."""
    from joulebench_reports.melodi.renderers import AnalysisRenderer, MelodiRenderer

    return [MelodiRenderer, AnalysisRenderer]


@hookimpl
def joulebench_commands() -> dict[str, click.Command]:
    """``joulebench import``."""
    from joulebench_reports.melodi.command import import_group

    return {"import": import_group}
