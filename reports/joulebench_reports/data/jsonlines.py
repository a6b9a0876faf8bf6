"""JSON lines: one object for each cell, by the columns of the table of cells."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Final

from joulebench.api import Renderer, Settings
from joulebench_reports.data.columns import cell_rows, values
from joulebench_reports.data.jsonformat import finite
from joulebench_reports.summary.joining import join
from joulebench_reports.values.figures import SessionSummary
from joulebench_reports.values.verdicts import BASELINE, baseline_of

if TYPE_CHECKING:
    from joulebench.session import Session

#: Raised when a reader of the old lines would misread the new ones.
FORMAT_VERSION: Final = 2


class JsonLinesRenderer(Renderer):
    """One line per cell, failed and skipped ones too."""

    name = "jsonl"
    summary = "one JSON object per cell and line, with its verdict, for builds"
    suffix: ClassVar[str] = ".jsonl"
    options = (BASELINE,)

    def render(self, session: Session, settings: Settings) -> str:
        """The lines; unknown is null."""
        from joulebench_reports.summary.session import summarise

        return _lines(summarise(session, baseline_of(settings)))

    def render_many(self, sessions: Sequence[Session], settings: Settings) -> str:
        """The lines of every session, in their order."""
        return _lines(join(sessions, baseline_of(settings))[0])


def _lines(summary: SessionSummary) -> str:
    about = {"format": "joulebench-cell", "format_version": FORMAT_VERSION}
    lines = [finite({**about, **values(row)}) for row in cell_rows(summary)]
    return "".join(json.dumps(line, allow_nan=False) + "\n" for line in lines)
