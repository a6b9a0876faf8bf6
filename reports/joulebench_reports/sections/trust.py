"""What is missing and why, how far to trust the rest, and what the provenances mean."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from joulebench_reports.notes.trust import LEGEND, Note, flag_letters, trust_notes, unmeasured
from joulebench_reports.sections.material import Material
from joulebench_reports.sections.report import Column, NoteList, Section, Table, badge


def missing_section(material: Material) -> Iterator[Section]:
    """Cells without figures, each with its cause."""
    notes = [
        Note(
            cell.label,
            f"{cell.status}{f' ({cell.cause_kind})' if cell.cause_kind else ''}: {cell.cause or 'no cause recorded'}",
        )
        for cell in material.summary.missing
    ]
    yield from _section("missing", "Cells without figures", notes, "Failed and skipped")


def unmeasured_section(material: Material) -> Iterator[Section]:
    """Figures that a reader would look for and not find."""
    notes = unmeasured(material.summary)
    yield from _section("unmeasured", "What could not be measured, and why", notes, "Not measured")


def trust_section(material: Material) -> Iterator[Section]:
    """What stands behind the figures; flags by the letters that the table of cells has for them."""
    notes = trust_notes(material.summary, flag_letters(material.summary.shown))
    yield from _section("trust", "How far to trust this", notes, "Trust")


def legend_section(_: Material) -> Iterator[Section]:
    """What each provenance means."""
    columns = (Column("provenance", badges=True), Column("meaning", folds=True))
    rows = tuple((badge(provenance), meaning) for provenance, meaning in LEGEND.items())
    yield Section("legend", "Provenance", (Table(columns, rows),), "Provenance")


def _section(identifier: str, heading: str, notes: Sequence[Note], short: str) -> Iterator[Section]:
    if notes:
        yield Section(identifier, heading, (NoteList(tuple(notes)),), short)
