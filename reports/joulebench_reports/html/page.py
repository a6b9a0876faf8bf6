"""One self-contained HTML page: no request leaves it, and foreign text in it is inert."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from typing import TYPE_CHECKING, ClassVar

from joulebench.api import Availability, Option, Renderer, Settings
from joulebench_reports.charts import phases as phasechart
from joulebench_reports.charts import tradeoff
from joulebench_reports.charts.bars import comparison_charts
from joulebench_reports.charts.runtime import chart_runtime
from joulebench_reports.charts.specification import Chart
from joulebench_reports.html import limits as limitparts
from joulebench_reports.html import sections
from joulebench_reports.html import techniques as techniqueparts
from joulebench_reports.html import timeline as timelinepart
from joulebench_reports.html.markup import Child, Element, data_block, h, render, script, style
from joulebench_reports.html.samples import request_samples
from joulebench_reports.notes import trust
from joulebench_reports.sections import memory as memorytable
from joulebench_reports.summary.joining import Sources, alone, join
from joulebench_reports.values import verdicts
from joulebench_reports.values.figures import CellSummary, SessionSummary
from joulebench_reports.words.text import plain

if TYPE_CHECKING:
    from joulebench.session.files import Session

#: What a page without the runtime says in place of its charts.
NO_CHARTS = "Charts are left out: pip install 'joulebench[html]' draws them. All tables are here."


class HtmlRenderer(Renderer):
    """Tables, charts, machine, reasons and samples in one page that works offline."""

    name = "html"
    summary = "one self-contained page with charts"
    suffix: ClassVar[str] = ".html"
    by_default: ClassVar[bool] = True
    options = (
        Option("charts", "bool", True, "draw charts where joulebench[html] is installed"),
        Option(
            "timelines", "int", timelinepart.MOST_CELLS, "cells whose readings over time are in the page", minimum=0
        ),
        verdicts.BASELINE,
    )

    def available(self) -> Availability:
        """Always: without the optional extra the page has tables only."""
        return Availability.yes()

    def render(self, session: Session, settings: Settings) -> str:
        """The page."""
        from joulebench_reports.summary.session import summarise

        summary = summarise(session, verdicts.baseline_of(settings))
        return _page(summary, alone(session, summary), settings)

    def render_many(self, sessions: Sequence[Session], settings: Settings) -> str:
        """The page of several sessions."""
        return _page(*join(sessions, verdicts.baseline_of(settings)), settings)


def _page(summary: SessionSummary, sources: Sources, settings: Settings) -> str:
    runtime = chart_runtime() if settings.get("charts", True) else None
    timelines = int(settings.get("timelines", timelinepart.MOST_CELLS))
    return build_page(summary, sources, runtime, timelines)


def build_page(
    summary: SessionSummary, sources: Sources, runtime: str | None, timelines: int = timelinepart.MOST_CELLS
) -> str:
    """The document; scripts may run only if their hash is the one that is named here."""
    own, own_hash = script(_asset("page.js"))
    scripts: list[Child] = [own]
    hashes = [own_hash]
    if runtime is not None:
        bundle, bundle_hash = script(runtime)
        scripts.insert(0, bundle)
        hashes.insert(0, bundle_hash)
    parts = _parts(summary, sources, timelines, drawn=runtime is not None)
    policy = (
        f"default-src 'none'; script-src {' '.join(hashes)}; style-src 'unsafe-inline'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )
    title = plain(trust.model_names(summary))
    page = h(
        "html",
        h(
            "head",
            h("meta", charset="utf-8"),
            h("meta", http_equiv="Content-Security-Policy", content=policy),
            h("meta", name="viewport", content="width=device-width, initial-scale=1"),
            h("meta", name="color-scheme", content="light dark"),
            h("title", f"{title} – joulebench"),
            style(_asset("page.css")),
        ),
        h(
            "body",
            sections.head(summary),
            sections.navigation([name for name, _, _ in parts]),
            h("main", *(sections.section(name, head, *body) for name, head, body in parts)),
            h("footer", f"joulebench {plain(summary.joulebench_version)}, session {plain(summary.session_id)}"),
            *scripts,
        ),
        lang="en",
    )
    return "<!doctype html>\n" + render(page) + "\n"


def _asset(name: str) -> str:
    folder = resources.files("joulebench_reports.html") / "assets"
    return (folder / name).read_text(encoding="utf-8")


_Part = tuple[str, str, list[Child]]


def _here(cells: Sequence[CellSummary]) -> tuple[CellSummary, ...]:
    """Cells of this machine: what sensors saw beside the others is their simulator."""
    return tuple(cell for cell in cells if not cell.simulated)


def _parts(summary: SessionSummary, sources: Sources, timelines: int, drawn: bool) -> list[_Part]:
    """Identifier, heading and content of each section that has something to say."""
    shown = summary.shown
    parts: list[_Part] = []
    if summary.parts:
        parts.append(("sessions", "Sessions", [sections.sessions(summary.parts)]))
    parts.append(("overview", "Cells", [sections.overview(shown)]))
    if shown:
        parts += _figures_of(summary, drawn)
        lines = timelinepart.read_timelines(sources, _here(shown), timelines)
        if lines:
            content = timelinepart.timeline_part(lines, len(shown), drawn, NO_CHARTS)
            parts.append(("timeline", "Over time", content))
        memory = memorytable.rows(shown)
        if memory:
            table = sections.table(memorytable.HEADER, memory, numeric_from=1)
            note = h("p", memorytable.NOTE, class_="facts")
            parts.append(("memory", "Memory", [note, table]))
        parts.append(("details", "Every figure", [sections.details(shown)]))
    if summary.missing:
        missing = sections.missing_cells(summary.missing)
        parts.append(("missing", "Cells without figures", [missing]))
    unmeasured = trust.unmeasured(summary)
    if unmeasured:
        parts.append(("unmeasured", "What could not be measured, and why", [sections.notes(unmeasured)]))
    trusted = trust.trust_notes(summary)
    if trusted:
        parts.append(("trust", "How far to trust this", [sections.notes(trusted)]))
    samples = request_samples(sources, shown)
    if samples is not None:
        parts.append(("requests", "Requests, the first of each cell", [samples]))
    parts.append(("machine", "Machine and versions", _machine(summary)))
    parts.append(("legend", "Provenance", [sections.legend()]))
    return parts


def _figures_of(summary: SessionSummary, drawn: bool) -> list[_Part]:
    """Charts of all cells together, and of each machine's own limits."""
    shown = summary.shown
    limits = [limitparts.parts(cells, drawn, _figure) for cells in summary.apart]
    own = [chart for cells in summary.apart for chart in limitparts.charts(cells)]
    parts: list[_Part] = [("charts", "Energy and speed", _comparison(shown, own, drawn))]
    quality = tradeoff.tradeoff_charts(shown)
    if quality:
        note = h("p", tradeoff.NOTE, class_="facts")
        body: list[Child] = [note, *(_figure(chart, drawn) for chart in quality)]
        parts.append(("quality", "Quality against cost", body))
    if summary.verdicts:
        parts.append(("verdicts", "What saves energy", _verdicts(summary)))
    if summary.costs:
        techniques = techniqueparts.part(summary.costs)
        parts.append(("techniques", "What each technique cost", techniques))
    for place, found in enumerate(limits):
        name = summary.parts[place].name if summary.parts else ""
        for identifier, heading, content in found:
            parts.append(
                (
                    f"{identifier}-{place + 1}" if name else identifier,
                    f"{heading}: {plain(name)}" if name else heading,
                    content,
                )
            )
    return parts


def _verdicts(summary: SessionSummary) -> list[Child]:
    body: list[Child] = []
    for found in summary.verdicts:
        body += [h("h3", found.caption), sections.table(verdicts.HEADER, found.rows())]
        body.append(h("p", found.note, class_="facts"))
    return body


def _machine(summary: SessionSummary) -> list[Child]:
    """Machine, its state and versions; of each session in turn."""
    body: list[Child] = []
    for part in summary.parts or (summary,):
        if part.name:
            body.append(h("h3", plain(part.name)))
        body += [
            *sections.record("Machine", part.machine),
            *sections.record("State before the run (never changed by it)", part.preflight),
            *sections.record("Versions", part.versions),
            sections.channels(part),
        ]
    return body


def _comparison(cells: Sequence[CellSummary], own: Sequence[Chart], drawn: bool) -> list[Child]:
    """Side by side; with the specifications of every chart of the page, ``own`` being others'."""
    charts = [*comparison_charts(cells), *phasechart.phase_charts(cells)]
    body: list[Child] = [] if drawn else [h("p", NO_CHARTS, class_="box")]
    body += [_figure(chart, drawn) for chart in charts]
    if drawn:
        drawings = [*charts, *own, *tradeoff.tradeoff_charts(cells)]
        body.append(data_block("charts-data", {chart.id: chart.spec for chart in drawings}))
    return body if charts else [h("p", "No cell has a figure to draw."), *body]


def _figure(chart: Chart, drawn: bool) -> Element:
    return h(
        "figure",
        h("figcaption", plain(chart.title), " ", sections.badge(chart.provenance)),
        h("div", class_="chart", data_chart=chart.id, role="group", aria_label=chart.description) if drawn else None,
        h(
            "details",
            h("summary", "Data of this chart"),
            sections.table(chart.header, chart.rows),
            open="" if chart.unfolded or not drawn else None,
        ),
        id=chart.id,
    )
