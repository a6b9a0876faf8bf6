"""A small builder of HTML in which everything is escaped by construction.

An :class:`Element` holds text and elements; text is escaped when it is written, and there is no
way to put raw markup into one. Scripts, styles and embedded data have their own functions, which
make their content unable to end its element.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import html
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from joulebench_reports.words.text import visible

_VOID: Final = frozenset({"meta", "input", "br", "hr"})
_TAG: Final = re.compile(r"[a-z][a-z0-9]*")
_ATTRIBUTE: Final = re.compile(r"[a-z][a-z0-9-]*")
#: These take raw text, so they are made by the functions below only.
_RAW: Final = frozenset({"script", "style"})


@dataclass(frozen=True, slots=True)
class Element:
    """One element; write it with :func:`render`."""

    tag: str
    attributes: tuple[tuple[str, str | bool], ...]
    children: tuple[Child, ...]


@dataclass(frozen=True, slots=True)
class _Trusted:
    """Markup made by this module itself."""

    markup: str


Child = Element | _Trusted | str | int | float | None


def h(tag: str, *children: Child, **attributes: str | bool | None) -> Element:
    """An element. ``class_`` gives ``class``, underscores become hyphens, ``None`` is left out."""
    named = [(_attribute(key), value) for key, value in attributes.items() if value is not None and value is not False]
    return Element(_checked(tag), tuple(named), children)


@functools.cache
def _checked(tag: str) -> str:
    if not _TAG.fullmatch(tag) or tag in _RAW:
        raise ValueError(f"not an element that may be built: {tag}")
    return tag


@functools.cache
def _attribute(key: str) -> str:
    """The attribute's name in HTML."""
    name = key.rstrip("_").replace("_", "-")
    if not _ATTRIBUTE.fullmatch(name) or name.startswith("on") or name in ("href", "src"):
        raise ValueError(f"not an attribute that may be set: {name}")
    return name


def anchor(fragment: str, *children: Child) -> Element:
    """A link within the page; there are no others."""
    return Element("a", (("href", f"#{fragment}"),), children)


def render(element: Child) -> str:
    """The element as HTML."""
    return "".join(_pieces(element))


def _pieces(node: Child) -> Iterator[str]:
    if node is None:
        return
    if isinstance(node, _Trusted):
        yield node.markup
    elif isinstance(node, Element):
        yield f"<{node.tag}"
        for name, value in node.attributes:
            yield f" {name}" if value is True else f' {name}="{html.escape(visible(value))}"'
        yield ">"
        if node.tag not in _VOID:
            for child in node.children:
                yield from _pieces(child)
            yield f"</{node.tag}>"
    else:
        yield html.escape(visible(node))


def as_data(node: Child, texts: dict[str, int]) -> object:
    """An element as nested lists for the page's script, which builds it without parsing markup.

    ``[tag, attributes or 0, child, …]``; a text is its number in ``texts``, which grows.
    """
    if isinstance(node, _Trusted):
        raise ValueError("made markup is no data")
    if isinstance(node, Element):
        children = [as_data(child, texts) for child in node.children if child is not None]
        if not node.attributes:
            return [node.tag, 0, *children]
        named = {name: "" if value is True else visible(value) for name, value in node.attributes}
        return [node.tag, named, *children]
    return texts.setdefault(visible(node), len(texts))


def data_block(element_id: str, value: object) -> _Trusted:
    """JSON for the page's script, in an element that its content cannot end.

    ``<``, ``>`` and ``&`` are written as escapes, so that no tag, comment or entity can arise;
    U+2028 and U+2029 are line ends in old JavaScript.
    """
    text = json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    for char in ("<", ">", "&", "\u2028", "\u2029"):
        text = text.replace(char, f"\\u{ord(char):04x}")
    identifier = html.escape(element_id)
    return _Trusted(f'<script type="application/json" id="{identifier}">{text}</script>')


def script(source: str) -> tuple[_Trusted, str]:
    """A script of our own, and its hash as a Content-Security-Policy names it."""
    # In JavaScript "<\\/" and "<\\!" in a string or regular expression mean the same as without
    # the backslash, and nowhere else can these sequences stand.
    inert = re.sub(r"<(/script|!--)", r"<\\\1", source, flags=re.IGNORECASE)
    digest = base64.b64encode(hashlib.sha256(inert.encode()).digest()).decode()
    return _Trusted(f"<script>{inert}</script>"), f"'sha256-{digest}'"


def style(source: str) -> _Trusted:
    """A style sheet of our own."""
    if "</" in source:
        raise ValueError("a style sheet cannot hold '</'")
    return _Trusted(f"<style>{source}</style>")
