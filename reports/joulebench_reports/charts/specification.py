"""Vega-Lite specifications as plain values, and the tables that say the same in text.

Strings that start with ``var:--`` name a CSS variable of the page; its script puts the colour in,
so that charts follow the reader's light or dark theme. Measured, estimated and simulated figures
never share a chart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from joulebench_reports.values.figures import Figure
from joulebench_reports.words.text import plain

#: A JSON value; Vega-Lite's specification is one.
Json = dict[str, object]

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


def bars(title: str, unit: str, figures: Sequence[tuple[str, Figure]], provenance: str | None) -> Chart:
    """A bar with its interval for each label; all figures are of one unit and provenance."""
    colour = f"var:--{provenance or 'accent'}"
    values: list[Json] = [
        {"cell": plain(label), "value": figure.value, "low": figure.low, "high": figure.high, "text": figure.text}
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
    tip = [{"field": name, "type": "nominal", "title": shown} for name, shown in (("cell", "cell"), ("text", unit))]
    spec: Json = {
        "description": title,
        "width": "container",
        "autosize": {"type": "fit", "contains": "padding"},
        "height": _ROW_PX * len(figures) + _AXIS_PX,
        "data": {"values": values},
        "encoding": {"y": y, "tooltip": tip},
        "layer": [
            {"mark": {"type": "bar", "height": 18, "opacity": 0.3, "color": colour}, "encoding": {"x": x}},
            {
                "transform": [{"filter": "datum.low != null && datum.high != null"}],
                "mark": {"type": "rule", "strokeWidth": 2, "color": colour},
                "encoding": {"x": {"field": "low", "type": "quantitative"}, "x2": {"field": "high"}},
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
                "encoding": {"x": {"field": "end", "type": "quantitative"}, "text": {"field": "text"}},
            },
        ],
    }
    best = f"{len(figures)} cells; every value is in the table below the chart"
    return Chart(
        chart_id(title),
        title,
        provenance,
        f"{title}: bars with 95 % intervals for {best}",
        spec,
        figure_header(unit),
        figure_rows(figures),
    )


def chart_id(title: str) -> str:
    """An element's id made of a title."""
    return "chart-" + "".join(c if c.isalnum() else "-" for c in title.lower())


def figure_header(unit: str) -> tuple[str, ...]:
    """Of :func:`figure_rows`."""
    return ("cell", unit, "n", "provenance", "method")


def figure_rows(figures: Sequence[tuple[str, Figure]]) -> tuple[tuple[str, ...], ...]:
    """A chart's figures as texts."""
    return tuple((label, f.text, str(f.n), f.provenance or "", f.method) for label, f in figures)
