"""Folded parts of the page: written out where they are few, else built when they are opened.

Hundreds of tables that nobody has opened would make the page slow and large. As data they are
small, and the page's script makes elements of them without parsing any markup.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from joulebench_reports.html.markup import Child, Element, as_data, data_block, h
from joulebench_reports.words.text import plain

#: Parts that are written out as they are, so that they can be read without scripts too.
MOST_WRITTEN: Final = 48
_NOTE: Final = "Each part is made when it is opened, which needs scripts."


@dataclass(frozen=True, slots=True)
class Fold:
    """A folded part: its heading, what is in it, and an id to link to."""

    label: str
    content: Sequence[Child]
    id: str | None = None


def folds(name: str, found: Sequence[Fold]) -> Element:
    """The parts; ``name`` is that of their data."""
    if len(found) <= MOST_WRITTEN:
        return h("div", *(_details(each, *each.content) for each in found))
    texts: dict[str, int] = {}
    parts = [[as_data(child, texts) for child in each.content] for each in found]
    data = data_block(name, {"texts": list(texts), "parts": parts})
    holders = [_details(each, part=str(place), of=name) for place, each in enumerate(found)]
    note = h("p", _NOTE, class_="facts")
    scrolled = h("div", *holders, class_="scroll tall", tabindex="0", role="group", aria_label="folded parts")
    return h("div", note, scrolled, data)


def _details(fold: Fold, *content: Child, part: str | None = None, of: str | None = None) -> Element:
    return h("details", h("summary", plain(fold.label)), *content, id=fold.id, data_part=part, data_of=of)
