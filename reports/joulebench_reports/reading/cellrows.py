"""The rows of a session's cells: each as the run wrote it, else as much of one as the plan tells."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from joulebench.session.tables import CellRow

if TYPE_CHECKING:
    from joulebench.session import Session

#: Status of a cell whose row is not written.
UNFINISHED: Final = "unfinished"


def plan_entries(session: Session, name: str) -> list[Mapping[str, object]]:
    """The entries of a list in the session's plan: ``cells`` or ``references``."""
    plan = session.json("plan_json")
    entries = plan.get(name) if isinstance(plan, dict) else None
    return [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []


def rows_by_cell(session: Session) -> Mapping[str, CellRow]:
    """The rows by their cells' ids: of the plan in its order, then of cells that it does not name."""
    return session.once("rows of cells", lambda: _rows_by_cell(session))


def _rows_by_cell(session: Session) -> dict[str, CellRow]:
    written = {row.cell_id: row for row in session.rows(CellRow)}
    cause = "the run is going on, or was cut off" if session.row.status == "running" else "the run was interrupted"
    rows: dict[str, CellRow] = {}
    for entry in plan_entries(session, "cells"):
        cell_id = str(entry.get("id"))
        rows[cell_id] = written.get(cell_id) or _planned_row(cell_id, entry, cause)
    for cell_id in session.cell_ids:
        if cell_id not in rows:
            rows[cell_id] = written.get(cell_id) or _planned_row(cell_id, {}, cause)
    return rows


def _planned_row(cell_id: str, entry: Mapping[str, object], cause: str) -> CellRow:
    """A cell's row by the plan's entry, whose parts have the settings one by one."""
    settings = {
        "backend": entry.get("backend_settings"),
        "workload": entry.get("workload_settings"),
        "transforms": _steps(entry.get("transforms")),
        "runtime": _steps(entry.get("runtime_steps")),
    }

    def text(name: str) -> str | None:
        value = entry.get(name)
        return value if isinstance(value, str) else None

    return CellRow(
        cell_id=cell_id,
        label=text("label"),
        model=text("model"),
        model_source=text("model_source"),
        technique=text("technique"),
        backend=text("backend"),
        device=text("device"),
        workload=text("workload"),
        unit=text("unit"),
        settings_json=json.dumps(settings),
        status=UNFINISHED,
        cause=cause,
    )


def _steps(planned: object) -> list[dict[str, object]]:
    """Names and settings of the steps of a chain, as a cell's row has them."""
    steps = [entry for entry in planned if isinstance(entry, dict)] if isinstance(planned, list) else []
    return [{"name": step.get("name"), "settings": step.get("settings")} for step in steps]
