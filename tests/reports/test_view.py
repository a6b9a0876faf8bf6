"""The table of cells in a reader's order, size and columns."""

from __future__ import annotations

from pathlib import Path

import make_session
import pytest
from make_session import Cell

from joulebench.errors import JoulebenchError
from joulebench.session import Session
from joulebench_reports.text.markdown import MarkdownRenderer
from joulebench_reports.text.terminal import TerminalRenderer
from joulebench_reports.words.units import energy_prefix


@pytest.fixture
def mixed(tmp_path: Path) -> Session:
    cells = [
        Cell("a", "dear", joules_per_token=0.9, peak_mib=100, perplexity=20.0),
        Cell("b", "cheap", joules_per_token=0.1, peak_mib=300, perplexity=19.0),
        Cell("c", "middling", joules_per_token=0.5, peak_mib=200, perplexity=18.0),
    ]
    return Session(make_session.write(tmp_path / "s", cells))


def labels(session: Session, **settings: str | int) -> list[str]:
    text = TerminalRenderer().render(session, {"width": 160, **settings})
    table = text.split("\nCells\n")[1].split("\n\n")[0].splitlines()[2:]
    return [line.split()[0] for line in table if not line.startswith("  ")]


@pytest.mark.parametrize(
    ("sort", "order"),
    [
        ("energy", ["cheap", "middling", "dear"]),
        ("profile", ["dear", "cheap", "middling"]),
        ("memory", ["dear", "middling", "cheap"]),
        ("quality", ["middling", "cheap", "dear"]),
    ],
)
def test_the_cells_come_in_the_order_of_the_question(mixed: Session, sort: str, order: list[str]) -> None:
    assert labels(mixed, sort=sort) == order


def test_the_best_few_are_shown_and_that_there_are_more(mixed: Session) -> None:
    assert labels(mixed, top=1) == ["cheap"]
    assert "The best 1 of 3 cells" in TerminalRenderer().render(mixed, {"top": 1})


def test_columns_are_chosen_by_their_headings_and_a_wrong_one_is_named(mixed: Session) -> None:
    table = MarkdownRenderer().render(mixed, {"columns": "ppl, net"}).split("## Cells")[1]
    assert "| cell | ppl | net |" in table
    with pytest.raises(JoulebenchError, match="no column 'joules'"):
        TerminalRenderer().render(mixed, {"columns": "joules"})


def test_each_energy_is_set_beside_the_least(mixed: Session) -> None:
    line = next(x for x in TerminalRenderer().render(mixed, {"width": 160}).splitlines() if x.startswith("dear"))
    assert "8.9" in line or "9.0" in line
    assert "×" in line


def test_flags_are_in_the_narrowest_table(mixed: Session) -> None:
    assert "flags" in TerminalRenderer().render(mixed, {"width": 60})


def test_small_energies_have_a_prefix() -> None:
    assert energy_prefix([0.567, None, 0.05], "J/token") == (1.0, "J/token")
    assert energy_prefix([0.05, 0.002], "J/token") == (1e3, "mJ/token")
    assert energy_prefix([4.8e-05], "J/token") == (1e6, "µJ/token")
    assert energy_prefix([0.002], "W") == (1.0, "W")
    assert energy_prefix([None], "J/token") == (1.0, "J/token")
