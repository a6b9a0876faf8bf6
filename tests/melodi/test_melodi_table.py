"""``--format melodi``: the published columns from any session, empty where unknown."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from own_session import Ask, Meter, write

from joulebench.session import Session
from joulebench_reports.melodi.columns import PUBLISHED
from joulebench_reports.melodi.renderers import MelodiRenderer
from joulebench_reports.melodi.tablereport import EXTENDED

ESTIMATE = Meter("estimate/cpu", 70.0, provenance="estimated", domain="cpu-estimate")


def _rows(session: Session, **settings: str | bool) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(MelodiRenderer().render(session, settings))))


def test_the_columns_are_the_published_ones_in_their_order(sample: Path, tmp_path: Path) -> None:
    session = write(tmp_path / "s", [[Ask(10, 5)]], [Meter("rapl/package-0", 50.0)])
    header = MelodiRenderer().render(session, {}).partition("\n")[0].split(",")
    with sample.open(newline="", encoding="utf-8") as source:
        published = next(csv.reader(source))
    assert header == [name for name in published if name not in ("", "Unnamed: 0", "index")]


def test_units_are_melodis(tmp_path: Path) -> None:
    [row] = _rows(write(tmp_path / "s", [[Ask(10, 5)]], [Meter("rapl/package-0", 50.0)]))
    assert list(row) == list(PUBLISHED)
    assert float(row["energy_consumption_llm"]) == pytest.approx(100 / 3.6e6)
    assert row["energy_consumption_llm_cpu"] == row["energy_consumption_llm_total"]
    assert (row["prompt_duration"], row["response_duration"]) == ("500000000", "1500000000")
    assert (row["prompt_token_length"], row["response_token_length"]) == ("10", "5")
    assert float(row["clock_duration"]) == 2.0
    assert row["start_time"] == "2026-03-02 09:30:10.000000+00:00"
    assert row["type"] == "Example CPU"


def test_what_is_unknown_is_empty(tmp_path: Path) -> None:
    [row] = _rows(write(tmp_path / "s", [[Ask(10, 5)]], [Meter("rapl/package-0", 50.0)]))
    assert row["energy_consumption_llm_gpu"] == ""
    assert row["energy_consumption_monitoring"] == ""
    assert row["load_duration"] == ""
    assert row["named_entity_count"] == ""


def test_a_session_without_a_sensor_has_rows_without_energy(tmp_path: Path) -> None:
    [row] = _rows(write(tmp_path / "s", [[Ask(10, 5)]], []))
    assert {row[name] for name in PUBLISHED if name.startswith("energy")} == {""}
    assert int(row["response_token_length"]) == 5


def test_a_table_has_one_provenance_and_says_which(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    session = write(tmp_path / "s", [[Ask(10, 5)]], [Meter("rapl/package-0", 50.0), ESTIMATE])
    assert float(_rows(session)[0]["energy_consumption_llm"]) == pytest.approx(100 / 3.6e6)
    assert "energies are measured (rapl/package-0)" in capsys.readouterr().err
    [row] = _rows(session, provenance="estimated", extended=True)
    assert float(row["energy_consumption_llm"]) == pytest.approx(140 / 3.6e6)
    assert row["energy_provenance"] == "estimated"
    assert list(row) == [*PUBLISHED, *EXTENDED]
    [nothing] = _rows(session, provenance="simulated")
    assert nothing["energy_consumption_llm"] == ""


def test_requests_too_short_for_the_sensor_are_counted_in_a_note(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    blocks = [[Ask(10, 5), Ask(10, 5)]]
    rows = _rows(write(tmp_path / "s", blocks, [Meter("slow/x", 50.0, period_s=0.5)]), extended=True)
    assert [row["energy_consumption_llm"] for row in rows] == ["", ""]
    assert rows[0]["energy_flags"] == "insufficient_resolution"
    said = capsys.readouterr().err
    assert "2 of 2 requests have no energy of their own: insufficient_resolution (2)" in said


def test_text_of_prompts_is_inert(tmp_path: Path) -> None:
    hostile = "=cmd|' /C calc'!A0\x1b[31m\nsecond, \"line\""
    [row] = _rows(write(tmp_path / "s", [[Ask(10, 5, prompt=hostile)]], []))
    assert row["prompt"].startswith("'=cmd")
    assert "\x1b" not in row["prompt"]
    assert row["prompt"].endswith('\nsecond, "line"')


def test_the_type_can_be_given(tmp_path: Path) -> None:
    [row] = _rows(write(tmp_path / "s", [[Ask(10, 5)]], []), type="laptop1")
    assert row["type"] == "laptop1"
