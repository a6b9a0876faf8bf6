"""What authors of renderers may build on: reports as values, the media that write them, words and numbers.

:func:`report_of` makes of sessions what every shipped report says, as a list of sections of items that
a renderer walks; :func:`summary_of` gives the figures behind it. Texts in them are foreign until
:func:`plain` or :func:`visible` makes them inert.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from joulebench.api import Settings
from joulebench_reports.charts.specification import Chart
from joulebench_reports.sections.report import (
    Column,
    Depth,
    Fold,
    Folds,
    Heading,
    Item,
    NoteList,
    Paragraph,
    Quote,
    Report,
    Section,
    Table,
    TableCell,
    Timelines,
    entry_text,
    table,
)
from joulebench_reports.values.figure import Figure
from joulebench_reports.values.figures import CellSummary, EnergySummary, SessionSummary
from joulebench_reports.values.note import Note
from joulebench_reports.values.options import BASELINE, PRICES, REPORT, VIEW, baseline_of
from joulebench_reports.words.flags import explain
from joulebench_reports.words.text import data_size, number, percent, plain, seconds, visible, with_interval

if TYPE_CHECKING:
    from joulebench.session import Session

__all__ = [
    "BASELINE",
    "PRICES",
    "REPORT",
    "VIEW",
    "CellSummary",
    "Chart",
    "Column",
    "Depth",
    "EnergySummary",
    "Figure",
    "Fold",
    "Folds",
    "Heading",
    "Item",
    "Medium",
    "Note",
    "NoteList",
    "Paragraph",
    "Quote",
    "Report",
    "Section",
    "SessionSummary",
    "Table",
    "TableCell",
    "Timelines",
    "data_size",
    "entry_text",
    "explain",
    "number",
    "percent",
    "picture_of",
    "plain",
    "report_of",
    "seconds",
    "summary_of",
    "table",
    "visible",
    "with_interval",
    "written",
]

#: What :func:`written` writes.
Medium = Literal["text", "markdown", "html"]


def report_of(sessions: Sequence[Session], settings: Settings, depth: Depth = Depth.DOCUMENT) -> Report:
    """What a report of these sessions says down to a depth, by the options in :data:`REPORT`."""
    from joulebench_reports.sections.contents import report_on

    return report_on(sessions, settings, depth)


def summary_of(sessions: Sequence[Session], settings: Settings) -> SessionSummary:
    """Every figure of the sessions: cells, verdicts, answers. Of several, ``parts`` are the summaries of each."""
    from joulebench_reports.summary.joining import summary_of as summary_and_sources

    return summary_and_sources(sessions, baseline_of(settings))[0]


def written(report: Report, medium: Medium, width: int = 100) -> str:
    """A report, of one's own sections or not, as a terminal's text, Markdown or a self-contained page."""
    if medium == "text":
        from joulebench_reports.text.terminal import terminal_text

        return terminal_text(report, width)
    if medium == "markdown":
        from joulebench_reports.text.markdown import markdown_text

        return markdown_text(report)
    from joulebench_reports.charts.runtime import chart_runtime
    from joulebench_reports.html.page import page_text

    return page_text(report, chart_runtime())


def picture_of(chart: Chart) -> str:
    """A chart as SVG. Raises :class:`~joulebench.errors.UnavailableError` without joulebench[html]."""
    from joulebench_reports.charts.drawing import svg

    return svg(chart)
