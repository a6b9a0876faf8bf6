"""The figures of a summary in long form: a row for each cell and metric.

One row is one number with its interval, unit and provenance, which is what data frames, plots and
databases work with. The metrics are those of :mod:`.columns`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import astuple, dataclass, fields
from typing import TYPE_CHECKING, Final

from joulebench.api import PROVENANCES
from joulebench_reports.data.columns import COLUMNS, CellColumn, ReportedCell, cell_rows
from joulebench_reports.values.figures import SessionSummary

if TYPE_CHECKING:
    import pyarrow as pa

_ENDS: Final = ("_low", "_high")


@dataclass(frozen=True, slots=True)
class FigureRow:
    """One figure of one cell; ``low`` and ``high`` bound its 95 % interval where there is one.

    ``provenance`` is measured, estimated or simulated; null for counts and for quality, which are
    properties of what was computed.
    """

    session: str
    cell_id: str
    cell: str
    model: str
    technique: str
    backend: str
    workload: str
    metric: str
    value: float
    low: float | None
    high: float | None
    unit: str
    provenance: str | None


def figure_rows(summary: SessionSummary) -> Iterator[FigureRow]:
    """Every figure that is known; what is unknown has no row."""
    by_name = {column.name: column for column in COLUMNS}
    metrics = [column for column in COLUMNS if column.kind != "text" and not column.name.endswith(_ENDS)]
    for row in cell_rows(summary):
        for column in metrics:
            value = column.value_of(row)
            if isinstance(value, (int, float)):
                ends = (_end(by_name.get(column.name + end), row) for end in _ENDS)
                yield _row(row, column, float(value), *ends)


def _end(column: CellColumn | None, row: ReportedCell) -> float | None:
    value = None if column is None else column.value_of(row)
    return float(value) if isinstance(value, (int, float)) else None


def _row(row: ReportedCell, column: CellColumn, value: float, low: float | None, high: float | None) -> FigureRow:
    cell = row.cell
    provenance = next((name for name in PROVENANCES if column.name.startswith(f"{name}_")), None)
    metric = column.name if provenance is None else column.name.removeprefix(f"{provenance}_")
    return FigureRow(
        session=row.session.session_id,
        cell_id=cell.id,
        cell=cell.label,
        model=cell.model,
        technique=cell.technique,
        backend=cell.backend,
        workload=cell.workload,
        metric=metric,
        value=value,
        low=low,
        high=high,
        unit=_unit(row, column),
        provenance=provenance or _origin(row, column),
    )


def _unit(row: ReportedCell, column: CellColumn) -> str:
    other = column.unit.removeprefix("as in ")
    if other == column.unit:
        return column.unit or "1"
    return next(str(named.value_of(row)) for named in COLUMNS if named.name == other)


def _origin(row: ReportedCell, column: CellColumn) -> str | None:
    """Times, rates and bytes are of the host, or of the device that is simulated."""
    if column.unit in ("s", "tok/s", "B", "degC") or column.name == "work_rate":
        return "simulated" if row.cell.simulated else "measured"
    if column.name.startswith("verdict_energy"):
        return row.verdict.provenance if row.verdict is not None else None
    return None


def figure_table(summary: SessionSummary) -> pa.Table:
    """The rows as an Arrow table."""
    import pyarrow as pa

    kinds = {"value": pa.float64(), "low": pa.float64(), "high": pa.float64()}
    schema = pa.schema([(field.name, kinds.get(field.name, pa.string())) for field in fields(FigureRow)])
    columns = list(zip(*(astuple(row) for row in figure_rows(summary)), strict=True))
    if not columns:
        return schema.empty_table()
    return pa.table([pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)], schema)
