"""Reports of sessions: terminal, Markdown, CSV, JSON, JSON lines, Perfetto, one HTML page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from joulebench.api import Renderer
from joulebench.hookspecs import hookimpl

if TYPE_CHECKING:
    import click

JOULEBENCH_API = 1


@hookimpl
def joulebench_renderers() -> list[type[Renderer]]:
    """The renderers; pyarrow, rich, vl_convert and all that reads a session are imported when they render."""
    from joulebench_reports.renderers import RENDERERS

    return list(RENDERERS)


@hookimpl
def joulebench_commands() -> dict[str, click.Command]:
    """``compare``, ``advise``, ``export`` and ``extrapolate``."""
    from joulebench_reports.commands.advise import advise
    from joulebench_reports.commands.compare import compare
    from joulebench_reports.commands.export import export
    from joulebench_reports.commands.extrapolate import extrapolate

    return {"advise": advise, "compare": compare, "export": export, "extrapolate": extrapolate}
