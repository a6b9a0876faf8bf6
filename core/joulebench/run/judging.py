"""What is asked of an open worker before its warm-up, outside of all measured windows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Protocol

from joulebench.agreement import FULL_PRECISION, Comparison, agreement_record, verdict
from joulebench.meter.clusters import paired_windows
from joulebench.run.cell import CellRun
from joulebench.run.orders import ScoredText
from joulebench.run.references import Reference, References
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
        self._known: dict[str, dict[str, Any]] = {}

    def wants(self, run: CellRun) -> bool:
        """Whether the cell can be scored and has not been."""
        return not run.record.quality and run.job.can_be_judged

    def judge(self, run: CellRun) -> None:
        """Score the text in this cell's worker, or take the figures of an equal cell."""
        key = equal_cells(run)
        if key not in self._known:
            run.judge_quality(self._text)
            if self._note:
                run.record.quality["note"] = self._note
            self._known[key] = dict(run.record.quality)
        run.record.quality.update(self._known[key])


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
        return run.job.judged and run.record.agreement is None

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


def _record(run: CellRun, reference: Reference, comparison: Comparison | None, reason: str | None) -> dict[str, Any]:
    record = agreement_record(reference.about, comparison, reason)
    record["text_perplexity_ratio"] = _ratio(run.record.quality, reference.text)
    change = paired_windows(_windows(run.record.quality), _windows(reference.text))
    if change is not None and record["text_perplexity_ratio"] is not None:
        record["intervals"]["text_perplexity_ratio"] = [change.low, change.high]
    record["held"] = comparison is not None and _is_full_precision(run)
    if record["held"]:
        record["disagrees"] = verdict(record)
    return record


def _windows(quality: Mapping[str, Any]) -> list[tuple[float, int]]:
    return [(nats, count) for nats, count in quality.get("windows") or ()]


def _ratio(quality: Mapping[str, Any], reference: Mapping[str, Any]) -> float | None:
    own, other = quality.get("perplexity"), reference.get("perplexity")
    if not isinstance(own, float) or not isinstance(other, float):
        return None
    ratio = own / other
    return ratio if math.isfinite(ratio) else None


def _is_full_precision(run: CellRun) -> bool:
    """Whether the cell computes with the checkpoint's own weights in float32."""
    compressed = run.cell.runtime_steps or any(step.kind == "technique" for step in run.cell.transforms)
    return not compressed and run.facts.get("dtype") == FULL_PRECISION
