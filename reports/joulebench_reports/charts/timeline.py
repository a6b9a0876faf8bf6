"""One cell over time: blocks, phases and tokens on top, then power, memory and temperature."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from joulebench.api import PROVENANCES
from joulebench_reports.charts.template import Json, filled
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


#: Under the lowest of the panels, which alone has labels on its axis.
_TIME: Final = "seconds since the cell's start"


def _lanes(timeline: Timeline, last: bool) -> Json:
    kinds = [kind for kind in _LANES if any(span.kind == kind for span in timeline.spans)]
    lanes = [*kinds, *([_TOKENS] if timeline.tokens_s else [])]
    return filled(
        "lanes",
        height=_LANE_PX * len(lanes),
        lanes=lanes,
        kinds=kinds,
        colours=[_LANES[kind] for kind in kinds],
        tokens=bool(timeline.tokens_s),
        last=last,
        time_title=_TIME if last else None,
    )


def _panel(panel: Panel, *, with_marks: bool, last: bool) -> Json:
    kinds = [kind for kind in PROVENANCES if any(line.provenance == kind for line in panel.series)]
    return filled(
        "panel",
        height=_PANEL_PX,
        data=panel.name,
        title=panel.title,
        zero=panel.zero,
        provenances=kinds,
        dashes=[_DASHES[kind] for kind in kinds],
        band=any(value is not None for line in panel.series for value in line.low),
        marks=with_marks,
        last=last,
        time_title=_TIME if last else None,
    )


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


def _span_columns(spans: Sequence[TimelineSpan]) -> list[Json]:
    """A group for each kind; blocks have no request."""
    groups: list[Json] = []
    for kind in _LANES:
        own = [span for span in spans if span.kind == kind]
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


def _mark_columns(spans: Sequence[TimelineSpan]) -> list[Json]:
    columns: Json = {
        "t0": [span.t0_s for span in spans],
        "kind": [plain(span.kind) for span in spans],
        "label": [plain(span.label) for span in spans],
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
