"""JSON lines: one object for each cell, for a build that reads results line by line."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Final

from joulebench.api import Renderer, Settings
from joulebench_reports.data.jsonreport import finite
from joulebench_reports.data.verdicts import NOT_JUDGED, judged
from joulebench_reports.notes.trust import machine_line
from joulebench_reports.summary.joining import join
from joulebench_reports.values.figures import SessionSummary
from joulebench_reports.values.verdicts import BASELINE, baseline_of

if TYPE_CHECKING:
    from joulebench.session.files import Session

#: Raised when a reader of the old lines would misread the new ones.
FORMAT_VERSION: Final = 1


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
    verdicts = judged(summary)
    found: list[str] = []
    for part in summary.parts or (summary,):
        about = {
            "format": "joulebench-cell",
            "format_version": FORMAT_VERSION,
            "session_id": part.session_id,
            "session_status": part.status,
            "created_at": part.created_at,
            "profile": part.profile_name,
            "protocol": part.protocol,
            "machine": machine_line(part.machine),
        }
        for cell in part.cells:
            verdict = dataclasses.asdict(verdicts.get(cell.id, NOT_JUDGED))
            line = {**about, **dataclasses.asdict(cell), "verdict": verdict}
            found.append(json.dumps(finite(line), allow_nan=False) + "\n")
    return "".join(found)
