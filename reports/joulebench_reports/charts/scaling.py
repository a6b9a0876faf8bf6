"""How energy goes with a number of the profile: threads, context, length; a chart for each such axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from joulebench_reports.charts.specification import Chart, axis_title, chart_id, figure_row, tooltip
from joulebench_reports.charts.template import Json, filled
from joulebench_reports.values.figures import CellSummary
from joulebench_reports.words.text import number, plain

#: Fewer values of an axis make no line.
_FEWEST: Final = 3
#: Values that lie further apart (as a ratio) are drawn on an axis of logarithms.
_WIDE: Final = 8.0
#: More series than Vega names in a legend are told by pointing at a line, and by the table.
_MOST_NAMED: Final = 30
_HEADER: Final = ("series", "axis", "energy", "provenance")

_Group = tuple[str, str, str, str, str]


def scaling_charts(cells: Sequence[CellSummary]) -> list[Chart]:
    """A chart for each session, model, workload, axis and provenance with a series of three values or more."""
    values: dict[str, set[float]] = {}
    for cell in cells:
        for name, own in cell.axes:
            values.setdefault(name, set()).add(own)
    varied = [name for name, known in values.items() if len(known) > 1]
    charts: list[Chart] = []
    for axis in varied:
        groups: dict[_Group, dict[str, list[tuple[float, CellSummary]]]] = {}
        for cell in cells:
            value = dict(cell.axes).get(axis)
            if value is not None and cell.headline.value is not None:
                head = cell.headline
                group = (cell.session, cell.model, _workload(cell), head.unit, str(head.provenance))
                series = groups.setdefault(group, {})
                series.setdefault(_series(cell, [name for name in varied if name != axis]), []).append((value, cell))
        for group, lines in groups.items():
            long = {name: sorted(points, key=lambda point: point[0]) for name, points in lines.items()}
            long = {name: points for name, points in long.items() if len({value for value, _ in points}) >= _FEWEST}
            if long:
                charts.append(_chart(axis, group, long))
    return charts


def _workload(cell: CellSummary) -> str:
    """The workload without the values of an axis that its label may have."""
    return cell.workload.split(" ")[0]


def _series(cell: CellSummary, others: Sequence[str]) -> str:
    """What tells the lines of a chart apart: technique, backend, and the other axes that vary."""
    own = dict(cell.axes)
    others = [f"{name} {number(own[name])}" for name in others if name in own]
    return plain(" · ".join([cell.technique, cell.backend, *others]))


def _chart(axis: str, group: _Group, series: dict[str, list[tuple[float, CellSummary]]]) -> Chart:
    session, model, workload, unit, provenance = group
    about = ", ".join(plain(part) for part in (session, model, workload) if part)
    title = f"Energy against {axis}, {about} – {provenance}"
    points = [(name, value, cell) for name, own in series.items() for value, cell in own]
    values = sorted({value for _, value, _ in points})
    return Chart(
        chart_id(title),
        title,
        provenance,
        f"{title}: a line for each of {len(series)} series; every value is in the table below the chart",
        filled(
            "scaling",
            title=title,
            rows=[{**figure_row(name, cell.headline), "series": name, "axis": value} for name, value, cell in points],
            axis_name=axis,
            x_scale=_scale(values),
            ticks=values,
            tooltip=tooltip(series="series", axis=axis, text=unit),
            axis=axis_title(unit, provenance),
            legend={} if len(series) <= _MOST_NAMED else None,
        ),
        _HEADER,
        tuple((name, number(value), f"{cell.headline.text} {unit}", provenance) for name, value, cell in points),
    )


def _scale(values: Sequence[float]) -> Json:
    if values[0] > 0 and values[-1] / values[0] >= _WIDE:
        return {"type": "log", "base": 2, "nice": False, "padding": 16}
    return {"zero": False, "nice": False, "padding": 16}
