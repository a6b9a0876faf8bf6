"""One cell over time: blocks, phases and tokens on top, then power, memory and temperature."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from joulebench.api import PROVENANCES
from joulebench_reports.charts.specification import Json
from joulebench_reports.reading.thinning import Series
from joulebench_reports.reading.timeline import Timeline, TimelineSpan
from joulebench_reports.words.text import number, plain

_DASHES: Final = {"measured": [1, 0], "estimated": [6, 3], "simulated": [2, 2]}
_LANES: Final = {"block": "var:--muted", "prefill": "var:--prefill", "decode": "var:--decode"}
_TOKENS: Final = "token"
_LANE_PX: Final = 20
_PANEL_PX: Final = 130


@dataclass(frozen=True, slots=True)
class Panel:
    """One chart of the stack: its data set's name, its axis, and its lines."""

    name: str
    title: str
    unit: str
    zero: bool
    series: tuple[Series, ...]


def _panels_of(timeline: Timeline) -> list[Panel]:
    panels = [Panel("power", "power, W", "W", True, timeline.power_w)]
    for index, (domain, series) in enumerate(timeline.memory_mib):
        title = f"{plain(domain)} memory, MiB"
        panels.append(Panel(f"memory-{index}", title, "MiB", True, series))
    panels.append(Panel("temperature", "temperature, °C", "°C", False, timeline.temperature_c))
    return [panel for panel in panels if panel.series]


def timeline_spec(timeline: Timeline, label: str) -> Json:
    """Panels of one cell over a common time axis; the page's script gives width, data and range.

    The data sets, one of each panel and ``spans``, ``tokens`` and ``marks``, come from
    :func:`timeline_data`. Each panel has its time axis under ``encoding.x``.
    """
    shown = _panels_of(timeline)
    panels = [_lanes(timeline, last=not shown)] if timeline.spans else []
    for panel in shown:
        panels.append(_panel(panel, with_marks=bool(timeline.marks), last=panel is shown[-1]))
    return {
        "description": f"Power, memory and temperature over time of {plain(label)}",
        "vconcat": list(panels),
        "spacing": 12,
        "resolve": {"scale": {"x": "shared", "color": "independent", "strokeDash": "independent"}},
    }


def _time_axis(field: str, last: bool) -> Json:
    title = "seconds since the cell's start" if last else None
    return {
        "field": field,
        "type": "quantitative",
        "title": title,
        "scale": {"zero": False, "nice": False},
        "axis": {"title": title, "labels": last, "ticks": last},
    }


def _lanes(timeline: Timeline, last: bool) -> Json:
    kinds = [kind for kind in _LANES if any(span.kind == kind for span in timeline.spans)]
    rows = [*kinds, *([_TOKENS] if timeline.tokens_s else [])]
    y: Json = {"field": "kind", "type": "nominal", "sort": rows, "title": None, "scale": {"domain": rows}}
    layers: list[Json] = [
        {
            "data": {"name": "spans"},
            "mark": {"type": "bar", "height": 12, "stroke": "var:--surface", "strokeWidth": 0.5, "clip": True},
            "encoding": {
                "x2": {"field": "t1"},
                "y": y,
                "color": {
                    "field": "kind",
                    "type": "nominal",
                    "legend": None,
                    "scale": {"domain": kinds, "range": [_LANES[kind] for kind in kinds]},
                },
                "tooltip": [
                    {"field": "kind", "type": "nominal"},
                    {"field": "block", "type": "nominal"},
                    {"field": "request", "type": "nominal"},
                    {"field": "t0", "type": "quantitative", "title": "from, s"},
                    {"field": "t1", "type": "quantitative", "title": "to, s"},
                ],
            },
        }
    ]
    if timeline.tokens_s:
        layers.append(
            {
                "data": {"name": "tokens"},
                "mark": {"type": "tick", "thickness": 1, "height": 12, "color": "var:--decode", "clip": True},
                "encoding": {
                    "y": y,
                    "tooltip": [{"field": "t0", "type": "quantitative", "title": "token known at, s"}],
                },
            }
        )
    return {"height": _LANE_PX * len(rows), "encoding": {"x": _time_axis("t0", last)}, "layer": layers}


def _panel(panel: Panel, *, with_marks: bool, last: bool) -> Json:
    series, title = panel.series, panel.title
    kinds = [kind for kind in PROVENANCES if any(line.provenance == kind for line in series)]
    y: Json = {"type": "quantitative", "title": title, "scale": {"zero": panel.zero}}
    dash: Json = {
        "field": "provenance",
        "type": "nominal",
        "legend": {"title": None, "orient": "right"},
        "scale": {"domain": kinds, "range": [_DASHES[kind] for kind in kinds]},
    }
    colour = {
        "field": "channel",
        "type": "nominal",
        "legend": {"title": None, "orient": "right", "labelLimit": 190, "symbolType": "stroke", "symbolOpacity": 1},
        "scale": {"range": [f"var:--series-{n}" for n in range(1, 9)]},
    }
    layers: list[Json] = [
        {
            "mark": {"type": "line", "strokeWidth": 1.6, "invalid": "break-paths-filter-domains", "clip": True},
            "encoding": {
                "y": {**y, "field": "mean"},
                "color": colour,
                "strokeDash": dash,
                "tooltip": [
                    {"field": "channel", "type": "nominal"},
                    {"field": "provenance", "type": "nominal"},
                    {"field": "t", "type": "quantitative", "title": "s", "format": ".2f"},
                    {"field": "mean", "type": "quantitative", "title": title},
                ],
            },
        }
    ]
    if any(value is not None for line in series for value in line.low):
        layers.insert(
            0,
            {
                "transform": [{"filter": "isValid(datum.low)"}],
                "mark": {"type": "area", "opacity": 0.2, "line": False, "clip": True},
                "encoding": {"y": {**y, "field": "low"}, "y2": {"field": "high"}, "color": colour},
            },
        )
    if with_marks:
        layers.append(
            {
                "data": {"name": "marks"},
                "mark": {"type": "rule", "color": "var:--warn", "strokeDash": [3, 3], "clip": True},
                "encoding": {
                    "x": {"field": "t0", "type": "quantitative"},
                    "tooltip": [{"field": "kind"}, {"field": "label"}],
                },
            }
        )
    return {
        "height": _PANEL_PX,
        "data": {"name": panel.name},
        "encoding": {"x": _time_axis("t", last)},
        "layer": layers,
    }


def timeline_data(timeline: Timeline) -> Json:
    """The data sets by column, which the page's script turns into rows."""
    return {
        **{panel.name: _lines(panel.series) for panel in _panels_of(timeline)},
        "spans": _span_columns(timeline.spans),
        "tokens": [{"each": {"kind": _TOKENS}, "columns": {"t0": list(timeline.tokens_s)}}],
        "marks": _mark_columns(timeline.marks),
    }


def _lines(series: Sequence[Series]) -> list[Json]:
    return [
        {
            "each": {"channel": plain(line.channel), "provenance": line.provenance},
            "columns": {
                name: list(values)
                for name, values in (("t", line.t_s), ("mean", line.mean), ("low", line.low), ("high", line.high))
                # A counter has no lowest and highest: the columns would be nulls.
                if any(value is not None for value in values)
            },
        }
        for line in series
    ]


def _span_columns(found: Sequence[TimelineSpan]) -> list[Json]:
    """A group for each kind; blocks have no request."""
    groups: list[Json] = []
    for kind in _LANES:
        own = [span for span in found if span.kind == kind]
        columns: Json = {
            "t0": [span.t0_s for span in own],
            "t1": [span.t1_s for span in own],
            "block": [span.block for span in own],
        }
        if kind != "block":
            columns["request"] = [span.request for span in own]
        if own:
            groups.append({"each": {"kind": kind}, "columns": columns})
    return groups


def _mark_columns(found: Sequence[TimelineSpan]) -> list[Json]:
    columns: Json = {
        "t0": [span.t0_s for span in found],
        "kind": [plain(span.kind) for span in found],
        "label": [plain(span.label) for span in found],
    }
    return [{"each": {}, "columns": columns}]


def series_rows(timeline: Timeline) -> list[tuple[str, ...]]:
    """Lowest, mean and highest shown value of each series: the timeline as a table."""
    rows: list[tuple[str, ...]] = []
    for panel in _panels_of(timeline):
        for line in panel.series:
            means = [value for value in line.mean if value is not None]
            if means:
                middle = sum(means) / len(means)
                figures = (min(means), middle, max(means))
                rows.append((line.channel, panel.unit, line.provenance, *(number(value) for value in figures)))
    return rows
