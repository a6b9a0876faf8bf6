"""Columns of text side by side in a width: which of them fit, how wide each is, where its texts fold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import Final

from joulebench_reports.sections.report import Column

#: Characters between columns.
_GAP: Final = 2
_ELLIPSIS: Final = "…"


def laid_out(columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int) -> Iterator[str]:
    """The lines of a table: its headings, a rule, its rows; texts are inert already.

    Columns of the highest rank are left out first where there is no room; then texts fold, and at
    last numbers fold too; only a word that is wider than its column is cut.
    """
    texts = [[column.heading, *(row[place] for row in rows)] for place, column in enumerate(columns)]
    least = [_least_width(column, own) for column, own in zip(columns, texts, strict=True)]
    words = [max((_width_of(word) for text in own for word in text.split()), default=1) for own in texts]
    places = _fitting(columns, least, width)
    budget = width - _GAP * (len(places) - 1)
    natural = [max(map(_width_of, texts[place])) for place in places]
    folding = [least[place] if columns[place].folds else own for place, own in zip(places, natural, strict=True)]
    widths = _cut(_cut(natural, folding, budget), [words[place] for place in places], budget)
    widths = _cut(widths, [1] * len(places), budget)
    shown = [(columns[place], own) for place, own in zip(places, widths, strict=True)]
    for number, line in enumerate(zip(*(texts[place] for place in places), strict=True)):
        cells = [_lines(text, own, folds=column.folds) for text, (column, own) in zip(line, shown, strict=True)]
        for parts in zip_longest(*cells, fillvalue=""):
            aligned = (_aligned(part, own, column) for part, (column, own) in zip(parts, shown, strict=True))
            yield (" " * _GAP).join(aligned).rstrip()
        if number == 0:
            yield "─" * (sum(widths) + _GAP * (len(places) - 1))


def _least_width(column: Column, texts: Sequence[str]) -> int:
    """Characters that a column needs; a text that may fold counts by its longest word."""
    words = (word for text in texts for word in text.split()) if column.folds else texts
    return max(map(_width_of, words), default=0)


def _fitting(columns: Sequence[Column], least: Sequence[int], width: int) -> list[int]:
    """The places of the columns that fit: those of the highest rank go first."""
    places = list(range(len(columns)))
    while sum(least[place] for place in places) + _GAP * (len(places) - 1) > width:
        last = max(places, key=lambda place: columns[place].rank)
        if columns[last].rank == 0:
            break
        places.remove(last)
    return places


def _cut(widths: Sequence[int], least: Sequence[int], budget: int) -> list[int]:
    """The widths, the largest of them smaller until their sum is within the budget, none below its least."""
    cut = list(widths)
    while sum(cut) > budget:
        wide = [place for place, width in enumerate(cut) if width > least[place]]
        if not wide:
            break
        cut[max(wide, key=cut.__getitem__)] -= 1
    return cut


def _width_of(text: str) -> int:
    """Characters of a terminal that a text takes."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def _lines(text: str, width: int, *, folds: bool) -> list[str]:
    if _width_of(text) <= width:
        return [text]
    if not folds and max(map(_width_of, text.split())) > width:
        return [_beginning(text, width - 1) + _ELLIPSIS]
    lines: list[str] = []
    line = ""
    for whole in text.split():
        word = whole
        if line and _width_of(line) + 1 + _width_of(word) <= width:
            line = f"{line} {word}"
            continue
        lines += [line] if line else []
        while _width_of(word) > width:
            lines.append(_beginning(word, width))
            word = word[len(lines[-1]) :]
        line = word
    return [*lines, line]


def _beginning(text: str, width: int) -> str:
    """As much of a text as fits, one character at least."""
    if text.isascii():
        return text[: max(width, 1)]
    end = 1
    while end < len(text) and _width_of(text[: end + 1]) <= width:
        end += 1
    return text[:end]


def _aligned(text: str, width: int, column: Column) -> str:
    space = " " * (width - _width_of(text))
    return space + text if column.numeric else text + space
