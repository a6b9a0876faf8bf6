"""Published tables: what is read, what is refused and where, and which faults are named."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import published
import pytest

from joulebench.errors import SessionError
from joulebench_reports.melodi import publishedtable as csvtable
from joulebench_reports.melodi.columns import ENERGIES, PUBLISHED, REQUIRED
from joulebench_reports.melodi.faults import findings
from joulebench_reports.melodi.publishedtable import read_table


def _names(path: Path) -> list[str]:
    return [finding.name for finding in findings(read_table(path))]


def test_a_table_without_faults_is_read_as_it_is_written(table_file: Path) -> None:
    table = read_table(table_file)
    wanted = published.rows(40)
    assert [row.numbers["prompt_token_length"] for row in table.rows] == [row["prompt_token_length"] for row in wanted]
    assert table.rows[3].times["start_time"] == wanted[3]["start_time"]
    assert table.rows[3].texts["prompt"] == wanted[3]["prompt"]
    assert table.rows[0].numbers["noun_count"] is None
    assert findings(table) == ()


def test_a_row_is_named_by_the_line_that_it_begins_on(table_file: Path) -> None:
    # Each prompt has a line break in it.
    assert [row.line for row in read_table(table_file).rows[:3]] == [2, 4, 6]


@pytest.mark.parametrize(
    ("text", "seconds"), [("1.5", 1.5), ("0 days 00:01:34.884369", 94.884369), ("1 days 02:00:00", 93600.0)]
)
def test_clock_durations_are_seconds_or_pandas_spans(tmp_path: Path, text: str, seconds: float) -> None:
    row = {**published.rows(1)[0], "clock_duration": text}
    clock_s = read_table(published.write(tmp_path / "t.csv", [row])).rows[0].clock_s
    assert clock_s == pytest.approx(seconds)


def _refusals() -> dict[str, tuple[bytes, str]]:
    head = ",".join(REQUIRED)
    good = "m,2026-01-01T00:00:00,2026-01-01T00:00:01,3,4,1e-6"
    return {
        "empty": (b"", "is empty"),
        "a header alone": (head.encode(), "has a header and no row"),
        "another table": (b"a,b\n1,2\n", "lacks the columns model_name, start_time"),
        "a picture": (b"\x89PNG\r\n\x1a\n\xff\xd8", "is not UTF-8 text"),
        "too few fields": (f"{head}\n{good}\nm,1\n".encode(), ":3: has 2 fields"),
        "text for a number": (f"{head}\n{good.replace('3,4', '3,four')}\n".encode(), "'four'"),
        "an infinite number": (f"{head}\n{good.replace('1e-6', 'inf')}\n".encode(), "'inf'"),
        "no time": (f"{head}\n{good.replace('2026-01-01T00:00:01', 'soon')}\n".encode(), "'soon'"),
        "an open quote": (f'{head}\n{good}\n"m,'.encode(), ":3: is no CSV"),
        "a column twice": (f"{head},model_name\n{good},m\n".encode(), "model_name more than once"),
    }


@pytest.mark.parametrize("case", _refusals())
def test_what_is_no_table_is_one_error_with_its_file(tmp_path: Path, case: str) -> None:
    content, words = _refusals()[case]
    path = tmp_path / "bad.csv"
    path.write_bytes(content)
    with pytest.raises(SessionError) as caught:
        read_table(path)
    assert words in str(caught.value)
    assert "bad.csv" in str(caught.value)


def test_a_file_that_is_too_large_is_not_read(table_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csvtable, "LARGEST_BYTES", 100)
    with pytest.raises(SessionError, match="more than"):
        read_table(table_file)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SessionError, match="cannot be read"):
        read_table(tmp_path / "none.csv")
    with pytest.raises(SessionError, match="is a folder"):
        read_table(tmp_path)


Change = Callable[[list[published.Row]], object]
FAULTS: dict[str, Change] = {
    "device_unknown": lambda rows: rows[4].update(type="unknown"),
    "silent_sensor": lambda rows: [row.update(energy_consumption_llm_gpu=0) for row in rows],
    "zero_energy": lambda rows: rows[4].update(energy_consumption_llm_cpu=0),
    "negative": lambda rows: rows[4].update(energy_consumption_llm_cpu=-1e-6),
    "impossible_energy": lambda rows: rows[4].update(energy_consumption_llm=1e-10),
    "end_before_start": lambda rows: rows[4].update(end_time=rows[3]["start_time"]),
    "times_not_rising": lambda rows: rows[4].update(start_time=rows[0]["start_time"]),
    "overlap": lambda rows: rows[4].update(
        start_time=rows[3]["end_time"] - timedelta(seconds=0.1)  # type: ignore[operator]
    ),
    "clock_differs": lambda rows: rows[4].update(clock_duration=99),
    "total_differs": lambda rows: rows[4].update(energy_consumption_llm_total=1),
    "cold_start": lambda rows: rows[4].update(load_duration=rows[4]["total_duration"]),
    "missing": lambda rows: rows[4].update(energy_consumption_llm_cpu=""),
}


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_is_named_with_the_first_line_that_has_it(tmp_path: Path, name: str) -> None:
    rows = published.rows(40)
    FAULTS[name](rows)
    result = findings(read_table(published.write(tmp_path / "t.csv", rows)))
    [one] = [entry for entry in result if entry.name == name]
    everywhere = name == "silent_sensor"
    assert (one.rows, one.of, one.line) == (40 if everywhere else 1, 40, 2 if everywhere else 10)


def test_energy_without_an_answer_is_impossible(tmp_path: Path) -> None:
    rows = published.rows(40)
    rows[4]["response_token_length"] = 0
    assert "impossible_energy" in _names(published.write(tmp_path / "t.csv", rows))


def test_index_columns_are_left_out_and_named(tmp_path: Path) -> None:
    rows = [{"": place, "Unnamed: 0": place, "index": 0, **row} for place, row in enumerate(published.rows(5))]
    path = published.write(tmp_path / "t.csv", rows, ["", "Unnamed: 0", "index", *PUBLISHED])
    [finding] = findings(read_table(path))
    assert finding.name == "index_columns"
    assert "unnamed duplicates" in finding.what
    assert "the same in every row: 'index'" in finding.what


def test_a_column_that_is_not_there_and_one_too_many_are_named(tmp_path: Path) -> None:
    columns = [name for name in PUBLISHED if name != ENERGIES[2]]
    rows = [{**row, "mood": "good"} for row in published.rows(5)]
    result = findings(read_table(published.write(tmp_path / "t.csv", rows, [*columns, "mood"])))
    assert [(entry.name, entry.what) for entry in result] == [
        ("missing", f"there is no column {ENERGIES[2]}"),
        ("unknown_columns", "not MELODI's and left out: 'mood'"),
    ]
