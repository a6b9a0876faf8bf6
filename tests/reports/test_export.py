"""Tables as Parquet and CSV, read back by others' libraries."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import duckdb
import make_session
import pandas as pd
import pyarrow.parquet as pq
import pytest

from joulebench.errors import SessionError
from joulebench.session import Session
from joulebench_reports.data.export import TABLES, export
from joulebench_reports.summary.session import summarise


def written(session: Session, folder: Path, form: str, **more: object) -> Path:
    export([session], summarise(session), folder, form, **more)  # type: ignore[arg-type]
    return folder


def test_parquet_has_every_table_with_units_in_the_schema(session: Session, tmp_path: Path) -> None:
    folder = written(session, tmp_path / "out", "parquet")
    assert {file.name for file in folder.iterdir()} == {f"{name}.parquet" for name in TABLES}
    schema = pq.read_schema(folder / "blocks.parquet")
    assert schema.field("duration_s").metadata[b"unit"] == b"s"
    said = json.loads(schema.metadata[b"joulebench"])
    assert said["units"]["t0_ns"] == "ns"
    assert said["meanings"]["duration_s"]
    summary = json.loads(pq.read_schema(folder / "summary.parquet").metadata[b"joulebench"])
    assert summary["units"]["rss_peak_bytes"] == "B"
    assert summary["units"]["decode_tok_per_s_low"] == "tok/s"
    assert summary["meanings"]["tpot_s"] == "time per decoded token"


def test_parquet_holds_what_the_session_does(session: Session, tmp_path: Path) -> None:
    folder = written(session, tmp_path / "out", "parquet")
    for name in ("blocks", "energy", "requests", "samples", "events"):
        table = pq.read_table(folder / f"{name}.parquet")
        own = session.table(name)
        assert table.num_rows == own.num_rows
        assert table.column("session").unique().to_pylist() == (["session"] if own.num_rows else [])
        for column in own.column_names[-3:]:
            assert table.column(column).to_pylist() == own.column(column).to_pylist()


def test_others_read_the_files_by_themselves(session: Session, tmp_path: Path) -> None:
    folder = written(session, tmp_path / "out", "parquet")
    energy = duckdb.read_parquet(str(folder / "energy.parquet"))
    (total,) = energy.filter("phase = 'total'").sum("gross_j").fetchall()
    expected = sum(row["gross_j"] for row in session.table("energy").to_pylist() if row["phase"] == "total")
    assert total[0] == pytest.approx(expected)
    named = duckdb.execute(
        "select value from parquet_kv_metadata(?) where key = 'joulebench'", [str(folder / "blocks.parquet")]
    ).fetchall()
    assert b'"duration_s": "s"' in named[0][0]
    frame = pd.read_parquet(folder / "summary.parquet")
    assert list(frame["verdict"])[:2] == ["baseline", "saves"]


def test_csv_is_described_and_inert(hostile_session: Session, tmp_path: Path) -> None:
    folder = written(hostile_session, tmp_path / "out", "csv")
    package = json.loads((folder / "datapackage.json").read_text())
    described = {resource["name"]: resource["schema"]["fields"] for resource in package["resources"]}
    assert set(described) == set(TABLES)
    units = {field["name"]: field.get("unit") for field in described["requests"]}
    assert units["ttft_s"] == "s"
    for name, fields in described.items():
        frame = pd.read_csv(folder / f"{name}.csv", dtype=str, keep_default_na=False)
        assert list(frame.columns) == [field["name"] for field in fields]
        values = {value for column in frame.columns for value in frame[column]}
        assert not any(value.startswith(("=", "@")) for value in values)
        assert not any("\x1b" in value for value in values)


def test_csv_says_lists_as_words_and_unknown_as_nothing(session: Session, tmp_path: Path) -> None:
    folder = written(session, tmp_path / "out", "csv")
    blocks = pd.read_csv(folder / "blocks.csv")
    assert "contended" in set(blocks["flags"].dropna())
    requests = pd.read_csv(folder / "requests.csv", dtype=str, keep_default_na=False)
    assert set(requests["token_t_ns"]) == {""}


def test_chosen_tables_alone(session: Session, tmp_path: Path) -> None:
    folder = written(session, tmp_path / "out", "parquet", tables=("summary", "energy"))
    assert {file.stem for file in folder.iterdir()} == {"summary", "energy"}


def test_nothing_is_written_over(session: Session, tmp_path: Path) -> None:
    folder = written(session, tmp_path / "out", "parquet", tables=("summary",))
    with pytest.raises(SessionError, match="already exists"):
        written(session, folder, "parquet")
    assert {file.name for file in folder.iterdir()} == {"summary.parquet"}


def test_a_poor_session_is_exported_too(poor_session: Session, tmp_path: Path) -> None:
    for form in ("parquet", "csv"):
        folder = written(poor_session, tmp_path / form, form)
        assert (folder / f"cells.{form}").is_file()


def test_the_command_takes_several_sessions(tmp_path: Path) -> None:
    for name in ("one", "two"):
        make_session.write(tmp_path / "lab" / name, [make_session.Cell("a", "a", blocks=3)])
    words = [
        "export",
        str(tmp_path / "lab"),
        "--output",
        str(tmp_path / "out"),
        "--table",
        "blocks",
        "--table",
        "summary",
        "--format",
        "parquet",
    ]
    done = subprocess.run([sys.executable, "-m", "joulebench", *words], capture_output=True, text=True, check=True)
    assert "wrote" in done.stderr
    blocks = pq.read_table(tmp_path / "out" / "blocks.parquet")
    assert blocks.column("session").unique().to_pylist() == ["one", "two"]
    assert blocks.num_rows == 6
    again = subprocess.run([sys.executable, "-m", "joulebench", *words], check=False, capture_output=True, text=True)
    assert again.returncode == 2
    assert "already exists" in again.stderr
