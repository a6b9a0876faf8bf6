"""The summary for machines: every figure with its interval, provenance, flags and reason."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Final

from joulebench.api import Renderer, Settings
from joulebench_reports.summary.joining import join
from joulebench_reports.values.figures import SessionSummary
from joulebench_reports.values.verdicts import BASELINE, baseline_of

if TYPE_CHECKING:
    from joulebench.session.files import Session

#: Raised when a reader of the old document would misread the new one.
FORMAT_VERSION: Final = 1


class JsonRenderer(Renderer):
    """Machine-readable JSON."""

    name = "json"
    summary = "every figure with interval, provenance, flags and reason, for machines"
    suffix: ClassVar[str] = ".json"
    options = (BASELINE,)

    def render(self, session: Session, settings: Settings) -> str:
        """One JSON object; unknown is null, and no number is NaN or infinite."""
        from joulebench_reports.summary.session import summarise

        return _text(document(summarise(session, baseline_of(settings))))

    def render_many(self, sessions: Sequence[Session], settings: Settings) -> str:
        """One object with that of each session, whose cells bear its name."""
        joined, _ = join(sessions, baseline_of(settings))
        return _text(
            {
                "format": "joulebench-summaries",
                "format_version": FORMAT_VERSION,
                "sessions": [document(part) for part in joined.parts],
            }
        )


def document(found: SessionSummary) -> dict[str, object]:
    """A session's summary as plain values."""
    from joulebench_reports.notes import trust
    from joulebench_reports.sections.operators import operator_tables

    whole = dataclasses.asdict(found)
    del whole["parts"]
    return {
        "format": "joulebench-summary",
        "format_version": FORMAT_VERSION,
        "energy_banner": trust.banner(found),
        **whole,
        "operators": [dataclasses.asdict(table) for table in operator_tables(found.shown)],
        "unmeasured": [dataclasses.asdict(note) for note in trust.unmeasured(found)],
        "trust": [dataclasses.asdict(note) for note in trust.trust_notes(found)],
    }


def _text(value: object) -> str:
    return json.dumps(finite(value), indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def finite(value: object) -> object:
    """The value with NaN and infinities as null, which is what JSON can say."""
    if isinstance(value, dict):
        return {str(key): finite(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
