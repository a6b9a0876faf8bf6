"""What to deploy, as a report: a section for each model and workload."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from joulebench_reports.judging.advice import AS_GOOD, Advice, RankedCell
from joulebench_reports.sections.report import Heading, Item, NoteList, Paragraph, Report, Section
from joulebench_reports.values.note import Note
from joulebench_reports.values.pareto import Front
from joulebench_reports.words.text import MARKS, data_size, number

_AIMS: Final = {"energy": "energy", "time": "time per unit", "memory": "peak memory"}
_OBJECTIVES: Final = {**_AIMS, "loss": "loss of perplexity"}


def advice_report(advised: Sequence[Advice], session_id: str) -> Report:
    """The recommendation of each model and workload first in its section."""
    sections = (
        Section(f"advice-{place}", _heading(advice), tuple(_items(advice))) for place, advice in enumerate(advised)
    )
    return Report(
        title="What to deploy" if advised else "No cell of a model has figures",
        sections=tuple(sections),
        facts=(session_id,),
        footer="joulebench advise",
    )


def _heading(advice: Advice) -> str:
    aim = _AIMS[advice.aim]
    if advice.aim == "energy" and advice.provenance is not None:
        aim = f"{advice.provenance} energy"
    return f"{advice.model}, {advice.workload}: minimum {aim}"


def _items(advice: Advice) -> Iterator[Item]:
    best = advice.best
    if not advice.ranked:
        yield Paragraph("No cell is left to recommend.")
    elif best is None:
        first = advice.ranked[0]
        why = "no cell is significantly better than the others"
        yield Paragraph(f"No recommendation: {why if advice.distrust is None else advice.distrust.text}.")
        yield Paragraph(f"Run again with {advice.cure}.")
        yield Paragraph(f"Lowest estimate: {first.label}: {_figures(first, advice)}")
        yield from _notes("Not significantly different, or unknown", advice.undecided, advice)
    else:
        yield Paragraph(f"Deploy {best.label}: {_figures(best, advice)}")
        if best.doubts:
            yield NoteList(tuple(Note("but", doubt) for doubt in best.doubts))
    yield from _notes(f"As good (a difference of {AS_GOOD:.0%} would have been detected)", advice.as_good, advice)
    behind = [cell for cell in advice.ranked if cell.standing == "behind"]
    yield from _notes("Next", behind[:1], advice)
    yield from _front(advice.front)
    if advice.max_loss is not None:
        limit = f"at most {advice.max_loss:+.0%} perplexity over the uncompressed model (--max-loss)"
        yield from (Heading("Limits"), NoteList((Note("Quality", limit),)))
    if advice.refused:
        yield from (Heading("Not considered"), NoteList(tuple(Note(*refused) for refused in advice.refused)))


def _notes(heading: str, cells: Sequence[RankedCell], advice: Advice) -> Iterator[Item]:
    if cells:
        yield Heading(heading)
        yield NoteList(tuple(Note(cell.label, _against_best(cell, advice)) for cell in cells))


def _against_best(cell: RankedCell, advice: Advice) -> str:
    unit = " (time)" if advice.aim == "time" else ""
    verdict = "" if cell.verdict is None else f"{cell.verdict.text}{unit}; "
    return verdict + _figures(cell, advice)


def _figures(cell: RankedCell, advice: Advice) -> str:
    mark = MARKS.get(advice.provenance or "measured", "")
    parts = [
        None if cell.energy is None else f"{number(cell.energy)} {cell.unit} {mark}".strip(),
        None if cell.rate is None else f"{number(cell.rate)} {cell.rate_unit}",
        None if cell.memory_bytes is None else data_size(cell.memory_bytes),
        None if cell.loss is None else f"perplexity {cell.loss:+.1%}",
    ]
    return ", ".join(part for part in parts if part is not None)


def _front(front: Front) -> Iterator[Item]:
    if not front.objectives:
        return
    yield Heading(f"Pareto front ({', '.join(_OBJECTIVES[objective] for objective in front.objectives)})")
    notes = [Note("Pareto-optimal", ", ".join(front.on) or "none")]
    notes += [Note(label, f"is dominated by {other}") for label, other in front.off]
    notes += [Note(label, f"not placed: its {objective} is unknown") for label, objective in front.unplaced]
    if front.left_out:
        left_out = ", ".join(_OBJECTIVES[objective] for objective in front.left_out)
        notes.append(Note("left out", f"{left_out}: no cell has it"))
    yield NoteList(tuple(notes))
