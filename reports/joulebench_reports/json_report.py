"""The summary for machines: every figure with its interval, provenance, flags and reason."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import TYPE_CHECKING, ClassVar, Final

from joulebench.api import Renderer, Settings
from joulebench_reports.verdicts import BASELINE, baseline_of

if TYPE_CHECKING:
    from joulebench.session import Session

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
        from joulebench_reports import trust
        from joulebench_reports.operators import operator_tables
        from joulebench_reports.summary import summarise

        found = summarise(session, baseline_of(settings))
        document = {
            "format": "joulebench-summary",
            "format_version": FORMAT_VERSION,
            "energy_banner": trust.banner(found),
            **dataclasses.asdict(found),
            "operators": [dataclasses.asdict(table) for table in operator_tables(found.shown)],
            "unmeasured": [dataclasses.asdict(note) for note in trust.unmeasured(found)],
            "trust": [dataclasses.asdict(note) for note in trust.trust_notes(found)],
        }
        return json.dumps(finite(document), indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def finite(value: object) -> object:
    """The value with NaN and infinities as null, which is what JSON can say."""
    if isinstance(value, dict):
        return {str(key): finite(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
