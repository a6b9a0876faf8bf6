"""Cells that do the same work with the same model, and the one that the others are held against."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from joulebench.api.workload import BATCH
from joulebench.errors import JoulebenchError, unknown_name_hint
from joulebench_reports.judging.ratios import RUN_TO_RUN, CellRatios, as_spread
from joulebench_reports.reading.cellrows import plan_entries, rows_by_cell
from joulebench_reports.values.figures import CellSummary

if TYPE_CHECKING:
    from joulebench.session import Session
    from joulebench.session.tables import CellRow


@dataclass(frozen=True, slots=True)
class WorkGroup:
    """Cells of one model and one workload with equal settings, but for the batch; ``baseline`` is one of them."""

    model: str
    workload: str
    baseline: CellSummary
    cells: tuple[CellSummary, ...]

    @property
    def others(self) -> tuple[CellSummary, ...]:
        """All but the baseline."""
        return tuple(cell for cell in self.cells if cell.id != self.baseline.id)


class SessionWork:
    """What a session's cells do, by their records or the plan, and how they compare."""

    def __init__(self, session: Session) -> None:
        self._rows = rows_by_cell(session)
        self._references = {str(entry.get("model")): entry for entry in plan_entries(session, "references")}
        self._planned = {str(entry.get("id")): entry for entry in plan_entries(session, "cells")}
        preflight = session.json("preflight_json")
        self.ratios = CellRatios(as_spread(preflight.get(RUN_TO_RUN)) if isinstance(preflight, dict) else None)

    @classmethod
    def of(cls, session: Session) -> Self:
        """The session's work; of a snapshot made once, with every comparison in it."""
        return session.once("work", lambda: cls(session))

    def of_models(self, shown: Sequence[CellSummary]) -> list[CellSummary]:
        """The cells of models that somebody could deploy: of no kernel of the hardware, and of all layers."""
        return [cell for cell in shown if cell.kernel is None and not self._is_part(cell)]

    def _is_part(self, cell: CellSummary) -> bool:
        """Whether a cell has only some of a model's layers, for the whole to be extrapolated from."""
        depth = self._planned.get(cell.id, {}).get("depth")
        return isinstance(depth, dict) and depth.get("layers") != depth.get("whole")

    def groups(self, shown: Sequence[CellSummary], baseline: str | None = None) -> list[WorkGroup]:
        """The groups in the order of their first cells.

        The baseline of a group is the cell of the agreement check's reference (the uncompressed
        model on the reference backend), else the first cell. ``baseline`` names another one by label
        or id; what does its work is then one group, whatever the model. Raises
        :class:`JoulebenchError` where no cell that has figures is named so.
        """
        named = None if baseline is None else _named(baseline, shown)
        work = {cell.id: _work_of(self._rows[cell.id]) for cell in shown}
        grouped: dict[tuple[str, ...], list[CellSummary]] = {}
        for cell in shown:
            same_work = named is not None and work[cell.id] == work[named.id]
            key = work[cell.id] if same_work else (*work[cell.id], cell.model)
            grouped.setdefault(key, []).append(cell)
        return [
            WorkGroup(
                cells[0].model,
                cells[0].workload,
                named if named is not None and any(cell is named for cell in cells) else self._baseline_of(cells),
                tuple(cells),
            )
            for cells in grouped.values()
        ]

    def _baseline_of(self, cells: Sequence[CellSummary]) -> CellSummary:
        reference = self._references.get(cells[0].model)
        if reference is not None:
            for cell in cells:
                same = (cell.backend, cell.device) == (reference.get("backend"), reference.get("device"))
                settings = _settings(self._rows[cell.id], "backend") == reference.get("backend_settings")
                if same and settings and cell.technique == "none":
                    return cell
        return cells[0]


def _settings(row: CellRow, part: str) -> object:
    try:
        settings = json.loads(row.settings_json or "{}")
    except ValueError:
        return None
    return (settings.get(part) or {}) if isinstance(settings, dict) else None


def _work_of(row: CellRow) -> tuple[str, ...]:
    settings = _settings(row, "workload")
    if isinstance(settings, dict):  # how many are served at once is part of the answer, not of the question
        settings = {key: value for key, value in settings.items() if key != BATCH}
    settings = json.dumps(settings, sort_keys=True)
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
