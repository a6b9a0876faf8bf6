"""Folded parts of the page: written out where they are few, else built when they are opened.

Hundreds of tables that nobody has opened would make the page slow and large. As data they are
small, and the page's script makes elements of them without parsing any markup.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from joulebench_reports.html.markup import Child, Element, as_data, data_block, h

#: Parts that are written out as they are, so that they can be read without scripts too.
MOST_WRITTEN: Final = 48
_NOTE: Final = "Each part is made when it is opened, which needs scripts."


def folding(name: str, labels: Sequence[tuple[str, str | None]], contents: Sequence[Sequence[Child]]) -> Element:
    """The parts with their labels and the ids they are linked to by; ``name`` is that of their data."""
    if len(contents) <= MOST_WRITTEN:
        return h("div", *(_details(label, *content) for label, content in zip(labels, contents, strict=True)))
    texts: dict[str, int] = {}
    parts = [[as_data(child, texts) for child in content] for content in contents]
    data = data_block(name, {"texts": list(texts), "parts": parts})
    holders = [_details(label, part=str(place), of=name) for place, label in enumerate(labels)]
    note = h("p", _NOTE, class_="facts")
    scrolled = h("div", *holders, class_="scroll tall", tabindex="0", role="group", aria_label="folded parts")
    return h("div", note, scrolled, data)


def _details(label: tuple[str, str | None], *content: Child, part: str | None = None, of: str | None = None) -> Element:
    text, identifier = label
    return h("details", h("summary", text), *content, id=identifier, data_part=part, data_of=of)
