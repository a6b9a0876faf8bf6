"""Vega-Lite specifications as plain values, and the tables that say the same in text.

Strings that start with ``var:--`` name a CSS variable of the page; its script puts the colour in,
so that charts follow the reader's light or dark theme. Measured, estimated and simulated figures
never share a chart.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from joulebench_reports.figures import PROVENANCES, CellSummary, Figure
from joulebench_reports.timeline import Series, Span, Timeline
from joulebench_reports.wording import number, plain, with_interval

#: A JSON value; Vega-Lite's specification is one.
Json = dict[str, object]

_DASHES: Final = {"measured": [1, 0], "estimated": [6, 3], "simulated": [2, 2]}
SHAPES: Final = {"measured": "circle", "estimated": "triangle-up", "simulated": "square"}
_ROW_PX: Final = 34
_AXIS_PX: Final = 46


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart: title, provenance of its figures, what it shows in words, and its data as rows."""

    id: str
    title: str
    provenance: str | None
    description: str
    spec: Json
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    #: Whether the reader needs the rows beside the picture.
    unfolded: bool = False


def comparison_charts(cells: Sequence[CellSummary]) -> list[Chart]:
    """Energy per unit of work, one chart per unit and provenance; then speed.

    A model's operators have charts of their own: a call of one is no unit of another.
    """
    charts: list[Chart] = []
    cells = [cell for cell in cells if cell.kernel is None or not cell.kernel.per_token]
    for provenance in PROVENANCES:
        by_unit: dict[str, list[tuple[str, Figure]]] = {}
        for cell in cells:
            for each in cell.energy:
                if each.provenance == provenance and each.gross.value is not None:
                    by_unit.setdefault(each.gross.unit, []).append((cell.label, each.gross))
        for unit, figures in by_unit.items():
            what = "Idle power" if unit == "W" else "Energy per unit of work"
            charts.append(bars(f"{what}, {unit} – {provenance}", unit, figures, provenance))
    for what, pick in _RATES:
        figures = [(cell.label, pick(cell)) for cell in cells if pick(cell).value is not None]
        if figures:
            charts.append(bars(f"{what}, tok/s", "tok/s", figures, None))
    return charts


def _decode_rate(cell: CellSummary) -> Figure:
    return cell.speed.decode_tok_s


def _prefill_rate(cell: CellSummary) -> Figure:
    return cell.speed.prefill_tok_s


_RATES: Final[tuple[tuple[str, Callable[[CellSummary], Figure]], ...]] = (
    ("Decode speed", _decode_rate),
    ("Prefill speed", _prefill_rate),
)


def bars(
    title: str, unit: str, figures: Sequence[tuple[str, Figure]], provenance: str | None
) -> Chart:
    """A bar with its interval for each label; all figures are of one unit and provenance."""
    colour = f"var:--{provenance or 'accent'}"
    values: list[Json] = [
        {
            "cell": plain(label),
            "value": figure.value,
            "low": figure.low,
            "high": figure.high,
            "text": with_interval(figure.value, figure.low, figure.high),
        }
        for label, figure in figures
    ]
    y: Json = {
        "field": "cell",
        "type": "nominal",
        "sort": None,
        "axis": {"title": None, "labelLimit": 260, "ticks": False, "domain": False},
    }
    bottom = min(0.0, *(f.low for _, f in figures if f.low is not None), 0.0)
    top = max(max(f.value or 0.0, f.high or 0.0) for _, f in figures)
    x: Json = {
        "field": "value",
        "type": "quantitative",
        "title": f"{unit}{f' ({provenance})' if provenance else ''}",
        "scale": {"domain": [bottom, top + 0.25 * (top - bottom)], "nice": False},
        "axis": {"tickCount": 6},
    }
    tip = [
        {"field": name, "type": "nominal", "title": shown}
        for name, shown in (("cell", "cell"), ("text", unit))
    ]
    spec: Json = {
        "description": title,
        "width": "container",
        "autosize": {"type": "fit", "contains": "padding"},
        "height": _ROW_PX * len(figures) + _AXIS_PX,
        "data": {"values": values},
        "encoding": {"y": y, "tooltip": tip},
        "layer": [
            {
                "mark": {"type": "bar", "height": 18, "opacity": 0.3, "color": colour},
                "encoding": {"x": x},
            },
            {
                "transform": [{"filter": "datum.low != null && datum.high != null"}],
                "mark": {"type": "rule", "strokeWidth": 2, "color": colour},
                "encoding": {
                    "x": {"field": "low", "type": "quantitative"},
                    "x2": {"field": "high"},
                },
            },
            {
                "mark": {
                    "type": "point",
                    "shape": SHAPES.get(provenance or "", "circle"),
                    "filled": provenance in (None, "measured"),
                    "size": 64,
                    "color": colour,
                    "strokeWidth": 2,
                },
                "encoding": {"x": x},
            },
            {
                "transform": [{"calculate": "max(datum.value, datum.high || 0)", "as": "end"}],
                "mark": {"type": "text", "align": "left", "dx": 10, "color": "var:--ink"},
                "encoding": {
                    "x": {"field": "end", "type": "quantitative"},
                    "text": {"field": "text"},
                },
            },
        ],
    }
    rows = tuple(
        (label, with_interval(f.value, f.low, f.high), str(f.n), f.provenance or "", f.method)
        for label, f in figures
    )
    identifier = "chart-" + "".join(c if c.isalnum() else "-" for c in title.lower())
    best = f"{len(figures)} cells; every value is in the table below the chart"
    return Chart(
        identifier,
        title,
        provenance,
        f"{title}: bars with 95 % intervals for {best}",
        spec,
        ("cell", unit, "n", "provenance", "method"),
        rows,
    )


# -- the timeline ---------------------------------------------------------------------------


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
    """Panels of one cell over a common time axis; the page's script gives width and data.

    The data sets, one of each panel and ``spans`` and ``marks``, come from :func:`timeline_data`.
    """
    shown = _panels_of(timeline)
    panels = [_lane(timeline, last=not shown)] if timeline.spans else []
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


def _lane(timeline: Timeline, last: bool) -> Json:
    kinds = [k for k in ("block", "prefill", "decode") if any(s.kind == k for s in timeline.spans)]
    colours = {"block": "var:--muted", "prefill": "var:--prefill", "decode": "var:--decode"}
    return {
        "height": 20 * len(kinds),
        "data": {"name": "spans"},
        "mark": {"type": "bar", "height": 12, "stroke": "var:--surface", "strokeWidth": 0.5},
        "encoding": {
            "x": _time_axis("t0", last),
            "x2": {"field": "t1"},
            "y": {"field": "kind", "type": "nominal", "sort": kinds, "title": None},
            "color": {
                "field": "kind",
                "type": "nominal",
                "legend": None,
                "scale": {"domain": kinds, "range": [colours[k] for k in kinds]},
            },
            "tooltip": [
                {"field": "label", "type": "nominal"},
                {"field": "kind", "type": "nominal"},
                {"field": "t0", "type": "quantitative", "title": "from, s"},
                {"field": "t1", "type": "quantitative", "title": "to, s"},
            ],
        },
    }


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
        "legend": {
            "title": None,
            "orient": "right",
            "labelLimit": 190,
            "symbolType": "stroke",
            "symbolOpacity": 1,
        },
        "scale": {"range": [f"var:--series-{n}" for n in range(1, 9)]},
    }
    layers: list[Json] = [
        {
            "mark": {"type": "line", "strokeWidth": 1.6, "invalid": "break-paths-filter-domains"},
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
        },
    ]
    if any(value is not None for line in series for value in line.low):
        layers.insert(
            0,
            {
                "transform": [{"filter": "isValid(datum.low)"}],
                "mark": {"type": "area", "opacity": 0.2, "line": False},
                "encoding": {"y": {**y, "field": "low"}, "y2": {"field": "high"}, "color": colour},
            },
        )
    if with_marks:
        layers.append(
            {
                "data": {"name": "marks"},
                "mark": {"type": "rule", "color": "var:--warn", "strokeDash": [3, 3]},
                "encoding": {
                    "x": {"field": "t0", "type": "quantitative"},
                    "tooltip": [{"field": "kind"}, {"field": "label"}],
                },
            }
        )
    return {
        "height": 130,
        "data": {"name": panel.name},
        "encoding": {"x": _time_axis("t", last)},
        "layer": layers,
    }


def timeline_data(timeline: Timeline) -> Json:
    """The data sets by column, which the page's script turns into rows."""
    return {
        **{panel.name: _lines(panel.series) for panel in _panels_of(timeline)},
        "spans": _span_columns(timeline.spans),
        "marks": _span_columns(timeline.marks),
    }


def _lines(series: Sequence[Series]) -> list[Json]:
    return [
        {
            "each": {"channel": plain(line.channel), "provenance": line.provenance},
            "columns": {
                "t": list(line.t_s),
                "mean": list(line.mean),
                "low": list(line.low),
                "high": list(line.high),
            },
        }
        for line in series
    ]


def _span_columns(found: Sequence[Span]) -> list[Json]:
    columns: Json = {
        "t0": [span.t0_s for span in found],
        "t1": [span.t1_s for span in found],
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
                rows.append(
                    (
                        line.channel,
                        panel.unit,
                        line.provenance,
                        *(number(value) for value in figures),
                    )
                )
    return rows
