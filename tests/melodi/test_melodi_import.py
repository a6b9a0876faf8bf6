"""``joulebench import melodi``: a session that says what it is, and gives the table back."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import published
import pytest
from click.testing import CliRunner

from joulebench.cli import cli
from joulebench.errors import SessionError
from joulebench.session import Session
from joulebench.session.upkeep import verify
from joulebench_reports.melodi.columns import ENERGIES, PUBLISHED
from joulebench_reports.melodi.importing import import_tables
from joulebench_reports.melodi.publishedtable import read_table
from joulebench_reports.melodi.renderers import MelodiRenderer


def _import(file: Path, folder: Path) -> Session:
    import_tables([read_table(file)], folder)
    return Session(folder)


def test_a_prompt_is_a_block_with_its_published_energy(table_file: Path, tmp_path: Path) -> None:
    session = _import(table_file, tmp_path / "s")
    energy = session.table("energy").to_pylist()
    gpu = [row for row in energy if row["channel"] == "melodi/llm_gpu"]
    wanted = [float(str(row["energy_consumption_llm_gpu"])) * 3.6e6 for row in published.rows(40)]
    assert [row["gross_j"] for row in gpu] == pytest.approx(wanted, rel=1e-12)
    assert session.table("blocks").num_rows == 40
    assert verify(tmp_path / "s") == []


def test_provenance_is_the_instruments(table_file: Path, tmp_path: Path) -> None:
    channels = {channel.channel: channel for channel in _import(table_file, tmp_path / "s").row.channels or ()}
    assert channels["melodi/llm_gpu"].provenance == "measured"
    assert channels["melodi/llm_cpu"].provenance == "estimated"
    assert not channels["melodi/llm_total"].counted
    assert all("measured by others" in (channel.note or "") for channel in channels.values())


def test_a_silent_sensor_is_unknown_and_never_0(tmp_path: Path) -> None:
    rows = [{**row, "energy_consumption_llm_gpu": 0} for row in published.rows(5)]
    session = _import(published.write(tmp_path / "t.csv", rows), tmp_path / "s")
    gpu = [r for r in session.table("energy").to_pylist() if r["channel"] == "melodi/llm_gpu"]
    assert {row["gross_j"] for row in gpu} == {None}
    [missing] = [probe for probe in session.row.probes or () if not probe.available]
    assert "0 in every row of t.csv" in (missing.reason or "")


@pytest.mark.parametrize("value", [-1e-6, 0, ""])
def test_a_figure_that_cannot_be_is_unknown(tmp_path: Path, value: object) -> None:
    rows = published.rows(5)
    rows[2]["energy_consumption_llm_cpu"] = value
    session = _import(published.write(tmp_path / "t.csv", rows), tmp_path / "s")
    cpu = [r for r in session.table("energy").to_pylist() if r["channel"] == "melodi/llm_cpu"]
    assert [row["gross_j"] is None for row in cpu] == [False, False, True, False, False]
    assert cpu[2]["flags"] == ["sensor_lost"]


def test_faults_are_kept_with_the_cell(tmp_path: Path) -> None:
    rows = [{**row, "type": "unknown"} for row in published.rows(5)]
    session = _import(published.write(tmp_path / "t.csv", rows), tmp_path / "s")
    [cell] = session.cells().to_pylist()
    facts = json.loads(cell["facts_json"])["published"]
    assert facts["file"] == "t.csv"
    assert [text.partition(":")[0] for text in facts["faults"]] == ["device_unknown"]
    assert cell["device"] is None


def test_models_and_devices_are_cells_of_their_own(tmp_path: Path) -> None:
    rows = published.rows(6)
    rows[1]["model_name"] = "tiny:2b"
    rows[2]["type"] = "laptop1"
    session = _import(published.write(tmp_path / "t.csv", rows), tmp_path / "s")
    names = {(row["model"], row["device"], row["blocks"]) for row in session.cells().to_pylist()}
    assert names == {("tiny:1b", "workstation", 4), ("tiny:2b", "workstation", 1), ("tiny:1b", "laptop1", 1)}


def test_names_never_lead_out_of_the_folder(tmp_path: Path) -> None:
    rows = [{**row, "model_name": "../../evil", "type": "/etc"} for row in published.rows(3)]
    session = _import(published.write(tmp_path / "t.csv", rows), tmp_path / "s")
    assert [path.name for path in (tmp_path / "s" / "cells").iterdir()] == session.cell_ids
    assert session.cells().num_rows == 1


def test_what_goes_in_comes_out_again(table_file: Path, tmp_path: Path) -> None:
    session = _import(table_file, tmp_path / "s")
    written = list(csv.DictReader(io.StringIO(MelodiRenderer().render(session, {}))))
    with table_file.open(newline="", encoding="utf-8") as source:
        original = list(csv.DictReader(source))
    assert list(written[0]) == list(PUBLISHED)
    for new, old in zip(written, original, strict=True):
        for name in PUBLISHED:
            if name in ENERGIES:
                assert float(new[name]) == pytest.approx(float(old[name]), rel=1e-12)
            else:
                assert new[name].replace(".000000+00:00", "+00:00") == old[name]


def test_a_folder_that_is_in_use_is_left_alone(table_file: Path, tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "mine.txt").write_text("mine")
    with pytest.raises(SessionError, match="exists and is not empty"):
        _import(table_file, tmp_path / "s")
    assert [path.name for path in (tmp_path / "s").iterdir()] == ["mine.txt"]


def test_the_command_prints_the_faults_and_the_folder(tmp_path: Path) -> None:
    rows = [{**row, "type": "unknown"} for row in published.rows(5)]
    file = published.write(tmp_path / "t.csv", rows)
    out = tmp_path / "s"
    result = CliRunner().invoke(cli, ["import", "melodi", str(file), "--output", str(out)])
    assert result.exit_code == 0, result.output
    assert "t.csv: 1 fault\n" in result.output
    assert "device_unknown: the device type is 'unknown'" in result.output
    assert f"5 prompts in 1 cell: {out}" in result.output


def test_one_bad_file_among_good_ones_leaves_nothing_behind(table_file: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.csv"
    bad.write_text("a,b\n1,2\n")
    out = tmp_path / "s"
    result = CliRunner().invoke(cli, ["import", "melodi", str(table_file), str(bad), "--output", str(out)])
    assert isinstance(result.exception, SessionError)
    assert not out.exists()
