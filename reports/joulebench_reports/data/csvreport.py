"""CSV: one row per cell, units in the columns' names, one set of columns per provenance."""

from __future__ import annotations

from joulebench_reports.data.columns import COLUMNS, cell_rows, values
from joulebench_reports.data.spreadsheet import csv_text
from joulebench_reports.values.figures import SessionSummary


def table(summary: SessionSummary) -> str:
    """The table; unknown is an empty field."""
    return csv_text([column.name for column in COLUMNS], map(values, cell_rows(summary)))
