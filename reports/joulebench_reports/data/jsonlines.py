"""JSON lines: one object for each cell, by the columns of the table of cells."""

from __future__ import annotations

import json
from typing import Final

from joulebench_reports.data.columns import cell_rows, values
from joulebench_reports.data.jsonformat import finite
from joulebench_reports.values.figures import SessionSummary

#: Raised when a reader of the old lines would misread the new ones.
FORMAT_VERSION: Final = 2


def lines(summary: SessionSummary) -> str:
    """A line per cell, failed and skipped ones too; unknown is null."""
    about = {"format": "joulebench-cell", "format_version": FORMAT_VERSION}
    objects = (finite({**about, **values(row)}) for row in cell_rows(summary))
    return "".join(json.dumps(line, allow_nan=False) + "\n" for line in objects)
