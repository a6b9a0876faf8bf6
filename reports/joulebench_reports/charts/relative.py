"""Energies as a share of the baseline's, the least first: what the verdicts say, as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from joulebench.api import PROVENANCES, Provenance
from joulebench_reports.charts.bars import MOST_BARS, TOP
from joulebench_reports.charts.specification import Chart, bars
from joulebench_reports.values.figure import Figure
from joulebench_reports.values.verdicts import Verdict, VerdictTable
from joulebench_reports.words.text import plain

_UNIT: Final = "% of the baseline"
_BASELINE: Final = Figure(100.0, _UNIT, method="the baseline itself")


def relative_charts(table: VerdictTable) -> list[Chart]:
    """A chart for each provenance in which cells are compared with the baseline; their intervals hold together."""
    charts: list[Chart] = []
    for provenance in PROVENANCES:
        figures = [
            (verdict.label, figure)
            for verdict in table.verdicts
            if verdict.provenance == provenance and (figure := _figure(verdict, provenance)) is not None
        ]
        if figures:
            charts.append(_chart(table, [*figures, (table.baseline, _BASELINE)], provenance))
    return charts


def _figure(verdict: Verdict, provenance: Provenance) -> Figure | None:
    comparison = verdict.comparison
    if comparison is None or comparison.ratio is None:
        return None
    ratios = (comparison.ratio, comparison.low, comparison.high)
    value, low, high = (None if ratio is None else 100 * ratio for ratio in ratios)
    return Figure(value, _UNIT, low, high, comparison.n, provenance, verdict.text)


def _chart(table: VerdictTable, figures: Sequence[tuple[str, Figure]], provenance: Provenance) -> Chart:
    ordered = sorted(figures, key=lambda entry: entry[1].value or 0.0)
    title = f"Energy relative to {plain(table.baseline)}, % – {provenance}"
    if len(ordered) > MOST_BARS:
        title += f": the {TOP} lowest of {len(ordered)}"
        ordered = ordered[:TOP]
    return bars(title, _UNIT, ordered, provenance, reference=_BASELINE.value)
