"""One self-contained HTML page: no request leaves it, and foreign text in it is inert."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from typing import TYPE_CHECKING, ClassVar

from joulebench.api import Availability, Option, Renderer, Settings
from joulebench_reports import limitparts, memorytable, sections, trust, verdicts
from joulebench_reports.charts import (
    Chart,
    comparison_charts,
    series_rows,
    timeline_data,
    timeline_spec,
)
from joulebench_reports.figures import CellSummary, SessionSummary
from joulebench_reports.markup import Child, Element, data_block, h, render, script, style
from joulebench_reports.samples import request_samples
from joulebench_reports.timeline import Timeline, read_timeline
from joulebench_reports.wording import plain

if TYPE_CHECKING:
    from joulebench.session import Session

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
        verdicts.BASELINE,
    )

    def available(self) -> Availability:
        """Always: without the optional extra the page has tables only."""
        return Availability.yes()

    def render(self, session: Session, settings: Settings) -> str:
        """The page."""
        from joulebench_reports.summary import summarise

        runtime = chart_runtime() if settings.get("charts", True) else None
        summary = summarise(session, verdicts.baseline_of(settings))
        return build_page(session, summary, runtime)


def chart_runtime() -> str | None:
    """The JavaScript of Vega, Vega-Lite and Vega-Embed, or ``None`` where it is not installed."""
    try:
        import vl_convert
    except ImportError:
        return None
    return str(vl_convert.javascript_bundle())


def build_page(session: Session, summary: SessionSummary, runtime: str | None) -> str:
    """The document; scripts may run only if their hash is the one that is named here."""
    own, own_hash = script(_asset("page.js"))
    scripts: list[Child] = [own]
    hashes = [own_hash]
    if runtime is not None:
        bundle, bundle_hash = script(runtime)
        scripts.insert(0, bundle)
        hashes.insert(0, bundle_hash)
    parts = _parts(session, summary, drawn=runtime is not None)
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
            h(
                "footer",
                f"joulebench {plain(summary.joulebench_version)}, "
                f"session {plain(summary.session_id)}",
            ),
            *scripts,
        ),
        lang="en",
    )
    return "<!doctype html>\n" + render(page) + "\n"


def _asset(name: str) -> str:
    folder = resources.files("joulebench_reports") / "assets"
    return (folder / name).read_text(encoding="utf-8")


_Part = tuple[str, str, list[Child]]


def _here(cells: Sequence[CellSummary]) -> tuple[CellSummary, ...]:
    """Cells of this machine: what sensors saw beside the others is their simulator."""
    return tuple(cell for cell in cells if not cell.simulated)


def _parts(summary: SessionSummary, sources: Sources, timelines: int, drawn: bool) -> list[_Part]:
    """Identifier, heading and content of each section that has something to say."""
    shown = summary.shown
    parts: list[_Part] = [("overview", "Cells", [sections.overview(shown)])]
    if shown:
        parts += _figures_of(summary, drawn)
        lines = timelinepart.read_timelines(sources, _here(shown), timelines)
        if lines:
            parts.append(("timeline", "Over time", _timeline_part(lines, shown, drawn)))
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
        parts.append(("unmeasured", "What could not be measured, and why",
                      [sections.notes(unmeasured)]))  # fmt: skip
    trusted = trust.trust_notes(summary)
    if trusted:
        parts.append(("trust", "How far to trust this", [sections.notes(trusted)]))
    samples = request_samples(session, shown)
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
            parts.append((
                f"{identifier}-{place + 1}" if name else identifier,
                f"{heading}: {plain(name)}" if name else heading,
                content,
            ))  # fmt: skip
    return parts


def _verdicts(summary: SessionSummary) -> list[Child]:
    body: list[Child] = []
    for found in summary.verdicts:
        body += [h("h3", found.caption), sections.table(verdicts.HEADER, found.rows())]
        body.append(h("p", found.note, class_="facts"))
    return body


def _machine(summary: SessionSummary) -> list[Child]:
    return [
        *sections.record("Machine", summary.machine),
        *sections.record("State before the run (never changed by it)", summary.preflight),
        *sections.record("Versions", summary.versions),
        sections.channels(summary),
    ]


def _comparison(cells: Sequence[CellSummary], drawn: bool) -> list[Child]:
    charts = comparison_charts(cells)
    body: list[Child] = [] if drawn else [h("p", NO_CHARTS, class_="box")]
    body += [_figure(chart, drawn) for chart in charts]
    if drawn:
        drawings = [*charts, *limitparts.charts(cells)]
        body.append(data_block("charts-data", {chart.id: chart.spec for chart in drawings}))
    return body if charts else [h("p", "No cell has a figure to draw.")]


def _figure(chart: Chart, drawn: bool) -> Element:
    return h(
        "figure",
        h("figcaption", plain(chart.title), " ", sections.badge(chart.provenance)),
        h("div", class_="chart", data_chart=chart.id, role="group", aria_label=chart.description)
        if drawn
        else None,
        h(
            "details",
            h("summary", "Data of this chart"),
            sections.table(chart.header, chart.rows),
            open="" if chart.unfolded or not drawn else None,
        ),
        id=chart.id,
    )


def _timelines(session: Session, summary: SessionSummary) -> list[Timeline]:
    scales = {
        channel["channel"]: 1.0 if channel["scale"] is None else float(channel["scale"])
        for channel in session.row["channels"] or ()
    }
    found = (read_timeline(session, cell.id, summary.channels, scales) for cell in summary.shown)
    return [line for line in found if not line.empty]


def _timeline_part(
    lines: Sequence[Timeline], cells: Sequence[CellSummary], drawn: bool
) -> list[Child]:
    labels = {cell.id: plain(cell.label) for cell in cells}
    if not drawn:
        return [h("p", NO_CHARTS, class_="box"), _series_table(lines, labels)]
    kinds = dict.fromkeys(each.provenance for line in lines for each in line.power_w)
    marks = [sections.badge(kind) for kind in kinds]
    left_out = sum(line.spans_left_out for line in lines)
    data = {
        line.cell_id: {"spec": timeline_spec(line, labels[line.cell_id]),
                       "data": timeline_data(line)}
        for line in lines
    }  # fmt: skip
    return [
        h(
            "p",
            h("label", "Cell ", for_="timeline-cell"),
            h(
                "select",
                *(h("option", labels[line.cell_id], value=line.cell_id) for line in lines),
                id="timeline-cell",
            ),
            class_="tools",
        ),
        h(
            "figure",
            h("figcaption", "Power, memory and temperature; blocks and phases on top ", *marks),
            h("div", class_="chart", id="timeline-chart", role="group",
              aria_label="Power, memory and temperature over time of the chosen cell; "
              "the table below has each series' range"),
            h("p", f"{left_out} blocks or requests beyond the first are not drawn.", class_="facts")
            if left_out
            else None,
            h(
                "details",
                h("summary", "Range of each series, all cells"),
                _series_table(lines, labels),
            ),
        ),
        h("p", "Lines are means of short spans with lowest and highest reading as a band; all raw "
          "samples are in the session's cells/…/samples.arrow.", class_="facts"),
        data_block("timeline-data", data),
    ]  # fmt: skip


def _series_table(lines: Sequence[Timeline], labels: dict[str, str]) -> Element:
    rows = [
        (labels[line.cell_id], channel, sections.badge(provenance), unit, *figures)
        for line in lines
        for channel, unit, provenance, *figures in series_rows(line)
    ]
    header = ("cell", "channel", "provenance", "unit", "lowest", "mean", "highest")
    return sections.table(header, rows, numeric_from=4)
