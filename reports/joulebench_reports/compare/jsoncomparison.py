"""The comparison of two runs for machines: a declared format."""

from __future__ import annotations

from typing import Final

from joulebench_reports.compare.changes import RunComparison
from joulebench_reports.compare.report import headline
from joulebench_reports.compare.side import SideCell
from joulebench_reports.data.jsonformat import Format, record

COMPARISON: Final = Format(
    "joulebench-comparison",
    1,
    "run_comparison",
    {
        "run_comparison": record(
            "Two runs; `exit_code` is that of the command, `thresholds` are shares by metric",
            "headline:text exit_code:integer thresholds:{number} baseline:run current:run changes:[change]",
            "differences:[difference] only_baseline:[unmatched] only_current:[unmatched]",
        ),
        "run": record("A side", "session_id:text created_at:text? status:text profile_name:text"),
        "change": record(
            "A figure of a cell on both sides. `change` is relative, `low` and `high` bound its interval at `level`; "
            "`verdict` is worse, better, small, no_change, cannot_tell or not_compared",
            "cell:text metric:text unit:text provenance:text? before:estimate? after:estimate? threshold:number",
            "verdict:text change:number? low:number? high:number? level:number? p_value:number?",
            "smallest_detectable:number? reason:text?",
        ),
        "estimate": record(
            "A figure in `unit`; `u` and `scale_u` are relative standard uncertainties: of the blocks, of the sensor",
            "metric:text unit:text value:number u:number? df:number? n:integer processes:integer? low:number?",
            "high:number? provenance:text? basis:text scale_u:number?",
        ),
        "difference": record(
            "What was not the same in both runs; `cells` counts those that it holds for",
            "area:text name:text before:scalar after:scalar cells:integer?",
        ),
        "unmatched": record("A cell that one side alone has", "label:text identity:{scalar} reason:text"),
    },
)


def comparison_json(comparison: RunComparison) -> str:
    """The document; unknown is null."""
    names = ("thresholds", "exit_code", "baseline", "current", "changes", "differences")
    return COMPARISON.text(
        {
            **{name: getattr(comparison, name) for name in names},
            "headline": headline(comparison),
            "only_baseline": [_unmatched(cell, why) for cell, why in comparison.only_baseline],
            "only_current": [_unmatched(cell, why) for cell, why in comparison.only_current],
        }
    )


def _unmatched(cell: SideCell, why: str) -> dict[str, object]:
    return {"label": cell.label, "identity": cell.identity, "reason": why}
