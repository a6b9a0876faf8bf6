"""Cells in series: those that differ in one number of the profile alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from joulebench_reports.values.figures import CellSummary
from joulebench_reports.words.text import number, plain

#: Fewer values of an axis make no line.
_FEWEST: Final = 3

_Key = tuple[str, str, str, str, str, str, str]


@dataclass(frozen=True, slots=True)
class ScalingSeries:
    """Cells by rising ``axis``, with its value. ``series`` is what tells them from others of the model."""

    session: str
    model: str
    workload: str
    unit: str
    provenance: str
    axis: str
    series: str
    points: tuple[tuple[float, CellSummary], ...]


def scaling_series(cells: Sequence[CellSummary]) -> list[ScalingSeries]:
    """Series of three values or more, of each axis that varies."""
    values: dict[str, set[float]] = {}
    for cell in cells:
        for name, own in cell.axes:
            values.setdefault(name, set()).add(own)
    varied = [name for name, known in values.items() if len(known) > 1]
    grouped: dict[_Key, list[tuple[float, CellSummary]]] = {}
    for axis in varied:
        others = [name for name in varied if name != axis]
        for cell in cells:
            value, head = dict(cell.axes).get(axis), cell.headline
            if value is None or head.value is None:
                continue
            series = _series(cell, others)
            key = (cell.session, cell.model, _workload(cell), head.unit, str(head.provenance), axis, series)
            grouped.setdefault(key, []).append((value, cell))
    return [
        ScalingSeries(*key, tuple(sorted(points, key=lambda point: point[0])))
        for key, points in grouped.items()
        if len({value for value, _ in points}) >= _FEWEST
    ]


def _workload(cell: CellSummary) -> str:
    """The workload without the values of an axis that its label may have."""
    return cell.workload.split(" ")[0]


def _series(cell: CellSummary, others: Sequence[str]) -> str:
    """What tells the lines of a chart apart: technique, backend, and the other axes that vary."""
    own = dict(cell.axes)
    others = [f"{name} {number(own[name])}" for name in others if name in own]
    return plain(" · ".join([cell.technique, cell.backend, *others]))
