"""The recorded terminal session of the docs: what is printed is recorded, and what is published is the maker's."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import pytest
from doc_pages import page, script

_SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def maker() -> ModuleType:
    """docs/make_recording.py."""
    return script("make_recording")


def texts(picture: str) -> list[str]:
    return [element.text or "" for element in ET.fromstring(picture).iter(f"{_SVG}text")]  # noqa: S314 (our own)


def test_a_command_and_what_it_prints_are_recorded_in_their_order(maker: ModuleType, tmp_path: Path) -> None:
    lines = maker.recorded(["joulebench --version", "joulebench profiles list"], tmp_path)
    assert [line.text for line in lines if line.typed] == ["$ joulebench --version", "$ joulebench profiles list"]
    assert any("quick" in line.text for line in lines)
    times = [line.at_s for line in lines]
    assert times == sorted(times)
    assert max(after - before for before, after in pairwise(times)) <= maker._TYPING_S


def test_more_lines_than_there_are_rows_scroll_and_texts_are_inert(maker: ModuleType) -> None:
    lines = [maker.Line(0.1 * place, f"{place} <b>&") for place in range(maker._ROWS + 3)]
    picture = maker.svg(lines)
    assert len(texts(picture)) == maker._ROWS + 3
    assert texts(picture)[0] == "0 <b>&"
    assert f"translateY(-{3 * maker._LINE_PX}px)" in picture


def test_the_published_recording_is_of_the_makers_commands_and_on_a_page(maker: ModuleType) -> None:
    published = maker.PICTURE.read_text(encoding="utf-8")
    typed = [text.removeprefix("$ ") for text in texts(published) if text.startswith("$ ")]
    assert [command for command in typed if command != maker.RUN] == [maker.PLAN, *maker.READ]
    assert maker.PICTURE.stat().st_size < 100_000
    assert "(session.svg)" in page("concepts.md")
