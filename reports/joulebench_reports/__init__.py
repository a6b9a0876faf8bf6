"""Reports of a session: terminal, Markdown, CSV, JSON and one self-contained HTML page."""

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
    from joulebench_reports.json_report import JsonRenderer
    from joulebench_reports.markdown import MarkdownRenderer
    from joulebench_reports.page import HtmlRenderer
    from joulebench_reports.tabular import CsvRenderer
    from joulebench_reports.terminal import TerminalRenderer

    return [TerminalRenderer, MarkdownRenderer, CsvRenderer, JsonRenderer, HtmlRenderer]


@hookimpl
def joulebench_commands() -> dict[str, click.Command]:
    """``compare`` and ``advise``."""
    from joulebench_reports.advise_command import advise
    from joulebench_reports.compare_command import compare

    return {"advise": advise, "compare": compare}
