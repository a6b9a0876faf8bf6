"""Many models on several backends in one table; what did not run has its reason below."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from joulebench_reports.sections.material import Material
from joulebench_reports.sections.report import Column, Item, NoteList, Paragraph, Section, Table, TableCell
from joulebench_reports.values.matrix import MatrixEntry, model_matrix
from joulebench_reports.values.note import Note
from joulebench_reports.words.text import UNKNOWN, counted, pattern_of, shared_text

#: With fewer models or backends the table of cells says it as well.
_FEWEST_MODELS: Final = 3
_FEWEST_BACKENDS: Final = 2
_ABOUT: Final = (
    "Agrees: what it writes is what the reference writes, but for rounding. NO: so many of the tokens compared are. "
    "Ran: compressed, or without a reference. Numbers in brackets: the reasons below."
)


def matrix_section(material: Material) -> Iterator[Section]:
    """Models by backends, of each session whose plan has enough of both."""
    items: list[Item] = []
    for part in material.summary.parts or (material.summary,):
        rows = model_matrix(part.cells)
        backends = list(dict.fromkeys(entry.backend for row in rows for entry in row.entries))
        if len(rows) < _FEWEST_MODELS or len(backends) < _FEWEST_BACKENDS:
            continue
        reasons: dict[str, list[tuple[str, int]]] = {}
        for row in rows:
            for entry in row.entries:
                if entry.reason is not None:
                    left_out = entry.reason, entry.cells - entry.ran
                    reasons.setdefault(pattern_of(entry.reason), []).append(left_out)
        numbers = {pattern: place for place, pattern in enumerate(reasons, start=1)}
        columns = (Column("model", folds=True), *(Column(backend, folds=True) for backend in backends))
        table = tuple(
            (TableCell(row.model, strong=True), *(_cell(row.on(backend), numbers) for backend in backends))
            for row in rows
        )
        notes = [Note(f"[{numbers[pattern]}]", _reason(own)) for pattern, own in reasons.items()]
        items += [Table(columns, table), Paragraph(_ABOUT, "")]
        items += [NoteList(tuple(notes))] if notes else []
    if items:
        yield Section("matrix", "Models by backends", tuple(items), "Models")


def _cell(entry: MatrixEntry | None, numbers: dict[str, int]) -> TableCell:
    if entry is None:
        return TableCell(UNKNOWN, hint="not planned")
    number = "" if entry.reason is None else f" [{numbers[pattern_of(entry.reason)]}]"
    return TableCell(f"{entry.text}{number}", hint=entry.reason, strong=entry.outcome == "disagrees")


def _reason(entries: list[tuple[str, int]]) -> str:
    """What the reasons share, with how many cells they keep out."""
    text = shared_text([reason for reason, _ in entries])
    return f"{text} ({counted(sum(cells for _, cells in entries), 'cell')})"
