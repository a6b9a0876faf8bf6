"""The chart of energy by phase: joules for each prompt token read and each token written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from joulebench.api import PROVENANCES
from joulebench_reports.charts.bars import MOST_BARS, TOP
from joulebench_reports.charts.specification import Chart, Json, chart_id
from joulebench_reports.values.figures import CellSummary, Figure
from joulebench_reports.words.text import plain

_PHASES: Final = ("prefill", "decode")
_CELL_PX: Final = 46
_AXIS_PX: Final = 70
_HEADER: Final = ("cell", "phase", "J per token of it", "n", "provenance", "method")


def phase_charts(cells: Sequence[CellSummary]) -> list[Chart]:
    """One chart for each provenance of which a cell has the energy of a phase."""
    charts: list[Chart] = []
    for provenance in PROVENANCES:
        found = [
            (cell.label, phases)
            for cell in cells
            for energy in cell.energy
            if energy.provenance == provenance and (phases := [(n, f) for n, f in energy.phases if f.value is not None])
        ]
        if found:
            charts.append(_chart(found, provenance))
    return charts


_Phases = Sequence[tuple[str, Figure]]


def _chart(found: Sequence[tuple[str, _Phases]], provenance: str) -> Chart:
    ordered = sorted(found, key=lambda each: _least(each[1]))
    few = len(found) <= MOST_BARS // 2
    shown = found if few else ordered[:TOP]
    title = f"Energy by phase, J per token of the phase – {provenance}"
    if not few:
        title += f": the {TOP} lowest of {len(found)}"
    return Chart(
        chart_id(title),
        title,
        provenance,
        f"{title}: bars with 95 % intervals for prefill and decode of {len(shown)} cells; every "
        "value is in the table below the chart",
        _spec(title, shown, provenance),
        _HEADER,
        tuple((label, phase, f.text, str(f.n), provenance, f.method) for label, phases in found for phase, f in phases),
    )


def _least(phases: _Phases) -> float:
    """Decoding decides where it is known."""
    figure = dict(phases).get("decode") or phases[0][1]
    return figure.value or 0.0


def _spec(title: str, shown: Sequence[tuple[str, _Phases]], provenance: str) -> Json:
    values: list[Json] = [
        {"cell": plain(label), "phase": phase, "value": f.value, "low": f.low, "high": f.high, "text": f.text}
        for label, phases in shown
        for phase, f in phases
    ]
    colour: Json = {
        "field": "phase",
        "type": "nominal",
        "title": "phase",
        "scale": {"domain": list(_PHASES), "range": ["var:--prefill", "var:--decode"]},
        "legend": {"orient": "top"},
    }
    x: Json = {
        "field": "value",
        "type": "quantitative",
        "axis": {"tickCount": 8},
        "title": f"J per token of the phase ({provenance})",
    }
    layers: list[Json] = [{"mark": {"type": "bar", "opacity": 0.75}, "encoding": {"x": x, "color": colour}}]
    bounded = [row for row in values if row["low"] is not None and row["high"] is not None]
    if bounded:
        layers.append(
            {
                "data": {"values": bounded},
                "mark": {"type": "rule", "strokeWidth": 2, "color": "var:--ink"},
                "encoding": {"x": {"field": "low", "type": "quantitative"}, "x2": {"field": "high"}},
            }
        )
    return {
        "description": title,
        "width": "container",
        "autosize": {"type": "fit", "contains": "padding"},
        "height": _CELL_PX * len(shown) + _AXIS_PX,
        "data": {"values": values},
        "encoding": {
            "y": {
                "field": "cell",
                "type": "nominal",
                "sort": None,
                "axis": {"title": None, "labelLimit": 260, "ticks": False, "domain": False},
            },
            "yOffset": {"field": "phase", "type": "nominal", "sort": list(_PHASES)},
            "tooltip": [
                {"field": name, "type": "nominal", "title": shown_as}
                for name, shown_as in (("cell", "cell"), ("phase", "phase"), ("text", "J/token"))
            ],
        },
        "layer": layers,
    }
