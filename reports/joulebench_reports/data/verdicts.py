"""Each cell's verdict as plain values, for tables and lines that machines read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from joulebench_reports.values.figures import SessionSummary


@dataclass(frozen=True, slots=True)
class Judged:
    """A cell's energy over its baseline's; the ratio and its 95 % interval where they were had.

    ``verdict`` is ``baseline`` for the baseline itself, and ``None`` where a cell has none to be
    held against.
    """

    baseline: str | None = None
    verdict: str | None = None
    text: str | None = None
    provenance: str | None = None
    ratio: float | None = None
    low: float | None = None
    high: float | None = None


NOT_JUDGED: Final = Judged()


def judged(summary: SessionSummary) -> Mapping[str, Judged]:
    """The verdicts of a summary by cell id."""
    found: dict[str, Judged] = {}
    for table in summary.verdicts:
        found[table.baseline_id] = Judged(table.baseline, "baseline", "the baseline")
        for each in table.verdicts:
            ratio = each.comparison
            found[each.cell_id] = Judged(
                table.baseline,
                each.outcome,
                each.text,
                each.provenance,
                None if ratio is None else ratio.ratio,
                None if ratio is None else ratio.low,
                None if ratio is None else ratio.high,
            )
    return found
