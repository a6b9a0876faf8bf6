"""Cells that do the same work with the same model, and the one that the others are held against."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from joulebench.errors import JoulebenchError, unknown_name_hint
from joulebench_reports.reading.cellrows import cell_rows, plan_entries
from joulebench_reports.values.figures import CellSummary

if TYPE_CHECKING:
    from joulebench.session import Session
    from joulebench.session.tables import CellRow


@dataclass(frozen=True, slots=True)
class WorkGroup:
    """Cells of one model and one workload with equal settings; ``baseline`` is one of them."""

    model: str
    workload: str
    baseline: CellSummary
    cells: tuple[CellSummary, ...]

    @property
    def others(self) -> tuple[CellSummary, ...]:
        """All but the baseline."""
        return tuple(cell for cell in self.cells if cell.id != self.baseline.id)


def work_groups(session: Session, shown: Sequence[CellSummary], baseline: str | None = None) -> list[WorkGroup]:
    """The groups in the order of their first cells.

    The baseline of a group is the cell of the agreement check's reference (the uncompressed
    model on the reference backend), else the first cell. ``baseline`` names another one by label
    or id; what does its work is then one group, whatever the model. Raises
    :class:`JoulebenchError` where no cell that has figures is named so.
    """
    rows = cell_rows(session)
    named = None if baseline is None else _named(baseline, shown)
    work = {cell.id: _work_of(rows[cell.id]) for cell in shown}
    grouped: dict[tuple[str, ...], list[CellSummary]] = {}
    for cell in shown:
        same_work = named is not None and work[cell.id] == work[named.id]
        key = work[cell.id] if same_work else (*work[cell.id], cell.model)
        grouped.setdefault(key, []).append(cell)
    references = _references(session)
    return [
        WorkGroup(
            cells[0].model,
            cells[0].workload,
            named if named in cells else _baseline_of(cells, rows, references),
            tuple(cells),
        )
        for cells in grouped.values()
    ]


def _settings(row: CellRow, part: str) -> object:
    try:
        settings = json.loads(row.settings_json or "{}")
    except ValueError:
        return None
    return (settings.get(part) or {}) if isinstance(settings, dict) else None


def _work_of(row: CellRow) -> tuple[str, ...]:
    settings = json.dumps(_settings(row, "workload"), sort_keys=True)
    return str(row.workload), str(row.unit), settings


def _named(name: str, shown: Sequence[CellSummary]) -> CellSummary:
    for cell in shown:
        if name in (cell.label, cell.id):
            return cell
    raise JoulebenchError(
        f"no cell with figures is named '{name}'",
        where="baseline",
        hint=unknown_name_hint(name, [cell.label for cell in shown]),
    )


def _references(session: Session) -> dict[str, Mapping[str, object]]:
    return {str(entry.get("model")): entry for entry in plan_entries(session, "references")}


def _baseline_of(
    cells: Sequence[CellSummary], rows: Mapping[str, CellRow], references: Mapping[str, Mapping[str, object]]
) -> CellSummary:
    baseline_id = references.get(cells[0].model)
    if baseline_id is not None:
        for cell in cells:
            same = (cell.backend, cell.device) == (baseline_id.get("backend"), baseline_id.get("device"))
            settings = _settings(rows[cell.id], "backend") == baseline_id.get("backend_settings")
            if same and settings and cell.technique == "none":
                return cell
    return cells[0]
