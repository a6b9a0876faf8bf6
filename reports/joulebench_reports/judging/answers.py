"""A session's answers: by the same advice that ``joulebench advise`` gives, for three goals at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from joulebench_reports.judging.advice import Advice, Adviser, Aim
from joulebench_reports.judging.ratios import CellRatios
from joulebench_reports.judging.trust import trust_of
from joulebench_reports.judging.workgroups import SessionWork, WorkGroup
from joulebench_reports.reading.simulated import ELSEWHERE
from joulebench_reports.values.agreement import agrees_text
from joulebench_reports.values.answers import Answer, Goal, Pick
from joulebench_reports.values.figure import Figure
from joulebench_reports.values.figures import CellSummary
from joulebench_reports.values.options import DEFAULT_MAX_LOSS
from joulebench_reports.values.verdicts import Verdict
from joulebench_reports.words.text import UNKNOWN, number, percent

_GOALS: Final[tuple[tuple[Goal, Aim], ...]] = (("least energy", "energy"), ("fastest", "time"), ("smallest", "memory"))


def answers(work: SessionWork, shown: Sequence[CellSummary], baseline: str | None = None) -> tuple[Answer, ...]:
    """The answer of each model and workload that has figures; kernels and parts of models have none."""
    working = work.of_models(shown)
    named = baseline if any(baseline in (cell.id, cell.label) for cell in working) else None
    return tuple(_answer(work.ratios, group) for group in work.groups(working, named))


def _answer(ratios: CellRatios, group: WorkGroup) -> Answer:
    adviser = Adviser(ratios, group, (), DEFAULT_MAX_LOSS)
    advised = {goal: adviser.advice(aim, ()) for goal, aim in _GOALS}
    picks = [_pick(goal, advice, adviser, group) for goal, advice in advised.items() if advice.ranked]
    here = [cell for cell in group.cells if not cell.simulated]
    return Answer(
        group.model,
        group.workload,
        len(group.cells),
        group.baseline.label,
        adviser.provenance,
        tuple(picks),
        _quality(adviser, here),
        tuple(entry for entry in advised["least energy"].refused if entry[1] != ELSEWHERE),
        trust_of(group.cells),
        None if picks else ELSEWHERE if not here else "no cell keeps its quality and has figures",
    )


def _pick(goal: Goal, advice: Advice, adviser: Adviser, group: WorkGroup) -> Pick:
    first = advice.ranked[0]
    cell = next(cell for cell in group.cells if cell.id == first.cell_id)
    verdict = adviser.against_baseline(advice.aim).get(cell.id)
    return Pick(
        goal,
        first.cell_id,
        first.label,
        _figure(advice.aim, cell, adviser),
        verdict,
        _saving(advice.aim, cell, group.baseline, verdict),
        advice.best is not None,
        tuple(other.label for other in advice.as_good),
        tuple(other.label for other in advice.undecided),
        advice.cure,
    )


def _figure(aim: Aim, cell: CellSummary, adviser: Adviser) -> Figure:
    if aim == "energy":
        return adviser.energy(cell)
    if aim == "time":
        return adviser.rate(cell)
    peak = cell.memory.rss_peak_bytes
    return Figure(None if peak is None else float(peak), "B", n=1)


def _saving(aim: Aim, cell: CellSummary, baseline: CellSummary, verdict: Verdict | None) -> str:
    """Against the baseline, in words."""
    if cell.id == baseline.id:
        return "the baseline itself"
    if aim == "memory":
        ours, theirs = cell.memory.rss_peak_bytes, baseline.memory.rss_peak_bytes
        if not ours or not theirs:
            return "the baseline's is unknown"
        return f"{percent(1 - ours / theirs)} less than {baseline.label}"
    if verdict is None:
        return f"not comparable with {baseline.label}"
    if aim == "energy":
        return f"{verdict.text} against {baseline.label}"
    return _faster(verdict, baseline.label)


def _faster(verdict: Verdict, baseline: str) -> str:
    comparison = verdict.comparison
    if comparison is None or comparison.verdict != "lower" or not comparison.ratio:
        return f"{verdict.text} (time) against {baseline}"
    times = [None if not ratio else 1 / ratio for ratio in (comparison.ratio, comparison.high, comparison.low)]
    value, low, high = (number(x, 2) if x is not None else UNKNOWN for x in times)
    return f"{value} × [{low}, {high}] as fast as {baseline}"


def _quality(adviser: Adviser, cells: Sequence[CellSummary]) -> str:
    """What is known of the quality of the cells that the picks are taken from."""
    kept = [cell for cell in cells if not adviser.loses(cell)]
    if not kept:
        return "no cell keeps it"
    losses = [loss for cell in kept if (loss := adviser.loss(cell)) is not None]
    agreements = dict.fromkeys(agrees_text(cell.agreement) for cell in kept if cell.agreement is not None)
    parts = []
    if losses:
        least, most = min(losses), max(losses)
        span = dict.fromkeys(f"{100 * loss:+.1f} %" for loss in (least, most))
        # What a user's own quantized file has lost against the model that it was made of, nobody knows here.
        own = [cell.quantization for cell in cells if cell.technique == "none" and cell.quantization is not None]
        known = f"the {own[0]} file itself" if own else "the uncompressed model"
        parts.append(f"perplexity {' to '.join(span)} against {known}")
    if len(agreements) == 1 and UNKNOWN not in agreements:
        embeds = any(cell.agreement is not None and cell.agreement.cosine_min is not None for cell in kept)
        what = "to the reference's embeddings" if embeds else "greedy tokens as the reference"
        parts.append(f"{next(iter(agreements))} {what}")
    return "; ".join(parts) or "not measured in this session"
