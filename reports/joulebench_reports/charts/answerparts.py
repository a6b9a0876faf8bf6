"""Where the energy of an answer goes: reading the prompt, writing the answer, and what is neither."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from joulebench.api import PROVENANCES
from joulebench_reports.charts.bars import MOST_BARS, TOP
from joulebench_reports.charts.specification import Chart, axis_title, chart_id, tooltip
from joulebench_reports.charts.template import filled
from joulebench_reports.values.figures import CellSummary, EnergySummary
from joulebench_reports.words.text import number, percent, plain

_PARTS: Final = ("prefill", "decode", "rest")
#: Less of the whole than this is a matter of rounding.
_ROUNDING: Final = 1e-9
_ROW_PX: Final = 34
_AXIS_PX: Final = 80
_HEADER: Final = ("cell", "J for an answer", *(f"{part}, J" for part in _PARTS), "provenance")


def answer_charts(cells: Sequence[CellSummary]) -> list[Chart]:
    """A chart for each provenance of which cells have both phases: joules of a mean answer, stacked."""
    charts: list[Chart] = []
    for provenance in PROVENANCES:
        known = [
            (cell, parts)
            for cell in cells
            for energy in cell.energy
            if energy.provenance == provenance and (parts := _parts(cell, energy)) is not None
        ]
        if known:
            charts.append(_chart(sorted(known, key=lambda entry: sum(entry[1])), provenance))
    return charts


def _parts(cell: CellSummary, energy: EnergySummary) -> tuple[float, float, float] | None:
    """Joules of the prompt, of the tokens after the first, and of the rest of a mean request.

    The phases' figures are per token of theirs; a request has ``token.prompt`` tokens of prompt and one
    token fewer to decode than it answers, since prefill gives the first.
    """
    phases = dict(energy.phases)
    prefill, decode = phases.get("prefill"), phases.get("decode")
    per_unit, units, prompt = energy.gross.value, cell.units_per_request, cell.token.prompt
    if prefill is None or decode is None or prefill.value is None or decode.value is None:
        return None
    if per_unit is None or units is None or prompt is None or energy.gross.unit != "J/token" or units <= 1:
        return None
    read_j, written_j = prefill.value * prompt, decode.value * (units - 1)
    rest_j = per_unit * units - read_j - written_j
    return read_j, written_j, rest_j if rest_j > _ROUNDING * per_unit * units else 0.0


def _chart(known: Sequence[tuple[CellSummary, tuple[float, float, float]]], provenance: str) -> Chart:
    shown = known if len(known) <= MOST_BARS else known[:TOP]
    title = f"Where the energy of an answer goes, J – {provenance}"
    if len(shown) < len(known):
        title += f": the {TOP} lowest of {len(known)}"
    rows = [
        {
            "cell": plain(cell.label),
            "part": part,
            "place": place,
            "value": joules,
            "text": f"{number(joules)} J, {percent(joules / sum(parts))}",
        }
        for cell, parts in shown
        for place, (part, joules) in enumerate(zip(_PARTS, parts, strict=True))
    ]
    return Chart(
        chart_id(title),
        title,
        provenance,
        f"{title}: stacked bars of prefill, decode and the rest for {len(shown)} cells; every value is in the table "
        "below the chart",
        filled(
            "parts_of_answer",
            title=title,
            height=_ROW_PX * len(shown) + _AXIS_PX,
            rows=rows,
            parts=list(_PARTS),
            tooltip=tooltip(cell="cell", part="part", text="energy"),
            axis=axis_title("J for an answer", provenance),
        ),
        _HEADER,
        tuple((cell.label, number(sum(parts)), *map(number, parts), provenance) for cell, parts in known),
    )
