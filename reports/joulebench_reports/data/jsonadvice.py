"""Advice for machines: a declared format."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from joulebench_reports.data.jsonformat import RECORDS, Format, record
from joulebench_reports.judging.advice import Advice

ADVICE: Final = Format(
    "joulebench-advice",
    2,
    "advised",
    {
        **RECORDS,
        "advised": record("What to deploy", "advice:[advice]"),
        "advice": record(
            "The advice for one model and workload; `best`, `as_good` and `undecided` are labels of `ranked`, "
            "`refused` pairs a label with the reason, `max_loss` is relative",
            "model:text workload:text aim:text provenance:text? reference:text? max_loss:number? ranked:[ranked]",
            "refused:[[text]] front:front best:text? as_good:[text] undecided:[text] cure:text? distrust:reason?",
        ),
        "ranked": record(
            "A cell that keeps the limits; `standing` is first, as good, behind or undecided, `loss` relative, "
            "`verdict` against the best",
            "cell_id:text label:text unit:text energy:number? rate:number? rate_unit:text memory_bytes:number?",
            "loss:number? verdict:verdict? standing:text doubts:[text]",
        ),
    },
)


def advice_json(advised: Sequence[Advice]) -> str:
    """The document; unknown is null."""
    return ADVICE.text({"advice": [_labelled(advice) for advice in advised]})


def _labelled(advice: Advice) -> dict[str, object]:
    """The advice with labels where it has cells of ``ranked`` again."""
    names = ADVICE.records["advice"].fields
    return {name: getattr(advice, name) for name in names} | {
        "best": None if advice.best is None else advice.best.label,
        "as_good": [cell.label for cell in advice.as_good],
        "undecided": [cell.label for cell in advice.undecided],
    }
