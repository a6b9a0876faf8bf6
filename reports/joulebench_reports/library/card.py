"""The answer as a self-contained SVG: per goal the best cell and its bar, the quality, the grade of trust.

Texts of a session are escaped; nothing is fetched and no script runs.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from html import escape
from typing import Final

from joulebench_reports.charts.palette import LIGHT
from joulebench_reports.notes.trust import machine_lines, mark, model_names
from joulebench_reports.sections.answer import GRADES, answer_lines, goal_figure, trust_text
from joulebench_reports.values.answers import Answer
from joulebench_reports.values.figures import CellSummary, SessionSummary
from joulebench_reports.words.text import counted, plain

_WIDTH: Final = 760
_MARGIN: Final = 28
_LINE: Final = 21
_LETTERS: Final = 92
#: Bars and answers that a card has room for.
_MOST_BARS: Final = 8
_MOST_ANSWERS: Final = 3
_GRADE_COLOURS: Final = {"A": "#0f6b62", "B": "#3f6212", "C": "#a65300", "D": "#b42318"}
_FONT: Final = "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', Arial, sans-serif"


class _Canvas:
    """Elements one below the other."""

    def __init__(self) -> None:
        self.y = _MARGIN
        self._elements: list[str] = []

    def text(self, words: str, *, size: int = 14, colour: str = "ink", weight: int = 400, x: int = _MARGIN) -> None:
        """A text, folded where it is longer than the card is wide."""
        letters = round(_LETTERS * 14 / size * (_WIDTH - x - _MARGIN) / (_WIDTH - 2 * _MARGIN))
        for line in textwrap.wrap(plain(words), letters) or [""]:
            self.y += round(_LINE * size / 14)
            self._elements.append(
                f'<text x="{x}" y="{self.y}" font-size="{size}" font-weight="{weight}" '
                f'fill="{LIGHT[colour]}">{escape(line)}</text>'
            )

    def shape(self, element: str) -> None:
        """Anything else, placed by itself."""
        self._elements.append(element)

    def document(self, label: str) -> str:
        """The whole picture."""
        height = self.y + _MARGIN
        frame = f'<rect width="{_WIDTH}" height="{height}" rx="10" fill="{LIGHT["surface"]}" stroke="{LIGHT["line"]}"/>'
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" '
            f'height="{height}" role="img" aria-label="{escape(plain(label))}" '
            f'font-family="{_FONT}">{frame}{"".join(self._elements)}</svg>\n'
        )


def card_svg(summary: SessionSummary) -> str:
    """The card of a session or of several."""
    canvas = _Canvas()
    canvas.text(model_names(summary), size=22, weight=700)
    for machine in machine_lines(summary):
        canvas.text(machine, size=12, colour="soft")
    answers = [answer for part in summary.parts or (summary,) for answer in part.answers]
    by_id = {cell.id: cell for cell in summary.shown}
    for answer in answers[:_MOST_ANSWERS]:
        _answer(canvas, answer)
        cells = [cell for cell in by_id.values() if (cell.model, cell.workload) == (answer.model, answer.workload)]
        _bars(canvas, [cell for cell in cells if cell.headline.provenance == answer.provenance])
    if not answers:
        canvas.text("No cell has figures.")
    if len(answers) > _MOST_ANSWERS:
        canvas.text(f"and {counted(len(answers) - _MOST_ANSWERS, 'more answer')}", size=12, colour="soft")
    canvas.y += 8
    canvas.text(f"joulebench {summary.joulebench_version}, session {summary.session_id}", size=11, colour="soft")
    return canvas.document(f"{model_names(summary)}: the answer of a joulebench session")


def _answer(canvas: _Canvas, answer: Answer) -> None:
    canvas.y += 14
    canvas.text(f"{answer.model}, {answer.workload}", size=15, weight=600)
    for note in answer_lines(answer):
        at = canvas.y + _LINE
        canvas.text(note.text, x=_MARGIN + 110)
        canvas.shape(
            f'<text x="{_MARGIN}" y="{at}" font-size="14" font-weight="600" fill="{LIGHT["soft"]}">{note.term}</text>'
        )
    grade = answer.trust.grade
    at = canvas.y + _LINE
    canvas.text(f"{GRADES[grade]}: {trust_text(answer.trust)}", x=_MARGIN + 110)
    canvas.shape(
        f'<text x="{_MARGIN}" y="{at}" font-size="14" font-weight="600" fill="{LIGHT["soft"]}">trust</text>'
        f'<circle cx="{_MARGIN + 88}" cy="{at - 5}" r="10" fill="{_GRADE_COLOURS[grade]}"/>'
        f'<text x="{_MARGIN + 88}" y="{at}" font-size="13" font-weight="700" fill="#ffffff" '
        f'text-anchor="middle">{grade}</text>'
    )


def _bars(canvas: _Canvas, cells: Sequence[CellSummary]) -> None:
    """Energies, the least first, in the unit of the first; one that is left out for its quality is here too."""
    known = sorted((cell for cell in cells if cell.headline.value), key=lambda cell: cell.headline.value or 0.0)
    if len(known) < 2:
        return
    canvas.y += 10
    longest = known[:_MOST_BARS][-1].headline.value or 1.0
    room = _WIDTH - 2 * _MARGIN - 210 - 190
    for cell in known[:_MOST_BARS]:
        canvas.y += _LINE
        length = round(room * (cell.headline.value or 0.0) / longest)
        colour = LIGHT[cell.headline.provenance or "accent"]
        label = textwrap.shorten(plain(cell.label), 30, placeholder="…")
        canvas.shape(
            f'<text x="{_MARGIN + 200}" y="{canvas.y}" font-size="12" text-anchor="end" '
            f'fill="{LIGHT["ink"]}">{escape(label)}</text>'
            f'<rect x="{_MARGIN + 210}" y="{canvas.y - 11}" width="{max(length, 1)}" height="14" rx="2" '
            f'fill="{colour}" fill-opacity="0.55"/>'
            f'<text x="{_MARGIN + 216 + length}" y="{canvas.y}" font-size="12" fill="{LIGHT["soft"]}">'
            f"{escape(f'{goal_figure(cell.headline)} {mark(cell.headline)}'.strip())}</text>"
        )
