"""Cells over time, as many as a page has room for.

A page of 500 cells does not hold 500 timelines: the readings are in the session, and a report of
some cells alone (``--cell``) shows theirs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from joulebench_reports.charts.timeline import series_rows, timeline_data, timeline_spec
from joulebench_reports.reading.readings import channels_of
from joulebench_reports.reading.timeline import BUCKETS, MOST_SPANS, MOST_TOKENS, Detail, Timeline, read_timeline
from joulebench_reports.sections.material import Material
from joulebench_reports.sections.report import Column, Section, Table, TimedChart, Timelines, badge
from joulebench_reports.summary.joining import Sources
from joulebench_reports.values.figures import CellSummary

#: What all timelines of a page hold together, at most: points of lines, spans, token marks.
_POINTS: Final = 60_000
_SPANS: Final = 8_000
_TOKENS: Final = 8_000
#: A line of fewer points is no picture.
_LEAST_BUCKETS: Final = 60
_LEAST_SPANS: Final = 100
_RANGES: Final = (
    Column("cell", folds=True),
    Column("channel"),
    Column("provenance", badges=True),
    Column("unit"),
    Column("lowest", numeric=True),
    Column("mean", numeric=True),
    Column("highest", numeric=True),
)

_CellTimeline = tuple[CellSummary, Timeline]


def timeline_section(material: Material) -> Iterator[Section]:
    """Power, memory and temperature of the first cells of this machine that have readings."""
    if material.sources is None:
        return
    # What sensors saw beside a simulated cell is its simulator.
    cells = [cell for cell in material.summary.shown if not cell.simulated]
    timelines = _read(material.sources, cells[: material.timelines])
    if not timelines:
        return
    provenances = dict.fromkeys(series.provenance for _, timeline in timelines for series in timeline.power_w)
    charts = Timelines(
        "Power, memory and temperature; blocks, phases and tokens on top",
        "Power, memory and temperature over time of the chosen cell; the table below has each series' range",
        tuple(provenances),
        tuple(
            TimedChart(
                cell.id,
                cell.label,
                timeline_spec(timeline, cell.label),
                timeline_data(timeline),
                round(timeline.end_s, 3),
            )
            for cell, timeline in timelines
        ),
        tuple(_remarks(timelines, len(material.summary.shown))),
        _ranges(timelines),
    )
    yield Section("timeline", "Over time", (charts,), "Timeline")


def _read(sources: Sources, cells: Sequence[CellSummary]) -> list[_CellTimeline]:
    timelines: list[_CellTimeline] = []
    for cell in cells:
        session, own_id = sources.of(cell)
        channels, scales = channels_of(session)
        timeline = read_timeline(session, own_id, channels, scales, _detail(len(cells), len(channels)))
        if not timeline.empty:
            timelines.append((cell, timeline))
    return timelines


def _detail(cells: int, channels: int) -> Detail:
    """Each cell's share of what a page holds."""
    return Detail(
        buckets=min(BUCKETS, max(_LEAST_BUCKETS, _POINTS // (cells * max(1, channels)))),
        spans=min(MOST_SPANS, max(_LEAST_SPANS, _SPANS // cells)),
        tokens=min(MOST_TOKENS, max(_LEAST_SPANS, _TOKENS // cells)),
    )


def _remarks(timelines: Sequence[_CellTimeline], cells: int) -> Iterator[str]:
    """How to read the lines, and what is left out of them."""
    yield (
        "Lines are means of short spans, bands reach from the lowest to the highest reading; all raw "
        "samples are in the session's cells/…/samples.arrow."
    )
    spans = sum(timeline.spans_left_out for _, timeline in timelines)
    tokens = sum(timeline.tokens_left_out for _, timeline in timelines)
    if spans:
        yield f"{spans:,} blocks or requests beyond the first are not drawn."
    if tokens:
        yield f"{tokens:,} tokens beyond the first of each cell are not drawn."
    if cells > len(timelines):
        yield (
            f"{len(timelines)} of {cells} cells have their readings in this page. Others: "
            "joulebench report SESSION --format html --cell NAME, or --option timelines=N."
        )


def _ranges(timelines: Sequence[_CellTimeline]) -> Table:
    rows = (
        (cell.label, channel, badge(provenance), unit, *figures)
        for cell, timeline in timelines
        for channel, unit, provenance, *figures in series_rows(timeline)
    )
    return Table(_RANGES, tuple(rows))
