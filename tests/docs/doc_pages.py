"""Reads the pages of docs/ and README.md: their code blocks, links and headings."""

from __future__ import annotations

import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Final

ROOT: Final = Path(__file__).parent.parent.parent
DOCS: Final = ROOT / "docs"
_FENCE: Final = re.compile(r"^```(\S*) ?([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def script(name: str) -> ModuleType:
    """A script of docs/ as a module."""
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block: its language, the words behind it (``file=NAME``, ``run``), its code."""

    page: str
    language: str
    words: tuple[str, ...]
    code: str

    def word(self, key: str) -> str | None:
        """The value of ``key=VALUE`` behind the language."""
        result = [word.partition("=")[2] for word in self.words if word.startswith(f"{key}=")]
        return result[0] if result else None


def all_pages() -> list[Path]:
    """README.md and every page of docs/."""
    return [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]


def page(name: str) -> str:
    """The text of a page of docs/."""
    return (DOCS / name).read_text(encoding="utf-8")


def blocks(name: str) -> list[Block]:
    """The fenced blocks of a page of docs/."""
    return [Block(name, entry[1], tuple(entry[2].split()), entry[3]) for entry in _FENCE.finditer(page(name))]


def prose(text: str) -> str:
    """A page without its fenced blocks."""
    return _FENCE.sub("", text)


def anchors(text: str) -> set[str]:
    """Anchors of a page's headings, as GitHub makes them."""
    matches = re.findall(r"^#+ (.+)$", prose(text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", match.lower()).strip().replace(" ", "-") for match in matches}
