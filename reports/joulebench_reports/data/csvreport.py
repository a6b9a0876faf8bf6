"""CSV: one row per cell, units in the columns' names, one set of columns per provenance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from joulebench.api import Renderer, Settings
from joulebench_reports.data.columns import COLUMNS, cell_rows, values
from joulebench_reports.data.spreadsheet import csv_text
from joulebench_reports.summary.joining import join
from joulebench_reports.values.figures import SessionSummary
from joulebench_reports.values.verdicts import BASELINE, baseline_of

if TYPE_CHECKING:
    from joulebench.session import Session


class CsvRenderer(Renderer):
    """One row per cell."""

    name = "csv"
    summary = "one row per cell, units in the names"
    suffix: ClassVar[str] = ".csv"
    options = (BASELINE,)

    def render(self, session: Session, settings: Settings) -> str:
        """The table; unknown is an empty field."""
        from joulebench_reports.summary.session import summarise

        return _table(summarise(session, baseline_of(settings)))

    def render_many(self, sessions: Sequence[Session], settings: Settings) -> str:
        """One table of the cells of several sessions."""
        return _table(join(sessions, baseline_of(settings))[0])


def _table(summary: SessionSummary) -> str:
    return csv_text([column.name for column in COLUMNS], map(values, cell_rows(summary)))
