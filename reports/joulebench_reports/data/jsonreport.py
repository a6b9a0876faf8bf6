"""The summary for machines, in the format of :mod:`.jsonformat`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from joulebench.api import Renderer, Settings
from joulebench_reports.data.jsonformat import RECORDS, REPORT, json_text
from joulebench_reports.notes import trust
from joulebench_reports.reading.operators import operator_tables
from joulebench_reports.summary.joining import join
from joulebench_reports.values.figures import SessionSummary
from joulebench_reports.values.verdicts import BASELINE, baseline_of

if TYPE_CHECKING:
    from joulebench.session import Session


class JsonRenderer(Renderer):
    """Machine-readable JSON."""

    name = "json"
    summary = "every figure with interval, provenance, flags and reason, for machines"
    suffix: ClassVar[str] = ".json"
    options = (BASELINE,)

    def render(self, session: Session, settings: Settings) -> str:
        """One JSON object; unknown is null, and no number is NaN or infinite."""
        from joulebench_reports.summary.session import summarise

        return json_text(report(summarise(session, baseline_of(settings))))

    def render_many(self, sessions: Sequence[Session], settings: Settings) -> str:
        """One object with that of each session, whose cells bear its name."""
        joined, _ = join(sessions, baseline_of(settings))
        return json_text(
            {
                "format": "joulebench-summaries",
                "format_version": REPORT.version,
                "sessions": [report(part) for part in joined.parts],
            }
        )


def report(summary: SessionSummary) -> dict[str, Any]:
    """A session's summary as plain values."""
    made = {
        "energy_banner": trust.banner(summary),
        "operators": operator_tables(summary.shown),
        "unmeasured": trust.unmeasured(summary),
        "trust": trust.trust_notes(summary),
    }
    kept = {key: getattr(summary, key) for key in RECORDS["report"].fields if key not in made}
    return REPORT.document(made | kept)
