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
    """The renderers; their modules import pyarrow, rich and vl_convert only when they render."""
    from joulebench_reports.data.csvreport import CsvRenderer
    from joulebench_reports.data.jsonlines import JsonLinesRenderer
    from joulebench_reports.data.jsonreport import JsonRenderer
    from joulebench_reports.data.perfetto import PerfettoRenderer
    from joulebench_reports.html.page import HtmlRenderer
    from joulebench_reports.library.pictures import CardRenderer, ChartRenderer
    from joulebench_reports.text.markdown import MarkdownRenderer
    from joulebench_reports.text.terminal import TerminalRenderer

    return [
        TerminalRenderer,
        MarkdownRenderer,
        CsvRenderer,
        JsonRenderer,
        JsonLinesRenderer,
        HtmlRenderer,
        PerfettoRenderer,
        ChartRenderer,
        CardRenderer,
    ]


@hookimpl
def joulebench_commands() -> dict[str, click.Command]:
    """``compare``, ``advise`` and ``export``."""
    from joulebench_reports.commands.advise import advise
    from joulebench_reports.commands.compare import compare
    from joulebench_reports.commands.export import export

    return {"advise": advise, "compare": compare, "export": export}
