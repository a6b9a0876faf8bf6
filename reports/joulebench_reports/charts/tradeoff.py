"""The chart of quality against cost, with the cells that no other beats in both.

One chart for each session, model, workload, scored text, unit and provenance: perplexities of
different texts have no common scale, and provenances never share an axis.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from joulebench_reports.charts.specification import SHAPES, Chart, Json, chart_id
from joulebench_reports.values.figures import CellSummary, Figure
from joulebench_reports.values.pareto import Candidate, Front, Objective, pareto_front
from joulebench_reports.words.text import number, plain

NOTE: Final = (
    "Left is cheaper, down is better. Filled marks are on the front: no other cell is shown to be "
    "better in one and no worse in the other (intervals of energy that do not meet; perplexity has "
    "none)."
)
_HEIGHT_PX: Final = 340
#: Cells of the front that are named in words, and in the picture where there is room.
_MOST_NAMED: Final = 10
#: Of no more cells than this, those off the front are named too.
_ALL_NAMED: Final = 12
#: The least height of the perplexity's axis, as a share: differences of rounding must look small.
_LEAST_SPREAD: Final = 0.02
#: Perplexities that differ by less are the same model's, rounded otherwise.
_SAME: Final = 0.001
#: A name takes about so much of the picture's width and height.
_NAME_SHARE: Final = (0.28, 0.06)
#: With more cells than this, intervals of the front alone are drawn.
_MOST_INTERVALS: Final = 60
_HEADER: Final = ("cell", "energy", "perplexity", "provenance", "on the front")

_Group = tuple[str, str, str, str, str, str]


def tradeoff_charts(cells: Sequence[CellSummary]) -> list[Chart]:
    """A chart for each group of two cells or more that have both figures.

    None where all compute the same: between equal qualities there is nothing to trade off.
    """
    groups: dict[_Group, list[CellSummary]] = {}
    for cell in cells:
        head, quality = cell.headline, cell.quality
        if head.value is not None and quality.perplexity and head.provenance is not None:
            text = f"{quality.text or ''} {quality.tokens}"
            key = (cell.session, cell.model, cell.workload, text, head.unit, head.provenance)
            groups.setdefault(key, []).append(cell)
    return [_chart(key, found) for key, found in groups.items() if _differ(found)]


def _differ(cells: Sequence[CellSummary]) -> bool:
    found = [cell.quality.perplexity for cell in cells if cell.quality.perplexity]
    return max(found) > (1 + _SAME) * min(found)


def front_of(cells: Sequence[CellSummary]) -> Front:
    """The Pareto front over energy and perplexity, by the cells' own figures."""
    best = min(cell.quality.perplexity or 0.0 for cell in cells)
    figures = {cell.id: cell.headline for cell in cells}

    def surely_less(one: str, other: str, objective: Objective) -> bool | None:
        return _below(figures[one], figures[other]) if objective == "energy" else None

    candidates = [
        Candidate(
            cell.id, cell.id, {"energy": cell.headline.value, "loss": (cell.quality.perplexity or 0.0) / best - 1}
        )
        for cell in cells
    ]
    return pareto_front(candidates, ("energy", "loss"), surely_less)


def _below(one: Figure, other: Figure) -> bool:
    """Whether one interval ends before the other begins."""
    return one.high is not None and other.low is not None and one.high < other.low


def _chart(key: _Group, cells: Sequence[CellSummary]) -> Chart:
    session, model, workload, text, unit, provenance = key
    about = ", ".join(plain(each) for each in (session, model, workload) if each)
    title = f"Quality against cost, {about} – {provenance}"
    front = set(front_of(cells).on)
    named = [cell for cell in cells if cell.id in front]
    told = ", ".join(plain(cell.label) for cell in named[:_MOST_NAMED])
    more = f" and {len(named) - _MOST_NAMED} more" if len(named) > _MOST_NAMED else ""
    return Chart(
        chart_id(f"{title} {unit} {text}"),
        title,
        provenance,
        f"{title}: perplexity against {unit} of {len(cells)} cells; on the front: {told}{more}. "
        "Every value is in the table below the chart",
        _spec(title, unit, provenance, cells, front),
        _HEADER,
        tuple(
            (
                cell.label,
                f"{cell.headline.text} {unit}",
                number(cell.quality.perplexity, 4),
                provenance,
                "yes" if cell.id in front else "no",
            )
            for cell in cells
        ),
    )


def _spec(title: str, unit: str, provenance: str, cells: Sequence[CellSummary], front: set[str]) -> Json:
    colour = f"var:--{provenance}"
    ordered = sorted((c for c in cells if c.id in front), key=lambda c: c.headline.value or 0.0)
    values = [_row(cell, on_front=cell.id in front) for cell in cells]
    others = [cell for cell in cells if cell.id not in front]
    told = [*ordered, *others] if len(cells) <= _ALL_NAMED else ordered
    names = [_row(cell, on_front=cell.id in front) for cell in _with_room(told, cells)]
    dense = len(cells) > _MOST_INTERVALS
    bounded = [
        row for row in values if row["low"] is not None and row["high"] is not None and (row["front"] or not dense)
    ]
    x: Json = {
        "field": "x",
        "type": "quantitative",
        "title": f"{unit} ({provenance})",
        "scale": {"zero": False, "padding": 24},
        "axis": {"tickCount": 8},
    }
    y: Json = {
        "field": "y",
        "type": "quantitative",
        "title": "perplexity",
        "scale": _perplexity_scale(cells),
        "axis": {"tickCount": 6},
    }
    hints = (("cell", "cell"), ("text", unit), ("ppl", "perplexity"))
    tip = [{"field": name, "type": "nominal", "title": shown} for name, shown in hints]
    layers: list[Json] = [
        {
            "data": {"values": [_row(cell, on_front=True) for cell in ordered]},
            "mark": {"type": "line", "interpolate": "step-after", "color": "var:--muted", "strokeWidth": 1.5},
            "encoding": {"x": x, "y": y},
        },
        {
            "mark": {
                "type": "point",
                "shape": SHAPES.get(provenance, "circle"),
                "size": 80,
                "fill": colour,
                "stroke": colour,
                "strokeWidth": 1.8,
            },
            "encoding": {
                "x": x,
                "y": y,
                "tooltip": tip,
                "fillOpacity": {"condition": {"test": "datum.front", "value": 1}, "value": 0},
                "strokeOpacity": {"condition": {"test": "datum.front", "value": 1}, "value": 0.7},
            },
        },
        {
            "data": {"values": names},
            "mark": {"type": "text", "align": "left", "dx": 9, "dy": -7, "color": "var:--ink", "limit": 240},
            "encoding": {"x": x, "y": y, "text": {"field": "cell"}},
        },
    ]
    if bounded:
        layers.insert(
            1,
            {
                "data": {"values": bounded},
                "mark": {"type": "rule", "strokeWidth": 1.5, "color": colour, "opacity": 0.6},
                "encoding": {"x": {"field": "low", "type": "quantitative"}, "x2": {"field": "high"}, "y": y},
            },
        )
    return {
        "description": title,
        "width": "container",
        "autosize": {"type": "fit", "contains": "padding"},
        "height": _HEIGHT_PX,
        "data": {"values": values},
        "layer": layers,
    }


def _perplexity_scale(cells: Sequence[CellSummary]) -> Json:
    known = [cell.quality.perplexity or 0.0 for cell in cells]
    low, high = min(known), max(known)
    if high - low >= _LEAST_SPREAD * low:
        return {"zero": False, "padding": 16}
    half = _LEAST_SPREAD * low / 2
    return {"domain": [(low + high) / 2 - half, (low + high) / 2 + half], "nice": False}


def _with_room(front: Sequence[CellSummary], cells: Sequence[CellSummary]) -> list[CellSummary]:
    """Those of the front whose names do not run into one that stands already."""
    places = {cell.id: (cell.headline.value or 0.0, cell.quality.perplexity or 0.0) for cell in cells}
    sizes = [max(each) - min(each) or 1.0 for each in zip(*places.values(), strict=True)]
    kept: list[CellSummary] = []
    for cell in front:
        apart = [
            any(
                abs(a - b) > share * size
                for a, b, share, size in zip(places[cell.id], places[other.id], _NAME_SHARE, sizes, strict=True)
            )
            for other in kept
        ]
        if all(apart):
            kept.append(cell)
    return kept[:_MOST_NAMED]


def _row(cell: CellSummary, *, on_front: bool) -> Json:
    head = cell.headline
    return {
        "cell": plain(cell.label),
        "x": head.value,
        "low": head.low,
        "high": head.high,
        "y": cell.quality.perplexity,
        "front": on_front,
        "text": head.text,
        "ppl": number(cell.quality.perplexity, 4),
    }
