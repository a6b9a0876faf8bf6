"""The page's section of cells over time: one chart at a time, for as many cells as fit.

A page of 500 cells does not hold 500 timelines: the readings are in the session, and a report of
some cells alone (``--cell``) shows theirs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from joulebench_reports.charts.timeline import series_rows, timeline_data, timeline_spec
from joulebench_reports.html.markup import Child, Element, data_block, h
from joulebench_reports.html.sections import badge, table
from joulebench_reports.reading.readings import channels_of
from joulebench_reports.reading.timeline import BUCKETS, MOST_SPANS, MOST_TOKENS, Detail, Timeline, read_timeline
from joulebench_reports.summary.joining import Sources
from joulebench_reports.values.figures import CellSummary
from joulebench_reports.words.text import plain

#: Cells whose timelines are in a page, unless it is asked for more.
MOST_CELLS: Final = 24
#: What all timelines of a page hold together, at most: points of lines, spans, token marks.
_POINTS: Final = 60_000
_SPANS: Final = 8_000
_TOKENS: Final = 8_000
#: A line of fewer points is no picture.
_LEAST_BUCKETS: Final = 60
_LEAST_SPANS: Final = 100


def read_timelines(sources: Sources, cells: Sequence[CellSummary], most: int) -> list[tuple[CellSummary, Timeline]]:
    """The timelines of the first cells that have one."""
    chosen = cells[:most]
    found: list[tuple[CellSummary, Timeline]] = []
    for cell in chosen:
        session, own_id = sources.of(cell)
        channels, scales = channels_of(session)
        detail = _detail(len(chosen), len(channels))
        timeline = read_timeline(session, own_id, channels, scales, detail)
        if not timeline.empty:
            found.append((cell, timeline))
    return found


def _detail(cells: int, channels: int) -> Detail:
    """What is left for each cell."""
    share = max(1, cells)
    return Detail(
        buckets=min(BUCKETS, max(_LEAST_BUCKETS, _POINTS // (share * max(1, channels)))),
        spans=min(MOST_SPANS, max(_LEAST_SPANS, _SPANS // share)),
        tokens=min(MOST_TOKENS, max(_LEAST_SPANS, _TOKENS // share)),
    )


def timeline_part(
    lines: Sequence[tuple[CellSummary, Timeline]], cells: int, drawn: bool, no_charts: str
) -> list[Child]:
    """The section's content; ``cells`` are all that could have had a timeline."""
    if not drawn:
        return [h("p", no_charts, class_="box"), _series_table(lines)]
    kinds = dict.fromkeys(each.provenance for _, line in lines for each in line.power_w)
    data = {
        cell.id: {
            "spec": timeline_spec(line, plain(cell.label)),
            "data": timeline_data(line),
            "end": round(line.end_s, 3),
        }
        for cell, line in lines
    }
    return [
        _tools(lines),
        h(
            "figure",
            h("figcaption", "Power, memory and temperature; blocks, phases and tokens on top ", *map(badge, kinds)),
            h(
                "div",
                class_="chart",
                id="timeline-chart",
                role="group",
                aria_label="Power, memory and temperature over time of the chosen cell; "
                "the table below has each series' range",
            ),
            *(h("p", text, class_="facts") for text in _left_out(lines, cells)),
            h("details", h("summary", "Range of each series, all cells"), _series_table(lines)),
        ),
        h(
            "p",
            "Lines are means of short spans with lowest and highest reading as a band; all raw "
            "samples are in the session's cells/…/samples.arrow.",
            class_="facts",
        ),
        data_block("timeline-data", data),
    ]


def _tools(lines: Sequence[tuple[CellSummary, Timeline]]) -> Element:
    """The cell to show, and the stretch of time."""
    return h(
        "p",
        h("label", "Cell ", for_="timeline-cell"),
        h("select", *(h("option", plain(cell.label), value=cell.id) for cell, _ in lines), id="timeline-cell"),
        h("label", "from, s ", for_="timeline-from"),
        h("input", id="timeline-from", type="number", min="0", step="any"),
        h("label", "to, s ", for_="timeline-to"),
        h("input", id="timeline-to", type="number", min="0", step="any"),
        class_="tools",
    )


def _left_out(lines: Sequence[tuple[CellSummary, Timeline]], cells: int) -> list[str]:
    spans = sum(line.spans_left_out for _, line in lines)
    tokens = sum(line.tokens_left_out for _, line in lines)
    found: list[str] = []
    if spans:
        found.append(f"{spans:,} blocks or requests beyond the first are not drawn.")
    if tokens:
        found.append(f"{tokens:,} tokens beyond the first of each cell are not drawn.")
    if cells > len(lines):
        found.append(
            f"{len(lines)} of {cells} cells have their readings in this page. Others: "
            "joulebench report SESSION --format html --cell NAME, or --option timelines=N."
        )
    return found


def _series_table(lines: Sequence[tuple[CellSummary, Timeline]]) -> Element:
    rows = [
        (plain(cell.label), channel, badge(provenance), unit, *figures)
        for cell, line in lines
        for channel, unit, provenance, *figures in series_rows(line)
    ]
    header = ("cell", "channel", "provenance", "unit", "lowest", "mean", "highest")
    return table(header, rows, numeric_from=4)
