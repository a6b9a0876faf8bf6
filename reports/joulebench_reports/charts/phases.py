"""The chart of energy by phase: joules for each prompt token read and each token written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from joulebench.api import PROVENANCES
from joulebench_reports.charts.bars import MOST_BARS, TOP
from joulebench_reports.charts.specification import Chart, axis_title, axis_top, chart_id, figure_row, tooltip
from joulebench_reports.charts.template import Json, filled
from joulebench_reports.values.figure import Figure
from joulebench_reports.values.figures import CellSummary

_CELL_PX: Final = 46
_AXIS_PX: Final = 70
_HEADER: Final = ("cell", "phase", "J per token of it", "n", "provenance", "method")


def phase_charts(cells: Sequence[CellSummary]) -> list[Chart]:
    """One chart for each provenance of which a cell has the energy of a phase."""
    charts: list[Chart] = []
    for provenance in PROVENANCES:
        cell_phases = [
            (cell.label, phases)
            for cell in cells
            for energy in cell.energy
            if energy.provenance == provenance and (phases := [(n, f) for n, f in energy.phases if f.value is not None])
        ]
        if cell_phases:
            charts.append(_chart(cell_phases, provenance))
    return charts


_Phases = Sequence[tuple[str, Figure]]


def _chart(cell_phases: Sequence[tuple[str, _Phases]], provenance: str) -> Chart:
    ordered = sorted(cell_phases, key=lambda entry: _least(entry[1]))
    few = len(cell_phases) <= MOST_BARS // 2
    shown = ordered if few else ordered[:TOP]
    title = f"Energy by phase, J per token of the phase – {provenance}"
    if not few:
        title += f": the {TOP} lowest of {len(cell_phases)}"
    return Chart(
        chart_id(title),
        title,
        provenance,
        f"{title}: bars with 95 % intervals for prefill and decode of {len(shown)} cells; every "
        "value is in the table below the chart",
        _spec(title, shown, provenance),
        _HEADER,
        tuple(
            (label, phase, f.text, str(f.n), provenance, f.method)
            for label, phases in cell_phases
            for phase, f in phases
        ),
    )


def _least(phases: _Phases) -> float:
    """Decoding decides where it is known."""
    figure = dict(phases).get("decode") or phases[0][1]
    return figure.value or 0.0


def _spec(title: str, shown: Sequence[tuple[str, _Phases]], provenance: str) -> Json:
    figures = [(label, phase, figure) for label, phases in shown for phase, figure in phases]
    return filled(
        "phases",
        title=title,
        height=_CELL_PX * len(shown) + _AXIS_PX,
        rows=[{**figure_row(label, figure), "phase": phase} for label, phase, figure in figures],
        tooltip=tooltip(cell="cell", phase="phase", text="J/token"),
        axis=axis_title("J per token of the phase", provenance),
        top=axis_top([figure for _, _, figure in figures]),
    )
