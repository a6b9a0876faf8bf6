"""Cells that do the same work with the same model, and the one that the others are held against."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from joulebench.errors import JoulebenchError, unknown_name_hint
from joulebench_reports.values.figures import CellSummary

if TYPE_CHECKING:
    from joulebench.session import Session


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
    rows = {row["cell_id"]: row for row in session.cells().to_pylist()}
    rows |= {cell.id: planned_row(session, cell.id) for cell in shown if cell.id not in rows}
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


def planned_row(session: Session, cell_id: str) -> Mapping[str, Any]:
    """What the plan says of a cell whose own row is not written yet, by the row's columns."""
    for cell in _plan(session, "cells"):
        if cell.get("id") == cell_id:
            settings = {
                "backend": cell.get("backend_settings"),
                "workload": cell.get("workload_settings"),
                "transforms": _steps(cell.get("transforms")),
                "runtime": _steps(cell.get("runtime_steps")),
            }
            return {**cell, "settings_json": json.dumps(settings)}
    return {}


def _steps(planned: object) -> list[dict[str, object]]:
    """Names and settings of the steps of a chain, as a cell's row has them."""
    steps = [entry for entry in planned if isinstance(entry, dict)] if isinstance(planned, list) else []
    return [{"name": step.get("name"), "settings": step.get("settings")} for step in steps]


def _plan(session: Session, name: str) -> list[Mapping[str, Any]]:
    plan = session.json("plan_json")
    entries = plan.get(name) if isinstance(plan, dict) else None
    return [entry for entry in entries or () if isinstance(entry, dict)]


def _settings(row: Mapping[str, Any], part: str) -> object:
    try:
        settings = json.loads(row.get("settings_json") or "{}")
    except ValueError:
        return None
    return (settings.get(part) or {}) if isinstance(settings, dict) else None


def _work_of(row: Mapping[str, Any]) -> tuple[str, ...]:
    settings = json.dumps(_settings(row, "workload"), sort_keys=True)
    return str(row.get("workload")), str(row.get("unit")), settings


def _named(name: str, shown: Sequence[CellSummary]) -> CellSummary:
    for cell in shown:
        if name in (cell.label, cell.id):
            return cell
    raise JoulebenchError(
        f"no cell with figures is named '{name}'",
        where="baseline",
        hint=unknown_name_hint(name, [cell.label for cell in shown]),
    )


def _references(session: Session) -> dict[str, Mapping[str, Any]]:
    return {str(entry.get("model")): entry for entry in _plan(session, "references")}


def _baseline_of(
    cells: Sequence[CellSummary], rows: Mapping[str, Mapping[str, Any]], references: Mapping[str, Mapping[str, Any]]
) -> CellSummary:
    baseline_id = references.get(cells[0].model)
    if baseline_id is not None:
        for cell in cells:
            same = (cell.backend, cell.device) == (baseline_id.get("backend"), baseline_id.get("device"))
            settings = _settings(rows[cell.id], "backend") == baseline_id.get("backend_settings")
            if same and settings and cell.technique == "none":
                return cell
    return cells[0]
