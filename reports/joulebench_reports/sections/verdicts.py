"""What each cell saves or costs against the baseline of its model and workload."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from joulebench_reports.charts.relative import relative_charts
from joulebench_reports.sections.material import Material
from joulebench_reports.sections.report import Heading, Item, NoteList, Paragraph, Section
from joulebench_reports.values.note import Note

#: Models and workloads whose verdicts are drawn too.
_MOST_DRAWN: Final = 8


def verdicts_section(material: Material) -> Iterator[Section]:
    """A verdict for each cell; how they were reached once below all of them."""
    items: list[Item] = []
    for place, verdicts in enumerate(material.summary.verdicts):
        items += [Heading(verdicts.caption), NoteList(tuple(Note(label, text) for label, text in verdicts.rows()))]
        if place < _MOST_DRAWN and len(verdicts.verdicts) > 1:
            items += relative_charts(verdicts)
    notes = dict.fromkeys((verdicts.note, verdicts.short_note) for verdicts in material.summary.verdicts)
    items += [Paragraph(text, short) for text, short in notes]
    if items:
        yield Section("verdicts", "What saves energy", tuple(items), "Verdicts")
