"""The summary for machines, in the format of :mod:`.jsonformat`."""

from __future__ import annotations

from typing import Any

from joulebench_reports.data.jsonformat import RECORDS, REPORT, json_text
from joulebench_reports.notes import trust
from joulebench_reports.reading.operators import operator_tables
from joulebench_reports.values.figures import SessionSummary
from joulebench_reports.values.matrix import model_matrix


def document(summary: SessionSummary) -> str:
    """One JSON object; unknown is null, and no number is NaN or infinite."""
    return json_text(report(summary))


def documents(joined: SessionSummary) -> str:
    """One object with that of each session, whose cells bear its name."""
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
        "matrix": model_matrix(summary.cells),
        "operators": operator_tables(summary.shown),
        "unmeasured": trust.unmeasured(summary),
        "trust": trust.trust_notes(summary),
    }
    kept = {key: getattr(summary, key) for key in RECORDS["report"].fields if key not in made}
    return REPORT.document(made | kept)
