"""The renderers of sessions: their names and options. What writes a report is imported when it is rendered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Final

from joulebench.api import Availability, Option, Renderer, Settings, require_modules
from joulebench_reports.values.options import BASELINE, MOST_TIMELINES, REPORT, baseline_of

if TYPE_CHECKING:
    from joulebench.session import Session

#: Columns of the narrowest terminal.
NARROWEST: Final = 40
#: Points of one sensor's track, and tokens of a cell, in a trace.
POINTS: Final = 5000
TOKENS: Final = 50_000
#: What there are pictures of.
PICTURES: Final = ("energy", "relative", "speed", "quality", "heat", "scaling", "phases")
_PNG: Final = Option("png", "bool", False, "PNG instead of SVG")


class _SessionsRenderer(Renderer):
    """A renderer of several sessions, to which one is no special case."""

    def render(self, session: Session, settings: Settings) -> str | bytes:
        """The report of one session."""
        return self.render_many([session], settings)


class TerminalRenderer(_SessionsRenderer):
    """The answer, a table of the cells, what is missing and why, and how far to trust it."""

    name = "terminal"
    summary = "the session in one glance"
    suffix: ClassVar[str] = ""
    by_default: ClassVar[bool] = True
    options = (
        Option("width", "int", None, "columns; the terminal's own by default", minimum=NARROWEST),
        Option("color", "bool", False, "write ANSI colours"),
        Option("verbose", "bool", False, "every note, not only the severest"),
        *REPORT,
    )

    def render_many(self, sessions: Sequence[Session], settings: Settings) -> str:
        """The text, with a line feed at its end."""
        from joulebench_reports.sections.contents import report_on
        from joulebench_reports.sections.report import Depth
        from joulebench_reports.text.terminal import terminal_text

        verbose = bool(settings.get("verbose", False))
        report = report_on(sessions, settings, Depth.NOTES if verbose else Depth.GLANCE)
        return terminal_text(report, *_look(settings), verbose=verbose)

    def conclusion(self, session: Session, settings: Settings) -> str | None:
        """The answer once more, where the end of a long report is all that is seen."""
        from joulebench_reports.sections.contents import answer_of
        from joulebench_reports.sections.material import Material
        from joulebench_reports.summary.joining import summary_of
        from joulebench_reports.text.terminal import sections_text

        material = Material(*summary_of([session], baseline_of(settings)))
        return sections_text(answer_of(material), *_look(settings)) or None


def _look(settings: Settings) -> tuple[int, bool]:
    """Columns, and whether in colour."""
    import shutil

    width = settings.get("width")
    if not isinstance(width, int):
        width = shutil.get_terminal_size((100, 24)).columns
    return max(width, NARROWEST), bool(settings.get("color", False))


class MarkdownRenderer(_SessionsRenderer):
    """The answer, a table of the cells, what is missing and why, and how far to trust it."""

    name = "markdown"
    summary = "tables and notes for an issue or a repository"
    suffix: ClassVar[str] = ".md"
    options = REPORT

    def render_many(self, sessions: Sequence[Session], settings: Settings) -> str:
        """CommonMark with pipe tables."""
        from joulebench_reports.sections.contents import report_on
        from joulebench_reports.sections.report import Depth
        from joulebench_reports.text.markdown import markdown_text

        return markdown_text(report_on(sessions, settings, Depth.DOCUMENT))


class HtmlRenderer(_SessionsRenderer):
    """Tables, charts, machine, reasons and samples in one page that works offline."""

    name = "html"
    summary = "one self-contained page with charts"
    suffix: ClassVar[str] = ".html"
    by_default: ClassVar[bool] = True
    options = (
        Option("charts", "bool", True, "draw charts where joulebench[html] is installed"),
        Option("timelines", "int", MOST_TIMELINES, "cells whose readings over time are in the page", minimum=0),
        *REPORT,
    )

    def available(self) -> Availability:
        """Always: without the optional extra the page has tables only."""
        return Availability.yes()

    def render_many(self, sessions: Sequence[Session], settings: Settings) -> str:
        """The page."""
        from joulebench_reports.charts.runtime import chart_runtime
        from joulebench_reports.html.page import page_text
        from joulebench_reports.sections.contents import report_on
        from joulebench_reports.sections.report import Depth

        runtime = chart_runtime() if settings.get("charts", True) else None
        return page_text(report_on(sessions, settings, Depth.PAGE), runtime)


class CsvRenderer(_SessionsRenderer):
    """One row per cell."""

    name = "csv"
    summary = "one row per cell, units in the names"
    suffix: ClassVar[str] = ".csv"
    options = (BASELINE,)

    def render_many(self, sessions: Sequence[Session], settings: Settings) -> str:
        """One table of the cells of all sessions; unknown is an empty field."""
        from joulebench_reports.data.csvreport import table
        from joulebench_reports.summary.joining import summary_of

        return table(summary_of(sessions, baseline_of(settings))[0])


class JsonRenderer(Renderer):
    """Machine-readable JSON."""

    name = "json"
    summary = "every figure with interval, provenance, flags and reason, for machines"
    suffix: ClassVar[str] = ".json"
    options = (BASELINE,)

    def render(self, session: Session, settings: Settings) -> str:
        """One JSON object; unknown is null, and no number is NaN or infinite."""
        from joulebench_reports.data.jsonreport import document
        from joulebench_reports.summary.session import summarise

        return document(summarise(session, baseline_of(settings)))

    def render_many(self, sessions: Sequence[Session], settings: Settings) -> str:
        """One object with that of each session, whose cells bear its name."""
        from joulebench_reports.data.jsonreport import documents
        from joulebench_reports.summary.joining import join

        return documents(join(sessions, baseline_of(settings))[0])


class JsonLinesRenderer(_SessionsRenderer):
    """One line per cell, failed and skipped ones too."""

    name = "jsonl"
    summary = "one JSON object per cell and line, with its verdict, for builds"
    suffix: ClassVar[str] = ".jsonl"
    options = (BASELINE,)

    def render_many(self, sessions: Sequence[Session], settings: Settings) -> str:
        """The lines of every session, in their order; unknown is null."""
        from joulebench_reports.data.jsonlines import lines
        from joulebench_reports.summary.joining import summary_of

        return lines(summary_of(sessions, baseline_of(settings))[0])


class PerfettoRenderer(Renderer):
    """Each cell as a process with a track for blocks, requests, phases, tokens and each sensor."""

    name = "perfetto"
    summary = "a trace of blocks, phases, tokens and sensors for ui.perfetto.dev (JSON)"
    suffix: ClassVar[str] = ".perfetto.json"
    options = (
        Option("points", "int", POINTS, "maximum points of a sensor's track", minimum=10, maximum=1_000_000),
        Option("tokens", "int", TOKENS, "maximum tokens of a cell", minimum=0, maximum=10_000_000),
    )

    def render(self, session: Session, settings: Settings) -> str:
        """One JSON object. Text of models and prompts is in it as JSON strings alone."""
        from joulebench_reports.data.perfetto import trace

        return trace(session, int(settings.get("points", POINTS)), int(settings.get("tokens", TOKENS)))


class ChartRenderer(_SessionsRenderer):
    """One of the pictures of :class:`~joulebench_reports.library.plots.Plots`."""

    name = "chart"
    summary = "one picture as SVG or PNG"
    suffix: ClassVar[str] = ".svg"
    options = (
        Option("chart", "str", PICTURES[0], "which picture", choices=PICTURES),
        Option("number", "int", 1, "which of several: each unit and provenance has its own", minimum=1),
        _PNG,
    )

    def available(self) -> Availability:
        """Where a library draws pictures."""
        return require_modules(["vl_convert"], "html")

    def render_many(self, sessions: Sequence[Session], settings: Settings) -> str | bytes:
        """The picture of the cells of all sessions."""
        from joulebench_reports.charts.drawing import png, svg
        from joulebench_reports.library.plots import picture
        from joulebench_reports.summary.joining import summary_of

        summary, _ = summary_of(sessions)
        chart = picture(summary, str(settings.get("chart", PICTURES[0])), int(settings.get("number", 1)))
        return png(chart) if settings.get("png") else svg(chart)


class CardRenderer(_SessionsRenderer):
    """The answer in a picture."""

    name = "card"
    summary = "the answer as a picture (SVG or PNG) for a wiki"
    suffix: ClassVar[str] = ".svg"
    options = (_PNG, BASELINE)

    def available(self) -> Availability:
        """Always as SVG."""
        return Availability.yes()

    def render_many(self, sessions: Sequence[Session], settings: Settings) -> str | bytes:
        """The card of all sessions."""
        from joulebench_reports.charts.drawing import png_of_svg
        from joulebench_reports.library.card import card_svg
        from joulebench_reports.summary.joining import summary_of

        summary, _ = summary_of(sessions, baseline_of(settings))
        picture = card_svg(summary)
        return png_of_svg(picture) if settings.get("png") else picture


#: In the order in which reports are shown at the end of a run.
RENDERERS: Final[tuple[type[Renderer], ...]] = (
    TerminalRenderer,
    MarkdownRenderer,
    CsvRenderer,
    JsonRenderer,
    JsonLinesRenderer,
    HtmlRenderer,
    PerfettoRenderer,
    ChartRenderer,
    CardRenderer,
)
