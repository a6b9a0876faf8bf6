"""How energy goes with a number of the profile: threads, context, length; a chart for each such axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from joulebench_reports.charts.specification import Chart, axis_title, chart_id, figure_row, tooltip
from joulebench_reports.charts.template import Json, filled
from joulebench_reports.values.figures import CellSummary
from joulebench_reports.values.scalingseries import ScalingSeries, scaling_series
from joulebench_reports.words.text import number, plain

#: Values that lie further apart (as a ratio) are drawn on an axis of logarithms.
_WIDE: Final = 8.0
#: More series than Vega names in a legend are told by pointing at a line, and by the table.
_MOST_NAMED: Final = 30
_HEADER: Final = ("series", "axis", "energy", "provenance")


def scaling_charts(cells: Sequence[CellSummary]) -> list[Chart]:
    """A chart for each session, workload, axis and provenance; one for each model too, where lines are many."""
    series = scaling_series(cells)
    together = len({one.model for one in series}) > 1 and len(series) <= _MOST_NAMED
    groups: dict[tuple[str, str], list[ScalingSeries]] = {}
    for one in series:
        about = (one.session, "" if together else one.model, one.workload)
        title = f"Energy against {one.axis}, {', '.join(plain(part) for part in about if part)} – {one.provenance}"
        groups.setdefault((title, one.unit), []).append(one)
    return [_chart(title, unit, lines) for (title, unit), lines in groups.items()]


def _chart(title: str, unit: str, lines: Sequence[ScalingSeries]) -> Chart:
    axis, provenance = lines[0].axis, lines[0].provenance
    several = len({line.model for line in lines}) > 1
    names = [f"{plain(line.model)} · {line.series}" if several else line.series for line in lines]
    points = [(name, value, cell) for name, line in zip(names, lines, strict=True) for value, cell in line.points]
    values = sorted({value for _, value, _ in points})
    return Chart(
        chart_id(title),
        title,
        provenance,
        f"{title}: a line for each of {len(lines)} series; every value is in the table below the chart",
        filled(
            "scaling",
            title=title,
            rows=[{**figure_row(name, cell.headline), "series": name, "axis": value} for name, value, cell in points],
            axis_name=axis,
            x_scale=_scale(values),
            ticks=values,
            tooltip=tooltip(series="series", axis=axis, text=unit),
            axis=axis_title(unit, provenance),
            legend={} if len(lines) <= _MOST_NAMED else None,
        ),
        _HEADER,
        tuple((name, number(value), f"{cell.headline.text} {unit}", provenance) for name, value, cell in points),
    )


def _scale(values: Sequence[float]) -> Json:
    if values[0] > 0 and values[-1] / values[0] >= _WIDE:
        return {"type": "log", "base": 2, "nice": False, "padding": 16}
    return {"zero": False, "nice": False, "padding": 16}
