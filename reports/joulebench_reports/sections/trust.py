"""What is missing and why, how far to trust the rest, and what the provenances mean."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from joulebench_reports.notes.trust import LEGEND, flag_letters, missing_notes, severest_notes, trust_notes, unmeasured
from joulebench_reports.sections.material import Material
from joulebench_reports.sections.report import Column, Item, NoteList, Paragraph, Section, Table, badge
from joulebench_reports.values.note import Note
from joulebench_reports.words.text import counted

#: Notes that are shown at a glance.
_FIRST: Final = 5


def missing_section(material: Material) -> Iterator[Section]:
    """Cells without figures, each with its cause."""
    yield from _section("missing", "Cells without figures", missing_notes(material.summary), "Failed and skipped")


def unmeasured_section(material: Material) -> Iterator[Section]:
    """Figures that a reader would look for and not find."""
    notes = unmeasured(material.summary)
    yield from _section("unmeasured", "What could not be measured, and why", notes, "Not measured")


def trust_section(material: Material) -> Iterator[Section]:
    """What stands behind the figures; flags by the letters that the table of cells has for them."""
    notes = trust_notes(material.summary, flag_letters(material.summary.shown))
    yield from _section("trust", "How far to trust this", notes, "Trust")


def notes_section(material: Material) -> Iterator[Section]:
    """At a glance: the notes that a reader must not miss, and how many more there are."""
    notes = severest_notes(material.summary, flag_letters(material.summary.shown))
    items: list[Item] = [NoteList(tuple(notes[:_FIRST]))]
    if (more := len(notes) - _FIRST) > 0:
        items.append(Paragraph(f"{counted(more, 'more note')}: --verbose, or the page (--format html)."))
    if notes:
        yield Section("notes", "Notes", tuple(items), "Notes")


def legend_section(_: Material) -> Iterator[Section]:
    """What each provenance means."""
    columns = (Column("provenance", badges=True), Column("meaning", folds=True))
    rows = tuple((badge(provenance), meaning) for provenance, meaning in LEGEND.items())
    yield Section("legend", "Provenance", (Table(columns, rows),), "Provenance")


def _section(identifier: str, heading: str, notes: Sequence[Note], short: str) -> Iterator[Section]:
    if notes:
        yield Section(identifier, heading, (NoteList(tuple(notes)),), short)
