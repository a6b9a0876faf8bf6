"""Technique by backend: one coloured field for each combination of a model and workload."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from joulebench_reports.charts.specification import Chart, axis_title, chart_id, figure_row, look, tooltip
from joulebench_reports.charts.template import filled
from joulebench_reports.values.figures import CellSummary
from joulebench_reports.words.text import number, plain

_FEWEST: Final = 2
_ROW_PX: Final = 34
_AXIS_PX: Final = 60
_HEADER: Final = ("technique", "backend", "energy", "provenance")

_Group = tuple[str, str, str, str, str]


def heat_charts(cells: Sequence[CellSummary]) -> list[Chart]:
    """A map for each group with two techniques and two backends or more; of equal fields the least energy."""
    groups: dict[_Group, dict[tuple[str, str], CellSummary]] = {}
    for cell in cells:
        head = cell.headline
        if head.value is None or head.provenance is None or cell.kernel is not None:
            continue
        fields = groups.setdefault((cell.session, cell.model, cell.workload, head.unit, head.provenance), {})
        known = fields.get((cell.technique, cell.backend))
        if known is None or (known.headline.value or 0.0) > head.value:
            fields[cell.technique, cell.backend] = cell
    return [_chart(group, fields) for group, fields in groups.items() if _is_a_map(fields)]


def _is_a_map(fields: dict[tuple[str, str], CellSummary]) -> bool:
    axes = zip(*fields, strict=True)
    return all(len(set(axis)) >= _FEWEST for axis in axes)


def _chart(group: _Group, fields: dict[tuple[str, str], CellSummary]) -> Chart:
    session, model, workload, unit, provenance = group
    about = ", ".join(plain(part) for part in (session, model, workload) if part)
    title = f"Technique by backend, {about} – {provenance}"
    techniques = list(dict.fromkeys(technique for technique, _ in fields))
    backends = list(dict.fromkeys(backend for _, backend in fields))
    rows = [
        {
            **figure_row(cell.label, cell.headline),
            "technique": plain(technique),
            "backend": plain(backend),
            "text": number(cell.headline.value),
        }
        for (technique, backend), cell in fields.items()
    ]
    return Chart(
        chart_id(f"{title} {unit}"),
        title,
        provenance,
        f"{title}: {len(techniques)} techniques by {len(backends)} backends, the darker the dearer; every value is in "
        "the table below the chart",
        filled(
            "heat",
            title=title,
            height=_ROW_PX * len(techniques) + _AXIS_PX,
            rows=rows,
            techniques=[plain(name) for name in techniques],
            backends=[plain(name) for name in backends],
            tooltip=tooltip(cell="cell", text=unit),
            axis=axis_title(unit, provenance),
            light="var:--raised",
            colour=look(provenance)["colour"],
        ),
        _HEADER,
        tuple(
            (technique, backend, f"{cell.headline.text} {unit}", provenance)
            for (technique, backend), cell in fields.items()
        ),
    )
