"""Cells of a user's own file that runs as it is: settings of conversions make no difference to it."""

from __future__ import annotations

from joulebench.api import Settings
from joulebench.plan.cells import PlannedCell
from joulebench.plan.checks import SkipCellError
from joulebench.plan.labels import short_setting


class OwnFileCells:
    """The cells that were planned so far, each measured once whatever it says of conversions."""

    def __init__(self) -> None:
        self._planned: dict[tuple[object, ...], PlannedCell] = {}

    def unapplied(self, cell: PlannedCell, conversion: Settings) -> tuple[str, ...]:
        """The settings of the cell that only a conversion would use, which there is none of.

        Raises :class:`SkipCellError` where a cell before differs in nothing else.
        """
        names = tuple(name for name in cell.backend_settings if name in conversion)
        others = tuple((name, value) for name, value in cell.backend_settings.items() if name not in names)
        place = (cell.model, cell.technique, cell.backend, cell.device, cell.workload)
        first = self._planned.setdefault((place, others, tuple(cell.workload_settings.items())), cell)
        if first is cell:
            return names
        different = [name for name in names if cell.backend_settings[name] != first.backend_settings[name]]
        measured = ", ".join(short_setting(name, first.backend_settings[name]) for name in different)
        raise SkipCellError(
            f"the file runs as it is, whatever {' and '.join(different)} is: it is measured once (at {measured})",
            "settings",
        )
