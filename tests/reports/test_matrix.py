"""Many models on several backends in one table: ran, said the same, or why not."""

from __future__ import annotations

import json
from pathlib import Path

import make_session
import pytest
from make_session import Cell
from test_agreement_reports import REAL, record

from joulebench.session import Session
from joulebench_reports.notes.trust import missing_notes
from joulebench_reports.renderers import HtmlRenderer, JsonRenderer, MarkdownRenderer, TerminalRenderer
from joulebench_reports.summary.session import summarise
from joulebench_reports.values.matrix import model_matrix

NO_WAY = "no way from format 'hf' to gguf: gguf-export: architecture 'Odd' is not known"


def families(folder: Path, models: int = 3) -> Session:
    """Models on two backends: one agrees, one does not, one cannot be converted, one dies."""
    cells: list[Cell] = []
    for number in range(models):
        name = f"family-{number}"
        odd = number == 2
        cells += [
            Cell(f"{number}t", f"{name} torch", row={"model": name}, blocks=3, samples=False, agreement=record()),
            Cell(
                f"{number}g",
                f"{name} gguf",
                backend="llamacpp",
                status="skipped" if odd else "ok",
                cause=NO_WAY if odd else None,
                row={"model": name},
                blocks=3,
                samples=False,
                agreement=None if odd else record(REAL) if number else record(),
            ),
        ]
    died = Cell("0o", "family-0 onnx", backend="onnx", status="failed", cause="killed", row={"model": "family-0"})
    return Session(make_session.write(folder / "s", [*cells, died]))


def test_each_model_says_what_became_of_it_on_each_backend(tmp_path: Path) -> None:
    first, second, third = model_matrix(summarise(families(tmp_path)).cells)
    outcomes = [[entry.outcome for entry in row.entries] for row in (first, second, third)]
    assert outcomes == [["agrees", "agrees", "failed"], ["agrees", "disagrees"], ["agrees", "skipped"]]
    assert [row.model for row in (first, second, third)] == ["family-0", "family-1", "family-2"]
    (entry,) = [entry for entry in third.entries if entry.backend == "llamacpp"]
    assert (entry.reason, entry.ran, entry.cells) == (NO_WAY, 0, 1)


def test_compressed_cells_are_not_what_a_runtime_is_judged_by(tmp_path: Path) -> None:
    cells = [
        Cell("a", "a", blocks=3, agreement=record()),
        Cell("b", "b", blocks=3, technique="int4", agreement=record(REAL)),
    ]
    (row,) = model_matrix(summarise(Session(make_session.write(tmp_path / "s", cells))).cells)
    assert [(entry.outcome, entry.cells) for entry in row.entries] == [("agrees", 1)]


def test_a_model_of_which_some_cells_ran_says_how_many(tmp_path: Path) -> None:
    cells = [Cell("a", "a", blocks=3), Cell("b", "b", workload="long", status="failed", cause="no memory")]
    (row,) = model_matrix(summarise(Session(make_session.write(tmp_path / "s", cells))).cells)
    assert [(entry.text, entry.reason) for entry in row.entries] == [("ran, 1 of 2 cells", "no memory")]


@pytest.mark.parametrize("width", [40, 100])
def test_the_terminal_shows_it_with_the_reasons_below(tmp_path: Path, width: int) -> None:
    text = TerminalRenderer().render(families(tmp_path), {"width": width})
    table = text.partition("Models by backends")[2].partition("\n\n")[0]
    assert max(map(len, table.splitlines())) <= width
    assert all(word in table for word in ("skipped", "failed", "[1]", "[2]"))
    assert "architecture 'Odd' is not known (1 cell)" in " ".join(table.split())


def test_markdown_page_and_json_have_it_too(tmp_path: Path) -> None:
    session = families(tmp_path)
    assert "| NO " in MarkdownRenderer().render(session, {})
    page = HtmlRenderer().render(session, {"charts": False})
    assert 'id="matrix"' in page
    assert "skipped [2]" in page
    matrix = json.loads(JsonRenderer().render(session, {}))["matrix"]
    assert [len(row["entries"]) for row in matrix] == [3, 2, 2]
    assert matrix[2]["entries"][1]["outcome"] == "skipped"


def test_two_models_need_no_table_of_their_own(tmp_path: Path) -> None:
    assert "Models by backends" not in TerminalRenderer().render(families(tmp_path, models=2), {})


def test_reasons_that_differ_in_a_name_are_one(tmp_path: Path) -> None:
    cells = []
    for name in ("Mistral", "Mixtral", "Gemma"):
        lacking = f"no way from format 'hf' to gguf: '{name}ForCausalLM' is not known"
        row = {"model": name}
        cells += [
            Cell(f"{name}-t", f"{name} torch", row=row, blocks=3, samples=False),
            Cell(f"{name}-g", f"{name} gguf", backend="llamacpp", status="skipped", cause=lacking, row=row),
        ]
    text = TerminalRenderer().render(Session(make_session.write(tmp_path / "s", cells)), {"width": 100})
    table = text.partition("Models by backends")[2].partition("\n\n")[0]
    assert table.count("skipped [1]") == 3
    assert "[1]: no way from format 'hf' to gguf: '…' is not known (3 cells)" in " ".join(table.split())


def test_many_cells_without_figures_are_told_of_by_their_cause(tmp_path: Path) -> None:
    cells = [
        Cell(str(place), f"cell {place}", status="failed", cause=f"no file '{place}.gguf'" if place else "killed")
        for place in range(10)
    ]
    notes = missing_notes(summarise(Session(make_session.write(tmp_path / "s", cells))))
    assert [(note.term, note.text) for note in notes] == [
        ("cell 0", "failed (memory): killed"),
        ("9 cells", "failed (memory): no file '…'"),
    ]
