"""MBU, MFU, the roofline and the operators, on sessions whose figures are known."""

from __future__ import annotations

import csv
import io
import itertools
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import make_session
import pytest

from joulebench.session import Session
from joulebench.session.tables import CellRow
from joulebench_reports.charts import roofline
from joulebench_reports.notes import trust
from joulebench_reports.reading.limits import find_limits, limit_notes
from joulebench_reports.reading.operators import OperatorTable, operator_tables
from joulebench_reports.reading.rows import StoredCell, StoredRequest
from joulebench_reports.reading.speed import summarise_speed
from joulebench_reports.reading.tokenwork import token_work
from joulebench_reports.renderers import CsvRenderer, HtmlRenderer, JsonRenderer, MarkdownRenderer, TerminalRenderer
from joulebench_reports.sections.operators import operator_rows
from joulebench_reports.sections.report import TableCell
from joulebench_reports.summary.session import summarise
from joulebench_reports.values.figure import Figure
from joulebench_reports.values.figures import CellSummary, SessionSummary
from joulebench_reports.values.series import BlockSums
from joulebench_reports.words.units import shown_unit

GIGA, MIB = 1e9, 2**20
WEIGHTS, KV, OPERATIONS, HEAD = 100_000_000, 1000, 200_000_000, 40_000_000
#: What make_session's requests read and write: a decoded token has 30 + 39 / 2 before it.
CONTEXT = make_session.PREFILL + (make_session.DECODE - 1) / 2
TRAFFIC = {
    "token_weights_bytes": WEIGHTS,
    "token_kv_bytes": KV,
    "token_operations": OPERATIONS,
    "token_head_operations": HEAD,
}
#: Seconds of a block of make_session.
BLOCK_S = 2.0


def place(threads: int, dtype: str = "float32", **workload: Any) -> dict[str, Any]:
    settings = {"backend": {"threads": threads, "dtype": dtype}, "workload": workload}
    return {"facts_json": json.dumps({"threads": threads, "dtype": dtype}), "settings_json": json.dumps(settings)}


def generating(id_: str = "g", threads: int = 1, **row: Any) -> make_session.Cell:
    return make_session.Cell(id_, f"generate {id_}", workload="generate", row={**TRAFFIC, **place(threads), **row})


def reading(gb_s: float, threads: int = 1, id_: str = "r", **values: float) -> make_session.Cell:
    known = {"kernel_runs": 20.0, "kernel_bytes": 512.0 * MIB, "array_bytes": 512.0 * MIB, "cache_bytes": 64.0 * MIB}
    return make_session.Cell(
        id_,
        f"read {id_}",
        workload="memory",
        plugin="bandwidth",
        unit="byte",
        units=gb_s * GIGA * BLOCK_S,
        joules_per_token=2 / GIGA,
        values={**known, **values},
        row=place(threads, pattern="read"),
    )


def multiplying(gflop_s: float, threads: int = 1, dtype: str = "float32") -> make_session.Cell:
    return make_session.Cell(
        f"m{dtype}{threads}",
        "products",
        plugin="matmul",
        unit="operation",
        units=gflop_s * GIGA * BLOCK_S,
        joules_per_token=3e-12,
        values={"kernel_runs": 20.0, "kernel_operations": 1e9},
        row=place(threads, dtype),
    )


def operator(name: str, calls_s: float, per_token: int, moved: float, cache: float = 64.0 * MIB) -> make_session.Cell:
    return make_session.Cell(
        name,
        f"operators {name}",
        plugin="operators",
        unit="call",
        units=calls_s * BLOCK_S,
        joules_per_token=1e-3,
        values={"kernel_runs": 100.0, "kernel_per_token": per_token, "kernel_bytes": moved, "cache_bytes": cache},
        row=place(1, operator=name, context=64),
    )


def summary_of(folder: Path, *cells: make_session.Cell) -> SessionSummary:
    return summarise(Session(make_session.write(folder / "session", list(cells))))


def by_id(summary: SessionSummary) -> dict[str, CellSummary]:
    return {cell.id: cell for cell in summary.cells}


def value(figure: Figure) -> float:
    assert figure.value is not None, figure.reason_if_null
    return figure.value


def test_hardware_cells_have_their_own_units(tmp_path: Path) -> None:
    cells = by_id(summary_of(tmp_path, reading(10), multiplying(100), operator("head", 50, 1, 1)))
    assert cells["r"].rate.unit == "GB/s"
    assert value(cells["r"].rate) == pytest.approx(10, rel=0.02)
    assert cells["r"].headline.unit == "J/GB"
    assert value(cells["r"].headline) == pytest.approx(2, rel=0.02)
    assert cells["mfloat321"].rate.unit == "GFLOP/s"
    assert value(cells["mfloat321"].rate) == pytest.approx(100, rel=0.02)
    assert cells["mfloat321"].headline.unit == "J/TFLOP"
    assert value(cells["mfloat321"].headline) == pytest.approx(3, rel=0.02)
    assert value(cells["head"].rate) == pytest.approx(50, rel=0.02)
    assert (cells["head"].headline.unit, cells["head"].kernel is not None) == ("mJ/call", True)
    assert value(cells["head"].headline) == pytest.approx(1, rel=0.02)


def test_mbu_is_a_tokens_bytes_by_its_rate_over_the_bandwidth(tmp_path: Path) -> None:
    cells = by_id(summary_of(tmp_path, generating(), reading(10)))
    cell, limit = cells["g"], cells["r"].limit
    rate = cell.speed.decode_tok_s
    assert cell.token.decode_context == CONTEXT
    expected = (WEIGHTS + KV * CONTEXT) * value(rate) / (value(limit) * GIGA)
    assert value(cell.mbu) == pytest.approx(expected)
    assert value(cell.mbu) == pytest.approx(0.5, rel=0.03)


def test_mfu_counts_the_head_once_a_prompt(tmp_path: Path) -> None:
    cells = by_id(summary_of(tmp_path, generating(), multiplying(100)))
    rate = value(cells["g"].speed.prefill_tok_s)
    prompt = make_session.PREFILL
    of_a_token = ((OPERATIONS - HEAD) * prompt + HEAD) / prompt
    limit = value(cells["mfloat321"].limit) * GIGA
    assert value(cells["g"].mfu) == pytest.approx(of_a_token * rate / limit)


def test_the_interval_of_a_share_is_of_both_by_squares(tmp_path: Path) -> None:
    cells = by_id(summary_of(tmp_path, generating(), reading(10)))
    rate, limit, mbu = cells["g"].speed.decode_tok_s, cells["r"].limit, cells["g"].mbu
    halves = [math.log((item.high or 0) / (item.low or 1)) / 2 for item in (rate, limit)]
    assert min(halves) > 0
    assert mbu.high == pytest.approx(value(mbu) * math.exp(math.hypot(*halves)))
    assert mbu.low == pytest.approx(value(mbu) * math.exp(-math.hypot(*halves)))


def test_slow_blocks_are_no_limit(tmp_path: Path) -> None:
    blocks = [BlockSums(n, 0, 4.0 if n % 3 == 0 else 1.0, 10.0, *[None] * 5, 1, *[None] * 4, ()) for n in range(30)]
    speed = summarise_speed(blocks, [], shown_unit("byte"))
    assert value(speed.best_units_s) == pytest.approx(10.0)
    assert value(speed.units_s) == pytest.approx(5.0)
    assert (speed.best_units_s.low or 0) > 0
    assert (speed.units_s.low or 0) > 0
    single = summarise_speed(blocks[:1], [], shown_unit("byte"))
    assert single.best_units_s.low is None


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        ([generating(), reading(10, threads=2)], "reads on cpu, 1 thread"),
        ([generating(token_kv_bytes=None), reading(10)], "does not tell what a token has to move"),
        ([generating(facts_json=None, settings_json=None), reading(10)], "threads is unknown"),
    ],
)
def test_mbu_is_null_with_its_reason(tmp_path: Path, cells: list[make_session.Cell], reason: str) -> None:
    mbu = by_id(summary_of(tmp_path, *cells))["g"].mbu
    assert mbu.value is None
    assert reason in (mbu.reason_if_null or "")


def test_mfu_needs_the_same_number_type(tmp_path: Path) -> None:
    cells = by_id(summary_of(tmp_path, generating(), multiplying(100, dtype="bfloat16")))
    assert cells["g"].mfu.value is None
    assert "no matmul cell in float32 on cpu, 1 thread" in (cells["g"].mfu.reason_if_null or "")


def test_threads_of_the_host_do_not_limit_another_device(tmp_path: Path) -> None:
    fast, gpu = reading(1000, threads=2), generating(threads=1, device="cuda:0")
    fast.row["device"] = "cuda:0"
    assert value(by_id(summary_of(tmp_path, gpu, fast))["g"].mbu) == pytest.approx(0.005, rel=0.03)


def test_the_fastest_reading_is_the_limit(tmp_path: Path) -> None:
    summary = summary_of(tmp_path, reading(10, id_="slow"), reading(20, id_="fast"))
    assert [cell.id for cell in find_limits(summary.cells).bandwidth.values()] == ["fast"]


def test_a_context_that_was_read_before_the_window_counts() -> None:
    cell = CellRow(cell_id="a", status="ok", **TRAFFIC)
    request = StoredRequest(*[None] * len(StoredRequest._fields))._replace(prefill_tokens=0, decode_tokens=8)
    values = json.dumps({"context_tokens": 256.0})
    assert token_work(cell, StoredCell(requests=[request], first_values=values)).decode_context == 256 + 3.5
    assert token_work(cell, StoredCell(requests=[request])).decode_context is None


def test_an_array_near_the_cache_and_a_share_above_one_are_told(tmp_path: Path) -> None:
    near = reading(1, array_bytes=100.0 * MIB)
    summary = summary_of(tmp_path, generating(), near)
    texts = dict(limit_notes(summary.cells))
    assert "1.6 times the last-level cache of 64 MiB" in texts["read r"]
    assert "MBU is over 100 %" in texts["generate g"]
    assert texts["read r"] in {note.text for note in trust.trust_notes(summary)}
    assert limit_notes(summary_of(tmp_path / "far", generating(), reading(10)).cells) == []


# -- operators ----------------------------------------------------------------------------------

OPERATORS = (operator("q_proj", 1000, 30, 1e6), operator("head", 100, 1, 100e6), operator("norm", 100_000, 61, 7e3))


def the_table(summary: SessionSummary) -> OperatorTable:
    (table,) = operator_tables(summary.shown)
    return table


def test_operators_add_up_to_a_token(tmp_path: Path) -> None:
    decode = generating(**place(1))
    table = the_table(summary_of(tmp_path, *OPERATORS, decode, reading(10)))
    lines = {line.name: line for line in table.lines}
    assert value(lines["q_proj"].token_s) == pytest.approx(0.030, rel=0.02)
    # 1 mJ a call, 30 calls
    assert value(lines["q_proj"].token_j) == pytest.approx(0.030, rel=0.02)
    assert lines["head"].bandwidth_gb_s == pytest.approx(10, rel=0.02)
    assert lines["head"].bandwidth_share == pytest.approx(1, rel=0.04)
    assert value(table.sum_s) == pytest.approx(0.030 + 0.010 + 0.00061, rel=0.02)
    assert value(table.sum_j) == pytest.approx(0.030 + 0.001 + 0.061, rel=0.02)
    assert table.whole_label == "generate g"
    assert table.whole_s is not None
    assert value(table.whole_s) == pytest.approx(0.02, rel=0.02)  # 50 tok/s


def test_the_whole_token_is_of_the_same_setting(tmp_path: Path) -> None:
    table = the_table(summary_of(tmp_path, *OPERATORS, generating(threads=2)))
    assert table.whole_s is None


def test_only_weights_that_a_token_would_stream_are_marked(tmp_path: Path) -> None:
    table = the_table(summary_of(tmp_path, *OPERATORS))
    # 130 MB a token against a cache of 67 MB: q_proj's 30 MB lie in it alone, the head's do not,
    # and a norm works on what lies in it in any case.
    assert {line.name: line.flattered for line in table.lines} == {"q_proj": True, "head": False, "norm": False}


def test_energies_of_different_provenance_are_not_added(tmp_path: Path) -> None:
    mixed = [replace(OPERATORS[0], energies={"measured": 1.0}), OPERATORS[1]]
    table = the_table(summary_of(tmp_path, *mixed))
    assert table.sum_j.value is None
    assert value(table.sum_s) > 0


def test_all_in_one_call_stands_beside_the_sum(tmp_path: Path) -> None:
    everything = operator("all", 20, 1, 130e6)
    table = the_table(summary_of(tmp_path, *OPERATORS, everything))
    assert table.together is not None
    assert value(table.together.token_s) == pytest.approx(0.05, rel=0.02)
    assert "all" not in {line.name for line in table.lines}
    names = [row[0] for row in operator_rows(table)][-2:]
    assert names == [TableCell("sum", strong=True), TableCell("all in one call", strong=True)]


# -- the roofline -------------------------------------------------------------------------------


def test_points_stand_at_operations_for_each_byte(tmp_path: Path) -> None:
    cell = by_id(summary_of(tmp_path, generating(), reading(10)))["g"]
    prefill, decode = roofline.points_of([cell])
    assert decode.intensity == pytest.approx(OPERATIONS / (WEIGHTS + KV * CONTEXT))
    assert value(decode.rate) == pytest.approx(OPERATIONS * value(cell.speed.decode_tok_s))
    prompt = make_session.PREFILL
    computed = (OPERATIONS - HEAD) * prompt + HEAD
    assert prefill.intensity == pytest.approx(computed / (WEIGHTS + KV * prompt))
    assert value(prefill.rate) == pytest.approx(computed / prompt * value(cell.speed.prefill_tok_s))


def test_a_decode_point_stands_at_its_mbu_below_the_slope(tmp_path: Path) -> None:
    summary = summary_of(tmp_path, generating(), reading(10), multiplying(100))
    cell = by_id(summary)["g"]
    (roof,) = roofline.roofs_of(find_limits(summary.cells))
    decode = roofline.points_of([cell])[1]
    allowed = roof.at(decode.intensity)
    assert allowed is not None
    assert value(decode.rate) / allowed == pytest.approx(value(cell.mbu))


def test_there_is_no_roofline_without_a_limit_or_a_point(tmp_path: Path) -> None:
    assert roofline.roofline_chart(summary_of(tmp_path / "a", generating()).shown) is None
    assert roofline.roofline_chart(summary_of(tmp_path / "b", reading(10)).shown) is None
    assert roofline.roofline_chart(summary_of(tmp_path / "c", generating(), reading(10)).shown)


def test_labels_of_points_keep_apart(tmp_path: Path) -> None:
    twins = [generating(str(place_)) for place_ in range(6)]
    chart = roofline.roofline_chart(summary_of(tmp_path, *twins, reading(10)).shown)
    assert chart is not None
    layers = chart.spec["layer"]
    assert isinstance(layers, list)
    labels = layers[-1]["data"]["values"]
    bottom, top = chart.spec["encoding"]["y"]["scale"]["domain"]
    height = chart.spec["height"]
    assert isinstance(height, int)
    at_px = sorted(height * math.log(label["y"]) / math.log(top / bottom) for label in labels[:6])
    assert min(high - low for low, high in itertools.pairwise(at_px)) > 15


# -- every report -------------------------------------------------------------------------------


@pytest.fixture
def session(tmp_path: Path) -> Session:
    cells = [generating(), reading(10), multiplying(100), *OPERATORS]
    return Session(make_session.write(tmp_path / "all", cells))


def test_every_report_shows_shares_and_operators(session: Session) -> None:
    terminal = TerminalRenderer().render(session, {"width": 120})
    markdown = MarkdownRenderer().render(session, {})
    page = HtmlRenderer().render(session, {"charts": False})
    assert isinstance(page, str)
    for text in (terminal, markdown.replace("\\", ""), page):
        assert "J/GB" in text
        assert "J/TFLOP" in text
        assert "MBU" in text
        assert "q_proj" in text
    assert "Roofline" in page
    assert "Where a token's time and energy go" in page.replace("&#x27;", "'")


def test_all_operators_in_one_call_have_a_page_too(tmp_path: Path) -> None:
    """As a profile makes them that names no operator: there is nothing to draw bars of."""
    cells = [generating(**place(1)), reading(10), operator("all", 15_000, 1, 500e6)]
    session = Session(make_session.write(tmp_path / "one", cells))
    page = HtmlRenderer().render(session, {"charts": False})
    assert isinstance(page, str)
    assert "all in one call" in page


def test_machines_read_the_shares_too(session: Session) -> None:
    rows = {row["id"]: row for row in csv.DictReader(io.StringIO(CsvRenderer().render(session, {})))}
    assert float(rows["g"]["mbu"]) == pytest.approx(0.5, rel=0.03)
    assert rows["r"]["mbu"] == ""
    assert rows["r"]["work_rate_unit"] == "GB/s"
    document = json.loads(JsonRenderer().render(session, {}))
    assert [line["name"] for line in document["operators"][0]["lines"]] == ["q_proj", "head", "norm"]
    cells = {cell["id"]: cell for cell in document["cells"]}
    assert cells["g"]["mfu"]["value"] > 0
    assert cells["r"]["mbu"]["reason_if_null"]


def test_a_session_without_kernels_has_neither_section_nor_column(tmp_path: Path) -> None:
    session = Session(make_session.write(tmp_path / "plain", [generating()]))
    page = HtmlRenderer().render(session, {"charts": False})
    assert isinstance(page, str)
    assert "Roofline" not in page
    assert "MBU" not in TerminalRenderer().render(session, {"width": 140})
