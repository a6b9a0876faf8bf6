"""Simulated cells in reports: their own seconds and joules, marked, ranged, never mixed."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import make_session
import pytest
from make_session import Cell

from joulebench.session import Session
from joulebench.session.files import write_table
from joulebench.session.schema import CELL_TABLES, versioned
from joulebench_reports.charts import bars as comparisons
from joulebench_reports.charts import roofline
from joulebench_reports.judging import advice
from joulebench_reports.judging.workgroups import SessionWork
from joulebench_reports.notes import trust
from joulebench_reports.renderers import CsvRenderer, HtmlRenderer, JsonRenderer, MarkdownRenderer, TerminalRenderer
from joulebench_reports.summary.session import summarise
from joulebench_reports.values.figures import CellSummary, SessionSummary
from sealing import reseal

#: Seconds of the device for each of this machine's, and joules of it for each of its seconds.
FACTOR, WATTS, LOW, HIGH = 0.1, 3.0, 2.0, 5.0
FACTS = {
    "hardware": "Board X, 4 × 64 lanes at 200 MHz",
    "evidence": "rtl-sampled",
    "not_modelled": "softmax, norms",
    "dtype": "int8",
}


def simulate(folder: Path, cell_id: str) -> None:
    """Make a written cell one of simulated hardware, as a run records it."""
    import pyarrow as pa

    cell = folder / "cells" / cell_id
    session = Session(folder)

    def rewrite(name: str, rows: list[dict[str, Any]]) -> None:
        schema = versioned(CELL_TABLES[name])
        write_table(cell / f"{name}.arrow", pa.Table.from_pylist(rows, schema=schema))

    blocks = session.table("blocks", cell_id).to_pylist()
    for row in blocks:
        row |= {"device_s": FACTOR * row["duration_s"], "device_cycles": 1000}
    requests = session.table("requests", cell_id).to_pylist()
    for row in requests:
        row["device_s"] = FACTOR * row["duration_s"]
        for part in ("ttft", "prefill", "decode", "tpot"):
            row[f"device_{part}_s"] = FACTOR * row[f"{part}_s"]
    energy = session.table("energy", cell_id).to_pylist()
    for row in energy:
        row |= {"counted": False, "flags": [*row["flags"], "simulator"]}
    for row in list(energy):
        seconds = FACTOR * row["duration_s"]
        energy.append(
            row
            | {
                "channel": "device/model",
                "domain": "device",
                "provenance": "simulated",
                "method": "model",
                "counted": True,
                "duration_s": seconds,
                "gross_j": WATTS * seconds,
                "gross_low_j": LOW * seconds,
                "gross_high_j": HIGH * seconds,
                "gross_u_j": None,
                "net_j": None,
                "net_u_j": None,
                "attributed_j": None,
                "flags": ["input_range"],
            }
        )
    (row,) = session.table("cell", cell_id).to_pylist()
    row |= {
        "time_base": "device",
        "facts_json": json.dumps(FACTS),
        "device": "simulated",
        "device_peak_bytes": 150 * 2**20,
        "flags": [],
    }
    for name, rows in (("blocks", blocks), ("requests", requests), ("energy", energy)):
        rewrite(name, rows)
    rewrite("cell", [row])
    reseal(folder)


@pytest.fixture
def session(tmp_path: Path) -> Session:
    cells = [
        Cell("a", "torch generate", row={"token_weights_bytes": 10**9, "token_kv_bytes": 1000}),
        Cell("b", "fpga one", backend="fpga"),
        Cell("c", "fpga two", backend="fpga", seconds=1.0),
    ]
    folder = make_session.write(tmp_path / "s", cells)
    simulate(folder, "b")
    simulate(folder, "c")
    return Session(folder)


@pytest.fixture
def summary(session: Session) -> SessionSummary:
    return summarise(session)


def one(summary: SessionSummary, cell_id: str) -> CellSummary:
    return next(cell for cell in summary.cells if cell.id == cell_id)


def test_speed_is_in_seconds_of_the_device(session: Session, summary: SessionSummary) -> None:
    cell, plain = one(summary, "b"), one(summary, "a")
    blocks = session.table("blocks", "b").to_pylist()
    requests = session.table("requests", "b").to_pylist()
    decoded = sum(row["decode_tokens"] for row in requests)
    seconds = sum(row["decode_s"] for row in requests)
    assert cell.speed.decode_tok_s.value == pytest.approx(decoded / seconds / FACTOR)
    times = sorted(row["ttft_s"] * FACTOR for row in requests)
    assert cell.speed.ttft_median_s.value == pytest.approx((times[len(times) // 2] + times[len(times) // 2 - 1]) / 2)
    assert cell.speed.decode_tok_s.provenance == "simulated"
    assert cell.speed.decode_tok_s.low is None
    assert cell.simulation_s == pytest.approx(sum(row["duration_s"] for row in blocks))
    assert plain.speed.decode_tok_s.provenance is None
    assert plain.speed.decode_tok_s.low is not None
    assert plain.simulation_s is None


def test_energy_is_the_device_s_with_the_range_of_its_inputs(session: Session, summary: SessionSummary) -> None:
    cell = one(summary, "b")
    (energy,) = cell.energy
    blocks = session.table("blocks", "b").to_pylist()
    per_token = sum(row["device_s"] for row in blocks) / sum(row["units"] for row in blocks)
    gross = energy.gross
    assert (gross.value, gross.low, gross.high) == pytest.approx((WATTS * per_token, LOW * per_token, HIGH * per_token))
    assert gross.is_range
    assert (gross.provenance, energy.channels) == ("simulated", ("device/model",))
    assert cell.headline == gross
    assert energy.power_w.value == pytest.approx(WATTS)
    assert energy.power_w.high == pytest.approx(HIGH)
    assert dict(energy.phases)["decode"].low is not None
    assert cell.headline_net.value is None


def test_what_this_machine_s_sensors_saw_stands_in_no_figure(summary: SessionSummary) -> None:
    cell = one(summary, "b")
    assert cell.memory.rss_peak_bytes is None
    assert cell.memory.device_peak_bytes == 150 * 2**20
    assert cell.temperature_max_c is None
    assert {flag.flag for flag in cell.flags} == {"input_range"}
    assert cell.mbu.value is None
    assert "this machine's" in (cell.mbu.reason_if_null or "")
    assert one(summary, "a").memory.rss_peak_bytes is not None


def test_verdicts_hold_it_against_nothing_else(summary: SessionSummary) -> None:
    (table,) = summary.verdicts
    told = {verdict.cell_id: (verdict.outcome, verdict.reason) for verdict in table.verdicts}
    assert told["b"][0] == told["c"][0] == "cannot tell"
    assert "simulated against estimated" in (told["b"][1] or "")


def test_two_simulated_cells_have_ranges_and_no_verdict(session: Session) -> None:
    (table,) = summarise(session, baseline="fpga one").verdicts
    told = {verdict.cell_id: verdict for verdict in table.verdicts}
    assert told["c"].outcome == "cannot tell"
    assert "ranges of inputs" in told["c"].text


def test_advice_refuses_it_with_the_reason(session: Session, summary: SessionSummary) -> None:
    for aim in advice.AIMS:
        (result,) = advice.advise(SessionWork(session), summary.shown, aim, [], None, ["energy", "time"])
        assert [advice.label for advice in result.ranked] == ["torch generate"]
        refused = dict(result.refused)
        assert refused["fpga one"] == refused["fpga two"] == advice.ELSEWHERE
        assert result.front.on == ("torch generate",)


def test_charts_never_share_an_axis_with_it(summary: SessionSummary) -> None:
    charts = comparisons.comparison_charts(summary.shown)
    for chart in charts:
        labels = {row[0] for row in chart.rows}
        assert not {"torch generate", "fpga one"} <= labels, chart.title
    assert any("fpga one" in {row[0] for row in chart.rows} for chart in charts)
    assert {point.label for point in roofline.points_of(summary.shown)} <= {"torch generate"}


def test_the_terminal_marks_every_figure_of_it(session: Session) -> None:
    text = TerminalRenderer().render(session, {"width": 160})
    line = next(line for line in text.splitlines() if line.startswith("fpga one"))
    assert line.count("sim.") == 6  # energy, tok/s, prefill, TTFT, TPOT, memory
    assert "±" not in line
    assert "[" in line
    assert "sim." not in next(e for e in text.splitlines() if e.startswith("torch generate"))


def test_every_report_says_what_the_simulation_took_and_rests_on(session: Session, summary: SessionSummary) -> None:
    took = one(summary, "b").simulation_s
    assert took is not None
    for text in (
        TerminalRenderer().render(session, {"width": 100}),
        MarkdownRenderer().render(session, {}),
        HtmlRenderer().render(session, {"charts": False}),
    ):
        flat = " ".join(text.split()).replace("\\", "")
        assert f"simulation took {took:.1f} s on this machine" in flat
        assert "evidence: rtl-sampled" in flat
        assert "not modelled: softmax, norms" in flat
        assert "no statistical interval" in flat


def test_tables_for_programs_name_the_time_base(session: Session) -> None:
    rows = {row["id"]: row for row in csv.DictReader(io.StringIO(CsvRenderer().render(session, {})))}
    assert rows["a"]["time_base"] == "host"
    assert rows["b"]["time_base"] == "device"
    assert rows["b"]["estimated_gross_j_per_unit"] == ""
    assert float(rows["b"]["simulation_s"]) > 0
    document = json.loads(str(JsonRenderer().render(session, {})))
    cells = {cell["id"]: cell for cell in document["cells"]}
    assert cells["b"]["time_base"] == "device"
    assert cells["b"]["headline"]["is_range"] is True


def test_nothing_is_said_to_lack_what_only_this_machine_could_have(summary: SessionSummary) -> None:
    missing = {(note.term, note.text) for note in trust.unmeasured(summary)}
    assert not [text for term, text in missing if "fpga" in text and term != "perplexity"]


def test_a_session_of_before_has_one_time_base(tmp_path: Path) -> None:
    folder = make_session.write(tmp_path / "s", [Cell("a", "a")])
    cell = summarise(Session(folder)).cells[0]
    assert cell.time_base == "host"
    assert not cell.simulated


def test_melodi_s_table_leaves_it_out(session: Session) -> None:
    from joulebench_reports.melodi.requests import measured_requests

    assert {request.cell.id for request in measured_requests(session)} == {"a"}
