"""JSON lines and the verdict columns: what a build reads."""

from __future__ import annotations

import csv
import io
import json

import pytest

from joulebench.session.files import Session
from joulebench_reports.data.csvreport import CsvRenderer
from joulebench_reports.data.jsonlines import JsonLinesRenderer


def lines(session: Session, **settings: str) -> list[dict[str, object]]:
    text = JsonLinesRenderer().render(session, settings)
    assert text.endswith("\n")
    return [json.loads(line) for line in text.splitlines()]


def test_every_cell_is_a_line_with_its_status(session: Session) -> None:
    found = lines(session)
    assert [(each["id"], each["status"]) for each in found] == [
        ("a", "ok"),
        ("b", "ok"),
        ("f", "failed"),
        ("s", "skipped"),
    ]
    assert {each["session_id"] for each in found} == {"session"}
    assert found[0]["headline"]["provenance"] == "estimated"  # type: ignore[index]


def test_a_line_holds_no_line_break_of_a_strangers(hostile_session: Session) -> None:
    assert len(lines(hostile_session)) == 2
    assert JsonLinesRenderer().render(hostile_session, {}).isascii()


def test_a_line_has_its_verdict(session: Session) -> None:
    first, second, failed, _ = [each["verdict"] for each in lines(session)]
    assert first["verdict"] == "baseline"  # type: ignore[index]
    assert second["verdict"] == "saves"  # type: ignore[index]
    assert second["baseline"] == "torch f32"  # type: ignore[index]
    assert second["ratio"] == pytest.approx(0.5, rel=0.02)  # type: ignore[index]
    assert failed == {
        "baseline": None,
        "verdict": None,
        "text": None,
        "provenance": None,
        "ratio": None,
        "low": None,
        "high": None,
    }


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
