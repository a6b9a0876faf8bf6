"""The answer in one glance: the first section of every report, and what a run ends with."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from joulebench_reports.notes.trust import mark
from joulebench_reports.sections.material import Material
from joulebench_reports.sections.report import Heading, Item, NoteList, Paragraph, Section
from joulebench_reports.values.answers import Answer, Pick, Trust
from joulebench_reports.values.figure import Figure
from joulebench_reports.values.note import Note
from joulebench_reports.words.text import counted, data_size
from joulebench_reports.words.units import energy_prefix

#: Models and workloads whose answers are all shown; of more, so many: their table says the rest in less room.
_MOST: Final = 12
_FIRST: Final = 4
#: Names that a line has room for.
_MOST_NAMED: Final = 3
#: Reasons of a grade that are shown.
_MAIN_REASONS: Final = 2
#: What each grade means, for whoever reads it first.
GRADES: Final = {"A": "can be published", "B": "can be decided by", "C": "a first indication", "D": "not to be used"}


def answer_section(material: Material) -> Iterator[Section]:
    """What is best for each model and workload, what that is worth, and how sure it is."""
    answers = [(part.name, answer) for part in material.summary.parts or (material.summary,) for answer in part.answers]
    items: list[Item] = []
    first = answers if len(answers) <= _MOST else answers[:_FIRST]
    for name, answer in first:
        about = (name, answer.model, answer.workload)
        items += [
            Heading(", ".join(part for part in about if part)),
            NoteList((*answer_lines(answer), _trust_line(answer.trust))),
        ]
    if len(answers) > len(first):
        items.append(
            Paragraph(
                f"{counted(len(answers) - len(first), 'more answer')}: --cell NAME shows one, --format json has all."
            )
        )
    if items:
        yield Section("answer", "Answer", tuple(items), "Answer")


def answer_lines(answer: Answer) -> Iterator[Note]:
    """Each goal with its best cell, then the quality; the trust is beside them."""
    if answer.reason is not None:
        yield Note("none", answer.reason)
    for pick in answer.picks:
        yield Note(pick.goal, pick_text(pick, alone=answer.cells == 1))
    yield Note("quality", quality_text(answer))


def _trust_line(trust: Trust) -> Note:
    text = f"{trust.grade} ({GRADES[trust.grade]})"
    return Note("trust", f"{text}: {trust_text(trust)}" if trust.reasons else text)


def goal_figure(figure: Figure) -> str:
    """The figure with its unit, in the prefix that suits it."""
    if figure.unit == "B":
        return data_size(figure.value)
    scaled = figure.times(*energy_prefix([figure.value], figure.unit))
    return f"{scaled.text} {scaled.unit}"


def pick_text(pick: Pick, *, alone: bool) -> str:
    """The best cell, its figure and what that is worth; ``alone``: there is no other."""
    text = f"{pick.label}, {goal_figure(pick.figure)} {mark(pick.figure)}".rstrip()
    if alone and pick.shown:
        return text
    if alone:
        return f"{text.removesuffix('.')}. Not to be used; run again with {pick.cure}"
    text += f" – {pick.saving}"
    if not pick.shown:
        why = f"Not decided: {_names(pick.undecided)} may be better" if pick.undecided else "Not to be used"
        return f"{text}. {why}; run again with {pick.cure}"
    return f"{text}; as good: {_names(pick.as_good)}" if pick.as_good else text


def quality_text(answer: Answer) -> str:
    """The quality that the picks keep, and which cells are left out for theirs."""
    if not answer.left_out:
        return answer.quality
    left_out = "; ".join(f"{label} ({why})" for label, why in answer.left_out[:_MOST_NAMED])
    more = len(answer.left_out) - _MOST_NAMED
    return f"{answer.quality}. Left out: {left_out}" + (f" and {more} more" if more > 0 else "")


def trust_text(trust: Trust) -> str:
    """The main reasons of a grade, and what would raise it."""
    main = trust.reasons[:_MAIN_REASONS]
    reasons = "; ".join(reason.text for reason in main)
    cures = "; ".join(dict.fromkeys(reason.cure for reason in main if reason.cure))
    return f"{reasons}. Better with: {cures}" if cures else reasons


def _names(labels: tuple[str, ...]) -> str:
    shown = ", ".join(labels[:_MOST_NAMED])
    more = len(labels) - _MOST_NAMED
    return f"{shown} and {more} more" if more > 0 else shown
