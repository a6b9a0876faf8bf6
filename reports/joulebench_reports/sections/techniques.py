"""What each technique cost and brought: tables by backend, claims, fronts, what is unknown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from joulebench_reports.sections.material import Material
from joulebench_reports.sections.report import Column, Heading, Item, NoteList, Paragraph, Section, Table
from joulebench_reports.values.note import Note
from joulebench_reports.values.techniques import HEADER, BackendCosts, CostTable, front_lines, missing, rows

#: Columns that a narrow medium goes without, the first first.
_DISPENSABLE: Final = ("what was done", "top-1", "same tokens", "KL nats", "peak mem", "speed")
_TEXTS: Final = ("technique", "what was done")


def techniques_section(material: Material) -> Iterator[Section]:
    """All models and workloads, each with its backends."""
    items = [item for costs in material.summary.costs for item in _items(costs)]
    if items:
        yield Section("techniques", "What each technique cost", tuple(items), "Techniques")


def technique_notes_section(material: Material) -> Iterator[Section]:
    """Fronts, what is unknown, and what a survey says of techniques held against the session's figures."""
    items: list[Item] = []
    for costs in material.summary.costs:
        claims = [(f"{claim.text}: {claim.verdict}", claim.why) for claim in costs.claims]
        own = [
            *_notes("Pareto fronts", front_lines(costs)),
            *_notes("What of the techniques is unknown", missing(costs)),
            *_notes("Claims of the survey of small language models", claims),
        ]
        items += [Heading(costs.caption), *own] if own else []
    notes = dict.fromkeys(note for costs in material.summary.costs for note in costs.notes)
    items += map(Paragraph, notes)
    if items:
        yield Section("technique-notes", "More on the techniques", tuple(items), "Techniques, more")


def _items(costs: CostTable) -> Iterator[Item]:
    yield Heading(costs.caption)
    for backend in costs.backends:
        yield Heading(backend.backend, level=4)
        yield _table(backend)


def _notes(heading: str, pairs: Sequence[tuple[str, str]]) -> Iterator[Item]:
    if pairs:
        yield Heading(heading, level=4)
        yield NoteList(tuple(Note(term, text) for term, text in pairs))


def _table(backend: BackendCosts) -> Table:
    columns = (
        Column(
            name,
            numeric=name not in _TEXTS,
            folds=name in _TEXTS,
            rank=len(_DISPENSABLE) - _DISPENSABLE.index(name) if name in _DISPENSABLE else 0,
        )
        for name in HEADER
    )
    return Table(tuple(columns), tuple(rows(backend)))
