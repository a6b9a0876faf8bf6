"""A report for a terminal of a width."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from joulebench_reports.sections.report import (
    Folds,
    Heading,
    Item,
    NoteList,
    Paragraph,
    Report,
    Section,
    Table,
    entry_text,
)
from joulebench_reports.text.layout import laid_out
from joulebench_reports.words.text import plain

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

_INDENT: Final = 2


def _console(width: int, color: bool) -> Console:
    from rich.console import Console

    return Console(
        file=io.StringIO(),
        width=width,
        force_terminal=color,
        force_jupyter=False,  # in a notebook rich would show the text itself and return none
        color_system="standard" if color else None,
        no_color=not color,
        highlight=False,
        markup=False,
        emoji=False,
        legacy_windows=False,
    )


def _text_of(console: Console) -> str:
    written = console.file
    assert isinstance(written, io.StringIO)  # noqa: S101
    return "\n".join(line.rstrip() for line in written.getvalue().splitlines()) + "\n"


def sections_text(sections: Sequence[Section], width: int, color: bool = False) -> str:
    """Sections alone, without what stands above a report; empty where there is none."""
    console = _console(width, color)
    for section in sections:
        _section(console, section)
    return _text_of(console) if sections else ""


def terminal_text(report: Report, width: int, color: bool = False, *, verbose: bool = False) -> str:
    """The report for a terminal of a width, with a line feed at its end."""
    console = _console(width, color)
    console.print(_inert(report.title, "bold"))
    if report.facts:
        console.print(_inert(" · ".join(report.facts)))
    for line in report.lines:
        console.print(_inert(line, "dim"))
    if report.banner is not None:
        console.print(_inert(report.banner.text, "cyan"))
    for section in report.sections:
        _section(console, section, verbose=verbose)
    return _text_of(console)


def _inert(text: str, style: str = "") -> Text:
    """The one way of a text to the terminal: without escape sequences or line breaks of a stranger's."""
    from rich.text import Text

    return Text(plain(text), style=style)


def _section(console: Console, section: Section, *, verbose: bool = False) -> None:
    console.print()
    console.print(_inert(section.heading, "bold"))
    before: Item | None = None
    for item in _unfolded(section.items):
        if isinstance(item, Heading) and before is not None and not isinstance(before, Heading):
            console.print()
        _item(console, item, verbose=verbose)
        before = item


def _unfolded(items: Sequence[Item]) -> Iterator[Item]:
    """The items, with those of folded parts under the parts' labels."""
    for item in items:
        if isinstance(item, Folds):
            for part in item.parts:
                yield Heading(part.label)
                yield from _unfolded(part.items)
        else:
            yield item


def _item(console: Console, item: Item, *, verbose: bool) -> None:
    """What a terminal cannot show (charts, quotes) it leaves out."""
    from rich.padding import Padding

    match item:
        case Heading(text):
            console.print(_inert(text, "cyan"))
        case Paragraph():
            if text := item.text if verbose else item.shortest:
                console.print(Padding(_inert(text, "dim"), (0, 0, 0, _INDENT)))
        case NoteList(notes):
            for note in notes:
                if not _written(console, f"{plain(note.term)}: {plain(note.text)}"):
                    line = _inert(note.term, "cyan").append(": ", "").append_text(_inert(note.text))
                    console.print(Padding(line, (0, 0, 0, _INDENT)))
        case Table():
            _table(console, item)
        case _:
            pass


def _written(console: Console, line: str) -> bool:
    """Write a line that needs neither colour nor folding: Rich takes most of the time of a long report."""
    plainly = console.no_color and line.isascii() and len(line) + _INDENT <= console.width
    if plainly:
        console.file.write(f"{' ' * _INDENT}{line.rstrip()}\n")
    return plainly


def _table(console: Console, item: Table) -> None:
    from rich.text import Text

    texts = [[plain(entry_text(entry, short=True)) for entry in row] for row in item.rows]
    columns = [replace(column, heading=plain(column.heading)) for column in item.columns]
    for number, line in enumerate(laid_out(columns, texts, console.width)):
        # Rich would measure each text again, which takes most of the time of a report of many cells.
        console.file.write(f"{line}\n") if number else console.print(Text(line, style="bold"), no_wrap=True)
