"""What a report says, as one value that terminal, Markdown and HTML walk.

A report is an ordered list of sections, a section an ordered list of items. A medium knows the
kinds of items and nothing of their subjects; texts are foreign until a medium makes them inert.
What only the page can show (charts, timelines, quotes) the text reports leave out. Sections of a
session stand beside this module; a comparison of runs, advice and analyses are reports as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from joulebench_reports.charts.specification import Chart
from joulebench_reports.charts.template import Json
from joulebench_reports.values.note import Note


class Depth(IntEnum):
    """How much a report shows: at a glance, with every note, as a document, or all that a page has room for."""

    GLANCE = 1
    NOTES = 2
    DOCUMENT = 3
    PAGE = 4


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.

    Columns of a higher ``rank`` are dropped first where a medium has no room; rank 0 always stays.
    ``folds``: its texts may break between words. ``apart``: its figures are sorted within their
    provenance alone. ``badges``: the provenance of each cell is shown as a mark of its own.
    """

    heading: str
    numeric: bool = False
    rank: int = 0
    folds: bool = False
    apart: bool = False
    badges: bool = False


@dataclass(frozen=True, slots=True)
class TableCell:
    """A cell of a table with more to it than its text.

    ``short`` is the text where there is little room, ``value`` the number to sort by, ``hint`` what
    a reader sees on pointing at it, ``link`` the id of the part of the report that it leads to.
    """

    text: str
    short: str | None = None
    value: float | None = None
    provenance: str | None = None
    hint: str | None = None
    link: str | None = None
    strong: bool = False

    @property
    def shortest(self) -> str:
        """The text where there is little room."""
        return self.text if self.short is None else self.short


Row = tuple[TableCell | str, ...]


def entry_text(entry: TableCell | str, *, short: bool = False) -> str:
    """The text of a cell of a table; ``short``: where there is little room."""
    if isinstance(entry, str):
        return entry
    return entry.shortest if short else entry.text


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of cells, a plain text being a cell of its own. ``searchable``: to be sorted and filtered."""

    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    searchable: bool = False


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading within a section; level 3 or, below it, 4."""

    text: str
    level: int = 3


@dataclass(frozen=True, slots=True)
class Paragraph:
    """A remark; ``short`` is the remark where there is little room, empty where it is left out there."""

    text: str
    short: str | None = None

    @property
    def shortest(self) -> str:
        """The remark where there is little room."""
        return self.text if self.short is None else self.short


@dataclass(frozen=True, slots=True)
class NoteList:
    """Short terms and what there is to say about each."""

    notes: tuple[Note, ...]


@dataclass(frozen=True, slots=True)
class Quote:
    """A text as it was recorded, with its line breaks."""

    label: str
    text: str


@dataclass(frozen=True, slots=True)
class TimedChart:
    """A chart over time that ends at ``end_s``; ``data`` are its data sets by column."""

    id: str
    label: str
    spec: Json
    data: Json
    end_s: float


@dataclass(frozen=True, slots=True)
class Timelines:
    """Charts over time, one at a time for the reader to choose; ``ranges`` says it in figures."""

    title: str
    description: str
    provenances: tuple[str, ...]
    charts: tuple[TimedChart, ...]
    remarks: tuple[str, ...]
    ranges: Table


@dataclass(frozen=True, slots=True)
class Fold:
    """A folded part and the id by which it is linked to."""

    label: str
    items: tuple[Item, ...]
    id: str | None = None


@dataclass(frozen=True, slots=True)
class Folds:
    """Folded parts; ``id`` names them together. A terminal shows them unfolded."""

    id: str
    parts: tuple[Fold, ...]


Item = Heading | Paragraph | Table | NoteList | Chart | Timelines | Quote | Folds


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the report; ``short`` is its heading where there is little room."""

    id: str
    heading: str
    items: tuple[Item, ...]
    short: str = ""


@dataclass(frozen=True, slots=True)
class Banner:
    """Where the energies come from, in one sentence; ``caution`` where none was measured."""

    text: str
    provenances: tuple[str, ...]
    caution: bool


@dataclass(frozen=True, slots=True)
class Report:
    """A whole report: its subject, what belongs to it line by line, where its energies come from, its sections."""

    title: str
    sections: tuple[Section, ...]
    facts: tuple[str, ...] = ()
    lines: tuple[str, ...] = ()
    banner: Banner | None = None
    footer: str = ""


#: Columns from here on hold numbers: none of them.
_NO_NUMBERS: Final = 10**6


def table(headings: Sequence[str], rows: Sequence[Sequence[TableCell | str]], numeric_from: int = _NO_NUMBERS) -> Table:
    """A table whose columns from ``numeric_from`` on hold numbers, and those before texts that may fold."""
    columns = (Column(name, numeric=at >= numeric_from, folds=at < numeric_from) for at, name in enumerate(headings))
    return Table(tuple(columns), tuple(map(tuple, rows)))


def badge(provenance: str | None) -> TableCell | str:
    """A cell that is a provenance."""
    return "" if provenance is None else TableCell(provenance, provenance=provenance)
