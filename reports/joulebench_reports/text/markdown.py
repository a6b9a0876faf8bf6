"""The session as Markdown, for an issue or a repository."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from joulebench.api import Renderer, Settings
from joulebench_reports.notes import trust
from joulebench_reports.sections import memory as memorytable
from joulebench_reports.sections import operators
from joulebench_reports.sections.columns import overview_columns
from joulebench_reports.summary.joining import join
from joulebench_reports.values import claims, verdicts
from joulebench_reports.values import techniques as techniquetable
from joulebench_reports.values.figures import CellSummary, SessionSummary
from joulebench_reports.words.text import plain

if TYPE_CHECKING:
    from joulebench.session.files import Session

_SPECIAL = re.compile(r"([\\`*_{}\[\]()#|!~])")
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


class MarkdownRenderer(Renderer):
    """A table of cells, what is missing and why, and how far to trust it."""

    name = "markdown"
    summary = "tables and notes for an issue or a repository"
    suffix: ClassVar[str] = ".md"
    options = (verdicts.BASELINE,)

    def render(self, session: Session, settings: Settings) -> str:
        """CommonMark with one pipe table."""
        from joulebench_reports.summary.session import summarise

        return render_summary(summarise(session, verdicts.baseline_of(settings)))

    def render_many(self, sessions: Sequence[Session], settings: Settings) -> str:
        """The document of several sessions."""
        return render_summary(join(sessions, verdicts.baseline_of(settings))[0])


def escape(text: object) -> str:
    """Foreign text that Markdown shows and never interprets: no link, no HTML, one line."""
    entities = "".join(_ENTITIES.get(char, char) for char in plain(text))
    return _SPECIAL.sub(r"\\\1", entities)


def render_summary(summary: SessionSummary) -> str:
    """The document of a summary."""
    lines = [
        f"# {escape(trust.model_names(summary))} – {escape(summary.profile_name)}",
        "",
        *_where(summary),
        "",
        f"**{escape(trust.banner(summary))}**",
        "",
        *_overview(summary.shown),
        *_verdicts(summary.verdicts),
        *_techniques(summary.costs),
        *(line for cells in summary.apart for line in _operators(cells)),
        *_memory(summary.shown),
    ]
    missing = [trust.Note(f"{c.label} ({c.status})", c.cause or "no cause") for c in summary.missing]
    lines += _notes("Cells without figures", missing)
    lines += _notes("What could not be measured, and why", trust.unmeasured(summary))
    lines += _notes("How far to trust this", trust.trust_notes(summary))
    return "\n".join(lines).rstrip() + "\n"


def _where(summary: SessionSummary) -> list[str]:
    """Machine and session, or a line for each of several."""
    if summary.parts:
        return [f"- {escape(line)}" for line in trust.machine_lines(summary)]
    protocol = f"; protocol {escape(summary.protocol)}" if summary.protocol else ""
    return [
        f"{escape(trust.machine_line(summary.machine))}; session {escape(summary.session_id)}, "
        f"{escape(summary.status)}, started {escape(summary.created_at or 'at an unknown time')}"
        f"{protocol}"
    ]


def _overview(cells: Sequence[CellSummary]) -> list[str]:
    if not cells:
        return ["No cell has figures.", ""]
    columns = overview_columns(cells)
    return [
        _row([column.header for column in columns]),
        "| " + " | ".join("---:" if column.sort_key else "---" for column in columns) + " |",
        *(_row([column.text(cell) for column in columns]) for cell in cells),
        "",
    ]


def _verdicts(tables: Sequence[verdicts.VerdictTable]) -> list[str]:
    lines: list[str] = []
    for found in tables:
        lines += [f"## {escape(found.caption)}", "", _row(verdicts.HEADER), "| --- | --- |"]
        lines += [*map(_row, found.rows()), "", escape(found.note), ""]
    return lines


def _techniques(tables: Sequence[techniquetable.CostTable]) -> list[str]:
    lines: list[str] = []
    for found in tables:
        lines += [f"## {escape(found.caption)}", "", *(escape(note) + "\n" for note in found.notes)]
        for each in found.backends:
            lines += [
                f"### {escape(each.backend)}",
                "",
                _row(techniquetable.HEADER),
                "| --- |" + " ---: |" * (len(techniquetable.HEADER) - 2) + " --- |",
                *map(_row, techniquetable.rows(each)),
                "",
            ]
        lines += ["### Claims of the survey", "", _row(claims.HEADER), "| --- | --- | --- |"]
        lines += [_row((each.text, each.verdict, each.why)) for each in found.claims]
        lines.append("")
        fronts = [trust.Note(f"Pareto front of {term}", text) for term, text in techniquetable.front_lines(found)]
        lines += [f"- **{escape(note.term)}**: {escape(note.text)}" for note in fronts]
        lines += [f"- {escape(what)} is unknown: {escape(why)}" for what, why in techniquetable.missing(found)]
        lines.append("")
    return lines


def _operators(cells: Sequence[CellSummary]) -> list[str]:
    found = operators.operator_tables(cells)
    if not found:
        return []
    lines = ["## Operators", "", escape(operators.NOTE), ""]
    for each in found:
        lines += [
            escape(operators.caption(each)),
            "",
            _row(operators.HEADER),
            "| --- |" + " ---: |" * (len(operators.HEADER) - 1),
            *map(_row, operators.rows(each)),
            "",
        ]
    return lines


def _memory(cells: Sequence[CellSummary]) -> list[str]:
    rows = memorytable.rows(cells)
    if not rows:
        return []
    return [
        "## Memory",
        "",
        memorytable.NOTE,
        "",
        _row(memorytable.HEADER),
        "| --- |" + " ---: |" * (len(memorytable.HEADER) - 1),
        *map(_row, rows),
        "",
    ]


def _row(texts: Sequence[str]) -> str:
    return "| " + " | ".join(escape(text) for text in texts) + " |"


def _notes(heading: str, notes: Sequence[trust.Note]) -> list[str]:
    if not notes:
        return []
    return [f"## {heading}", "", *(f"- **{escape(note.term)}**: {escape(note.text)}" for note in notes), ""]
