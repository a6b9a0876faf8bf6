"""Terminal, Markdown and page over a report made by hand: kinds of items, whatever their subject."""

from __future__ import annotations

import make_session
import pytest

from joulebench_reports.html.page import page_text
from joulebench_reports.sections.report import (
    Banner,
    Column,
    Fold,
    Folds,
    Heading,
    Item,
    NoteList,
    Paragraph,
    Quote,
    Report,
    Section,
    Table,
    TableCell,
)
from joulebench_reports.text.markdown import markdown_text
from joulebench_reports.text.terminal import terminal_text
from joulebench_reports.values.note import Note

BAD = make_session.HOSTILE
TABLE = Table(
    (Column("name", folds=True), Column("figure", numeric=True, rank=1), Column("remark", rank=2)),
    (
        (TableCell("first", link="part"), TableCell("1.5 ± 0.1 J", short="1.5 J", value=1.5), "as usual"),
        ("second", TableCell("2.5 J", provenance="measured"), "as usual"),
    ),
)


def report(*items: Item, text: str = "title") -> Report:
    section = Section("s", text, items, text)
    return Report(text, (section,), (text,), (text,), Banner(text, (), caution=True), text)


MEDIA = {
    "terminal": lambda item: terminal_text(item, 80),
    "markdown": lambda item: markdown_text(item).replace("\\", ""),
    "page": lambda item: page_text(item, None),
}


@pytest.mark.parametrize("medium", MEDIA)
def test_headings_remarks_notes_and_tables_are_in_every_medium(medium: str) -> None:
    items = (Heading("below"), Paragraph("a remark"), NoteList((Note("a term", "its meaning"),)), TABLE)
    text = MEDIA[medium](report(*items))
    for words in ("title", "below", "a remark", "a term", "its meaning", "figure", "first", "2.5 J"):
        assert words in text, words


@pytest.mark.parametrize("medium", MEDIA)
def test_folded_parts_are_in_every_medium_and_quotes_on_the_page_alone(medium: str) -> None:
    parts = (Fold("a part", (Quote("Prompt", "line 1\nline 2"), TABLE)),)
    text = MEDIA[medium](report(Folds("folded", parts)))
    assert "a part" in text
    assert "2.5 J" in text
    assert ("line 1\nline 2" in text) == (medium == "page")
    assert ("<details><summary>a part</summary>" in text) == (medium != "terminal")


@pytest.mark.parametrize("medium", MEDIA)
def test_a_report_needs_a_title_and_sections_alone(medium: str) -> None:
    text = MEDIA[medium](Report("title", (Section("s", "heading", (Paragraph("a remark"),)),)))
    assert "title" in text
    assert "a remark" in text
    assert "None" not in text


def test_where_there_is_little_room_texts_are_short_and_columns_go_by_rank() -> None:
    wide, narrow = (terminal_text(report(TABLE), width) for width in (80, 16))
    assert "1.5 J" in wide
    assert "±" not in wide
    assert "remark" in wide
    assert "figure" in narrow
    assert "remark" not in narrow
    assert "1.5 ± 0.1 J" in markdown_text(report(TABLE))


def test_a_remark_may_be_left_out_where_there_is_little_room() -> None:
    items = (Paragraph("all of it", short="in short"), Paragraph("at length", short=""))
    text = terminal_text(report(*items), 80)
    assert "in short" in text
    assert "at length" not in text
    assert "all of it" in markdown_text(report(*items))


@pytest.mark.parametrize("color", [False, True])
def test_no_text_of_a_strangers_steers_the_terminal(color: bool) -> None:
    bad = "\x1b]0;title\x07\x9b2J\u202egnirts\nforged line"
    table = Table((Column(bad),), ((TableCell(bad, short=bad),),))
    items = (Heading(bad), Paragraph(bad), NoteList((Note(bad, bad),)), table)
    text = terminal_text(report(*items, text=bad), 200, color)
    assert not {"\x07", "\x9b", "\u202e"} & set(text)
    assert "\x1b]" not in text
    assert not any(line.startswith("forged") for line in text.splitlines())
    assert ("\x1b[" in text) == color


def test_every_text_of_a_strangers_is_inert_on_the_page_and_in_markdown() -> None:
    table = Table((Column(BAD, badges=True),), ((TableCell(BAD, provenance=BAD, hint=BAD, link=BAD),),))
    folds = Folds(BAD, (Fold(BAD, (Paragraph(BAD), Quote(BAD, BAD)), BAD),))
    items = (Heading(BAD), NoteList((Note(BAD, BAD),)), table, folds)
    for text in (page_text(report(*items, text=BAD), None), markdown_text(report(*items, text=BAD))):
        assert "<img" not in text
        assert text.count("onerror") == text.count("&lt;img")
