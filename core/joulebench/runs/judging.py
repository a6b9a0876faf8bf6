"""What is asked of an open worker before its warm-up, outside of all measured windows."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Protocol

from joulebench.agreement import FULL_PRECISION, AgreementRecord, Comparison, agreement_record, verdict
from joulebench.meter.clusters import paired_windows
from joulebench.runs.cell import CellRun
from joulebench.runs.orders import ScoredText, TextScore
from joulebench.runs.references import Reference, References
from joulebench.worker.process import ToldError, WorkerError


class Judge(Protocol):
    """Looks at a cell once. ``doing`` says what it does, for the progress."""

    doing: str

    def wants(self, run: CellRun) -> bool:
        """Whether this cell is still to be looked at."""

    def judge(self, run: CellRun) -> None:
        """Look at it and write down what was seen. Raises where the cell is lost by it."""


def equal_cells(run: CellRun) -> str:
    """Equal for cells that differ in their workload alone: what is seen of one holds for all."""
    return repr(
        (
            run.job.artifact.content_hash,
            run.cell.backend_plugin,
            run.cell.device,
            sorted(run.job.session.settings.items()),
            run.cell.runtime_steps,
        )
    )


class QualityJudge:
    """The text that each cell's perplexity is taken from; a result serves equal cells."""

    doing = "judging quality"

    def __init__(self, text: ScoredText, note: str) -> None:
        self._text = text
        self._note = note
        self._known: dict[str, TextScore | None] = {}

    def wants(self, run: CellRun) -> bool:
        """Whether the cell can be scored and has not been."""
        return run.record.text_score is None and run.job.can_be_judged

    def judge(self, run: CellRun) -> None:
        """Score the text in this cell's worker, or take the figures of an equal cell."""
        key = equal_cells(run)
        if key not in self._known:
            score = run.score(self._text)
            self._known[key] = None if score is None else replace(score, note=self._note)
        run.record.text_score = self._known[key]


class AgreementJudge:
    """Holds each cell to its model's reference; a comparison serves equal cells.

    What fails is the check alone: the reason is recorded, a worker that went down is replaced.
    """

    doing = "checking agreement"

    def __init__(self, references: References) -> None:
        self._references = references
        self._known: dict[str, Comparison] = {}

    def wants(self, run: CellRun) -> bool:
        """Whether the cell is to be compared and has not been yet."""
        return run.job.judged and run.record.agreement_json is None

    def judge(self, run: CellRun) -> None:
        """Compare, or take the comparison of an equal cell."""
        reference = self._references.of(run.cell.model)
        comparison, reason = None, reference.reason
        if reference.folder is not None:
            key = equal_cells(run)
            comparison = self._known.get(key)
            if comparison is None:
                try:
                    comparison = self._known[key] = run.compare(reference.folder)
                except ToldError as error:
                    reason = error.cause.message
                except WorkerError as error:
                    reason = error.cause.message
                    run.reopen()
        run.record.add_agreement(_record(run, reference, comparison, reason))


def _record(run: CellRun, reference: Reference, comparison: Comparison | None, reason: str | None) -> AgreementRecord:
    record = agreement_record(reference.about, comparison, reason)
    own, other = run.record.text_score, reference.text
    if own is not None and other is not None:
        ratio = own.perplexity / other.perplexity
        change = paired_windows(own.windows, other.windows)
        if math.isfinite(ratio):
            record = replace(record, text_perplexity_ratio=ratio)
            if change is not None:
                intervals = {**record.intervals, "text_perplexity_ratio": [change.low, change.high]}
                record = replace(record, intervals=intervals)
    if comparison is not None and _is_full_precision(run):
        record = replace(record, held=True, disagrees=verdict(record))
    return record


def _is_full_precision(run: CellRun) -> bool:
    """Whether the cell computes with the checkpoint's own weights in float32."""
    compressed = run.cell.runtime_steps or any(step.kind == "technique" for step in run.cell.transforms)
    return not compressed and run.facts.get("dtype") == FULL_PRECISION
