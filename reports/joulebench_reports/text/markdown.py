"""The session as Markdown, for an issue or a repository."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, ClassVar, Final

from joulebench.api import Renderer, Settings
from joulebench_reports.sections.contents import report_of
from joulebench_reports.sections.material import Material
from joulebench_reports.sections.report import Depth, Heading, Item, NoteList, Paragraph, Report, Table, TableCell
from joulebench_reports.summary.joining import summary_of
from joulebench_reports.values.verdicts import BASELINE, baseline_of
from joulebench_reports.words.text import plain

if TYPE_CHECKING:
    from joulebench.session import Session

_SPECIAL: Final = re.compile(r"([\\`*_{}\[\]()#|!~])")
_ENTITIES: Final = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})


class MarkdownRenderer(Renderer):
    """A table of cells, what is missing and why, and how far to trust it."""

    name = "markdown"
    summary = "tables and notes for an issue or a repository"
    suffix: ClassVar[str] = ".md"
    options = (BASELINE,)

    def render(self, session: Session, settings: Settings) -> str:
        """CommonMark with pipe tables."""
        return self.render_many([session], settings)

    def render_many(self, sessions: Sequence[Session], settings: Settings) -> str:
        """The document of several sessions."""
        return markdown_text(report_of(Material(*summary_of(sessions, baseline_of(settings))), Depth.DOCUMENT))


def escape(text: object) -> str:
    """Foreign text that Markdown shows and never interprets: no link, no HTML, one line."""
    return _SPECIAL.sub(r"\\\1", plain(text).translate(_ENTITIES))


def markdown_text(report: Report) -> str:
    """The report as a document; charts and folded parts are left out."""
    lines = [f"# {escape(report.title)}", "", escape(" · ".join(report.facts)), ""]
    lines += [*(f"- {escape(machine)}" for machine in report.machines), "", f"**{escape(report.banner.text)}**"]
    for section in report.sections:
        lines += ["", f"## {escape(section.heading)}"]
        for item in section.items:
            lines += ["", *_item(item)]
    return "\n".join([*lines, "", escape(report.footer)]) + "\n"


def _item(item: Item) -> Iterator[str]:
    match item:
        case Heading(text, level):
            yield f"{'#' * level} {escape(text)}"
        case Paragraph(text):
            yield escape(text)
        case NoteList(notes):
            yield from (f"- **{escape(note.term)}**: {escape(note.text)}" for note in notes)
        case Table(columns, rows):
            yield _row([column.heading for column in columns])
            yield f"| {' | '.join('---:' if column.numeric else '---' for column in columns)} |"
            for row in rows:
                yield _row([entry.text if isinstance(entry, TableCell) else entry for entry in row])
        case _:
            pass


def _row(texts: Sequence[str]) -> str:
    return f"| {' | '.join(map(escape, texts))} |"
