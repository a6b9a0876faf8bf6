from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import make_session
import pytest
from make_session import Cell

from joulebench.meter.uncertainty import positive, ratio_interval
from joulebench.session import Session
from joulebench.session.tables import EnergyRow
from joulebench_reports.notes.trust import trust_notes
from joulebench_reports.sections.overview import overview_table
from joulebench_reports.summary.session import summarise
from joulebench_reports.values.figures import CellSummary


def one(tmp_path: Path, cell: Cell, **more: object) -> CellSummary:
    session = Session(make_session.write(tmp_path / "s", [cell], **more))  # type: ignore[arg-type]
    return summarise(session).cells[0]


def test_energy_per_token_is_the_ratio_of_sums_with_the_cores_interval(tmp_path: Path) -> None:
    cell = one(tmp_path, Cell("a", "a", energies={"measured": 1.0}, processes=3))
    table = Session(tmp_path / "s")
    energy = [r for r in table.table("energy").to_pylist() if r["phase"] == "total"]
    joules = {r["block"]: r["gross_j"] for r in energy}
    blocks = table.table("blocks").to_pylist()
    linear = ratio_interval(
        [joules[b["block"]] for b in blocks], [b["units"] for b in blocks], [b["process"] for b in blocks]
    )
    expected, gross = positive(linear), cell.headline
    assert (gross.value, gross.low, gross.high) == pytest.approx((expected.mean, expected.low, expected.high), rel=1e-9)
    assert (gross.unit, gross.n, gross.provenance) == ("J/token", 20, "measured")


def test_measured_and_estimated_energy_are_separate_and_measured_leads(tmp_path: Path) -> None:
    cell = one(tmp_path, Cell("a", "a", energies={"estimated": 2.0, "measured": 1.0}, noise=0.0))
    by_provenance = {energy_row.provenance: energy_row.gross.value for energy_row in cell.energy}
    assert by_provenance == pytest.approx({"measured": 0.5, "estimated": 1.0})
    assert cell.headline.provenance == "measured"
    assert cell.headline.value == pytest.approx(0.5)


def test_an_estimate_leads_where_the_measured_energy_is_null(tmp_path: Path) -> None:
    cell = one(tmp_path, Cell("a", "a", energies={"estimated": 2.0, "measured": None}))
    assert cell.headline.provenance == "estimated"


def test_a_null_channel_makes_its_blocks_energy_null_and_never_zero(tmp_path: Path) -> None:
    cell = one(tmp_path, Cell("a", "a", energies={"measured": None}, energy_flags=["counter_ambiguous"]))
    assert cell.headline.value is None
    assert "counter_ambiguous" in (cell.headline.reason_if_null or "")


def test_a_session_without_energy_channels_names_the_absent_probe(tmp_path: Path) -> None:
    cell = one(tmp_path, Cell("a", "a", energies={}))
    assert "rapl: no /sys/class/powercap" in (cell.headline.reason_if_null or "")


def test_an_idle_cell_is_given_in_watts(tmp_path: Path) -> None:
    cell = one(tmp_path, Cell("i", "idle", unit="second", joules_per_token=6.0, noise=0.0))
    assert cell.headline.unit == "W"
    assert cell.headline.value == pytest.approx(6.0)
    assert cell.speed.decode_tok_s.value is None


def test_the_workers_share_of_a_measured_energy_is_an_estimate(tmp_path: Path) -> None:
    cell = one(tmp_path, Cell("a", "a", energies={"measured": 1.0}))
    assert cell.energy[0].attributed.provenance == "estimated"


def test_blocks_of_one_process_are_said_to_be_so(tmp_path: Path) -> None:
    assert "single_process" in {f.flag for f in one(tmp_path, Cell("a", "a")).flags}
    three = one(tmp_path / "3", Cell("a", "a", processes=3))
    assert "single_process" not in {f.flag for f in three.flags}


def test_the_energy_without_disturbed_blocks_stands_beside_the_whole(tmp_path: Path) -> None:
    cell = one(tmp_path, Cell("a", "a", block_flags={0: ["contended"], 1: ["throttled"]}))
    energy = cell.energy[0]
    assert (energy.gross.n, energy.without_flagged.n) == (20, 18)


def test_a_single_block_has_no_interval(tmp_path: Path) -> None:
    """The sensor's own resolution would say nothing of how far the next block would lie."""
    gross = one(tmp_path, Cell("a", "a", blocks=1)).headline
    assert "single_block" in gross.flags
    assert gross.value is not None
    assert (gross.low, gross.high, gross.n) == (None, None, 1)


def test_decode_speed_is_tokens_over_decode_time(tmp_path: Path) -> None:
    speed = one(tmp_path, Cell("a", "a")).speed
    requests = Session(tmp_path / "s").table("requests").to_pylist()
    tokens = sum(r["decode_tokens"] for r in requests)
    assert speed.decode_tok_s.value == pytest.approx(tokens / sum(r["decode_s"] for r in requests))
    assert speed.decode_tok_s.low is not None
    assert speed.tpot_s.value == pytest.approx(1 / (speed.decode_tok_s.value or 0))


def test_the_scales_uncertainty_stays_out_of_the_plain_interval(tmp_path: Path) -> None:
    energy = one(tmp_path, Cell("a", "a")).energy[0]
    assert energy.scale_relative_uncertainty == 0.3
    assert energy.gross.half_width
    assert energy.gross_with_scale.half_width is not None
    assert energy.gross_with_scale.half_width > 10 * energy.gross.half_width


def test_an_offset_that_a_meter_declares_is_part_of_its_scale_at_the_cells_power(tmp_path: Path) -> None:
    first, *others = make_session.channels({"estimated"})
    energy = one(tmp_path, Cell("a", "a"), channels=(replace(first, offset_u_w=2.0), *others)).energy[0]
    assert energy.power_w.value is not None
    assert energy.scale_relative_uncertainty == pytest.approx(math.hypot(0.3, 2.0 / energy.power_w.value))


def test_the_report_says_from_which_declaration_a_scale_comes(tmp_path: Path) -> None:
    declared = "accuracy ±(1 % of reading + 0.5 % of 200 W), calibrated on 2026-03-01"
    first, *others = make_session.channels({"measured"})
    first = replace(first, relative_uncertainty=0.01, offset_u_w=0.5, note=f"a board's meter; {declared}")
    cells = [Cell(name, name, energies={"measured": 1.0}) for name in "ab"]
    path = make_session.write(tmp_path / "s", cells, channels=(first, *others))
    (note,) = [note for note in trust_notes(summarise(Session(path))) if note.term == "measured energy"]
    assert note.text.endswith(f"which is not in the interval: {declared}")


def test_blocks_of_a_cell_that_was_cut_off_are_read(tmp_path: Path) -> None:
    cell = one(tmp_path, Cell("a", "a", status="unfinished", blocks=5), status="running")
    assert (cell.status, cell.blocks) == ("unfinished", 5)
    assert cell.headline.value is not None


def test_the_settings_of_a_cell_that_was_cut_off_are_the_plans(tmp_path: Path) -> None:
    planned = [{"id": "a", "label": "a", "backend_settings": {"threads": 2}}]
    cells = [Cell("a", "a", status="unfinished", blocks=5)]
    plan = json.dumps({"cells": planned})
    path = make_session.write(tmp_path / "s", cells, status="running", plan_json=plan)
    assert '"threads": 2' in str(summarise(Session(path)).cells[0].backend_settings)


def test_a_planned_cell_without_a_folder_is_listed_with_its_reason(tmp_path: Path) -> None:
    planned = [{"id": "z", "label": "z", "reason": "no converter"}, {"id": "y", "label": "y"}]
    path = make_session.write(tmp_path / "s", [Cell("a", "a")], planned=planned)
    cells = {cell.id: cell for cell in summarise(Session(path)).missing}
    assert (cells["z"].status, cells["z"].cause) == ("skipped", "no converter")
    assert cells["y"].status == "not started"


@pytest.mark.parametrize("joules", [None, 4.0])
def test_a_block_counts_only_with_all_of_its_channels(tmp_path: Path, joules: float | None) -> None:
    path = make_session.write(tmp_path / "s", [Cell("a", "a", status="unfinished", blocks=3)])
    stream = make_session.SessionWriter(path).stream("a", "energy")
    extra = EnergyRow(
        cell_id="a",
        block=1,
        phase="total",
        channel="estimate/dram",
        domain="dram",
        counted=True,
        provenance="estimated",
        method="model",
        gross_j=joules,
    )
    # Block 0 has no row of the second channel, block 1 a null or a figure, block 2 a figure.
    stream.append([extra, replace(extra, block=2, gross_j=4.0)])
    stream.close()
    gross = summarise(Session(path)).cells[0].headline
    assert gross.n == (1 if joules is None else 2)
    assert "incomplete_blocks" in gross.flags


def test_a_noisy_energy_has_no_interval_below_zero(tmp_path: Path) -> None:
    cell = one(tmp_path, Cell("a", "a", energies={"measured": 1.0}, noise=1.5, blocks=4, seed=3))
    energy = cell.energy[0]
    for figure in (energy.gross, energy.attributed, energy.power_w, cell.speed.units_s):
        assert figure.low is not None
        assert figure.value is not None
        assert 0 < figure.low < figure.value < (figure.high or 0)


def test_a_report_says_what_a_model_file_was_unpacked_to(tmp_path: Path) -> None:
    unpacked = "weights unpacked from q4_1 to bfloat16"
    planned = {
        "id": "a",
        "label": "a",
        "workload_plugin": "generate",
        "model": "m",
        "runnable": True,
        "notes": [unpacked],
    }
    columns = {"plan_json": json.dumps({"cells": [planned]})}
    session = Session(make_session.write(tmp_path / "s", [Cell("a", "a", energies={"measured": 1.0})], **columns))
    summary = summarise(session)
    assert summary.model_notes == (("m", unpacked),)
    assert ("m", unpacked) in [(note.term, note.text) for note in trust_notes(summary)]


def test_the_table_says_what_a_quantized_file_is_of(tmp_path: Path) -> None:
    def table_of(name: str, *file_types: str | None) -> list[str]:
        facts = [{"dtype": "float32", "file_type": file_type} for file_type in file_types]
        cells = [
            Cell(str(number), str(number), energies={"measured": 1.0}, row={"facts_json": json.dumps(entry)})
            for number, entry in enumerate(facts)
        ]
        table = overview_table(summarise(Session(make_session.write(tmp_path / name, cells))).shown)
        places = [place for place, column in enumerate(table.columns) if column.heading == "weights"]
        return [row[place].text for row in table.rows for place in places]

    assert table_of("quantized", "Q4_K_M", "F32", None) == ["Q4_K_M", "float32", "float32"]
    assert table_of("floats", "F32", "BF16", None) == []
