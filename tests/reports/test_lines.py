"""JSON lines and the verdict columns: what a build reads."""

from __future__ import annotations

import csv
import io
import json

import pyarrow as pa
import pytest

from joulebench.session import Session
from joulebench_reports.data.columns import COLUMNS
from joulebench_reports.data.spreadsheet import inert, inert_column
from joulebench_reports.renderers import CsvRenderer, JsonLinesRenderer


def lines(session: Session, **settings: str) -> list[dict[str, object]]:
    text = JsonLinesRenderer().render(session, settings)
    assert text.endswith("\n")
    return [json.loads(line) for line in text.splitlines()]


def test_every_cell_is_a_line_with_its_status(session: Session) -> None:
    result = lines(session)
    assert [(entry["id"], entry["status"]) for entry in result] == [
        ("a", "ok"),
        ("b", "ok"),
        ("f", "failed"),
        ("s", "skipped"),
    ]
    assert {entry["session"] for entry in result} == {"session"}
    assert result[0]["energy_provenance"] == "estimated"
    assert {(entry["format"], entry["format_version"]) for entry in result} == {("joulebench-cell", 2)}


def test_a_line_holds_no_line_break_of_a_strangers(hostile_session: Session) -> None:
    assert len(lines(hostile_session)) == 2
    assert JsonLinesRenderer().render(hostile_session, {}).isascii()


def test_a_line_has_its_verdict(session: Session) -> None:
    first, second, failed, _ = lines(session)
    assert first["verdict"] == "baseline"
    assert second["verdict"] == "saves"
    assert second["verdict_baseline"] == "torch f32"
    assert second["verdict_energy_ratio"] == pytest.approx(0.5, rel=0.02)
    assert {value for name, value in failed.items() if name.startswith("verdict")} == {None}


def test_lines_and_csv_have_the_same_columns(session: Session) -> None:
    names = [column.name for column in COLUMNS]
    assert list(lines(session)[0]) == ["format", "format_version", *names]
    assert next(csv.reader(io.StringIO(CsvRenderer().render(session, {})))) == names


def test_every_column_says_what_it_is_and_numbers_have_units() -> None:
    assert len({column.name for column in COLUMNS}) == len(COLUMNS)
    assert all(column.description for column in COLUMNS)
    assert not [column.name for column in COLUMNS if column.kind == "number" and not column.unit]


def test_csv_has_the_verdict_against_the_baseline_that_is_asked_for(session: Session) -> None:
    text = CsvRenderer().render(session, {"baseline": "torch int8"})
    rows = {row["id"]: row for row in csv.DictReader(io.StringIO(text))}
    assert rows["b"]["verdict"] == "baseline"
    assert rows["a"]["verdict"] == "costs more"
    assert rows["a"]["verdict_baseline"] == "torch int8"
    assert float(rows["a"]["verdict_energy_ratio"]) == pytest.approx(2.0, rel=0.02)
    low, high = (float(rows["a"][f"verdict_energy_ratio_{end}"]) for end in ("low", "high"))
    assert low < 2.0 < high
    assert rows["f"]["verdict"] == ""


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", " ="])
def test_one_guard_keeps_every_csv_file_from_running_formulas(start: str) -> None:
    text = f"{start}cmd|' /C calc'!A0"
    assert not inert(text).lstrip(" ").startswith(("=", "+", "-", "@", "\t", "\r", "\n"))
    column = pa.chunked_array([[text, None, "plain"], [text]], pa.string())
    assert inert_column(column).to_pylist() == [inert(text), None, "plain", inert(text)]
    assert inert(-1.5) == -1.5
