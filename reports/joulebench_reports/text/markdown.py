"""A report as Markdown, for an issue or a repository."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from joulebench_reports.sections.report import Folds, Heading, Item, NoteList, Paragraph, Report, Table, entry_text
from joulebench_reports.words.text import plain

_SPECIAL: Final = re.compile(r"([\\`*_{}\[\]()#|!~])")
_ENTITIES: Final = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})


def escape(text: object) -> str:
    """Foreign text that Markdown shows and never interprets: no link, no HTML, one line."""
    return _SPECIAL.sub(r"\\\1", plain(text).translate(_ENTITIES))


def markdown_text(report: Report, level: int = 1) -> str:
    """The report as a document whose title is a heading of ``level``; charts and quotes are left out."""
    parts = [
        f"{'#' * level} {escape(report.title)}",
        escape(" · ".join(report.facts)),
        "\n".join(f"- {escape(line)}" for line in report.lines),
        "" if report.banner is None else f"**{escape(report.banner.text)}**",
    ]
    for section in report.sections:
        parts += [f"{'#' * (level + 1)} {escape(section.heading)}", *_items(section.items, level - 1)]
    return "\n\n".join(part for part in [*parts, escape(report.footer)] if part) + "\n"


def _items(items: Sequence[Item], deeper: int) -> Iterator[str]:
    """A block of text for each item; headings lie ``deeper`` than they say."""
    for item in items:
        match item:
            case Heading(text, level):
                yield f"{'#' * (level + deeper)} {escape(text)}"
            case Paragraph(text):
                yield escape(text)
            case NoteList(notes):
                yield "\n".join(f"- **{escape(note.term)}**: {escape(note.text)}" for note in notes)
            case Table():
                yield "\n".join(_table(item))
            case Folds(_, parts):
                for part in parts:
                    yield f"<details><summary>{plain(part.label).translate(_ENTITIES)}</summary>"
                    yield from _items(part.items, deeper)
                    yield "</details>"
            case _:
                pass


def _table(table: Table) -> Iterator[str]:
    yield _row([column.heading for column in table.columns])
    yield f"| {' | '.join('---:' if column.numeric else '---' for column in table.columns)} |"
    for row in table.rows:
        yield _row([entry_text(entry) for entry in row])


def _row(texts: Sequence[str]) -> str:
    return f"| {' | '.join(map(escape, texts))} |"
