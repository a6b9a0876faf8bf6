"""Tables of a terminal: what folds, what is cut, and that a line is never wider than there is room."""

from __future__ import annotations

import pytest
from rich.cells import cell_len

from joulebench_reports.sections.report import Column
from joulebench_reports.text.layout import laid_out

COLUMNS = (Column("what it is", folds=True), Column("value", numeric=True), Column("unit", rank=1))
ROWS = (("a name of several words", "1.5 ± 0.1", "J/token"), ("提示词很长很长很长", "22.5", "s"), ("x" * 30, "3", ""))


@pytest.mark.parametrize("width", range(14, 61))
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    assert max(map(cell_len, laid_out(COLUMNS, ROWS, width))) <= width


def test_figures_stand_right_and_texts_fold_between_words() -> None:
    assert list(laid_out(COLUMNS, ROWS[:1], 24)) == [
        "what it is         value",
        "─" * 24,
        "a name of      1.5 ± 0.1",
        "several words",
    ]


def test_a_text_that_folds_is_whole_and_one_that_must_not_is_cut() -> None:
    lines = list(laid_out((Column("a", folds=True), Column("b")), (("x" * 30, "y" * 30),), 30))
    assert sum(line.count("x") for line in lines) == 30
    assert any("…" in line for line in lines)


def test_columns_go_by_rank_and_an_empty_table_has_its_headings() -> None:
    assert "unit" not in next(laid_out(COLUMNS, ROWS[:1], 20))
    assert list(laid_out(COLUMNS, (), 40)) == ["what it is  value  unit", "─" * 23]


def test_where_nothing_else_has_room_numbers_fold_rather_than_being_cut() -> None:
    columns = (Column("cell", folds=True), Column("J/token (est.)", numeric=True), Column("tok/s", numeric=True))
    lines = list(laid_out(columns, (("onnx-mobile generate", "0.1293 ± 0.0091", "72.1"),), 30))
    assert not any("…" in line for line in lines)
    assert all(word in " ".join(lines) for word in ("J/token", "(est.)", "0.1293", "0.0091", "72.1"))
    assert max(map(len, lines)) <= 30
