"""The machine's limits as its own kernels reach them, and the cells below them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from joulebench_reports.charts.roofline import NOTE, roofline_chart
from joulebench_reports.reading.limits import limit_notes, place_of
from joulebench_reports.sections.material import Material, parts_of
from joulebench_reports.sections.overview import energy_text
from joulebench_reports.sections.report import Heading, Item, NoteList, Paragraph, Section, Table, TableCell, table
from joulebench_reports.values.figures import CellSummary
from joulebench_reports.values.note import Note
from joulebench_reports.words.text import UNKNOWN, data_size


def limits_section(material: Material) -> Iterator[Section]:
    """Roofline and limits of each session apart."""
    for part in parts_of(material.summary):
        items = tuple(_items(part.cells))
        if items:
            heading = part.heading("The machine's limits and the cells below them")
            yield Section(part.id("limits"), heading, items, part.heading("Roofline"))


def _items(cells: Sequence[CellSummary]) -> Iterator[Item]:
    roofline = roofline_chart(cells)
    if roofline is not None:
        yield roofline
        yield Paragraph(NOTE)
    limits = [cell for cell in cells if cell.kernel is not None and not cell.kernel.per_token]
    if limits:
        yield Heading("Measured limits")
        yield _limits(limits)
        doubts = limit_notes(cells)
        if doubts:
            yield NoteList(tuple(Note(term, text) for term, text in doubts))


def _limits(cells: Sequence[CellSummary]) -> Table:
    headings = ("limit", "rate", "energy", "where", "number type", "size of an array", "cell")
    rows = [
        (
            TableCell(cell.kernel.name, strong=True),
            f"{cell.limit.text} {cell.limit.unit}",
            energy_text(cell.headline, ""),
            str(place_of(cell) or cell.device),
            (cell.dtype or UNKNOWN) if cell.unit == "TFLOP" else "",
            data_size(cell.kernel.array_bytes) if cell.kernel.array_bytes is not None else "",
            cell.label,
        )
        for cell in cells
        if cell.kernel is not None
    ]
    return table(headings, rows)
