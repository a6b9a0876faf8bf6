"""Pictures of an axis, of technique by backend, and of several sessions; drawn by Vega-Lite itself."""

from __future__ import annotations

from pathlib import Path

import make_session
import pytest
from make_session import Cell

from joulebench.session import Session
from joulebench_reports.charts.answerparts import answer_charts
from joulebench_reports.charts.drawing import svg
from joulebench_reports.charts.heat import heat_charts
from joulebench_reports.charts.scaling import scaling_charts
from joulebench_reports.charts.sessions import session_charts
from joulebench_reports.summary.joining import summary_of


def sessions(folder: Path, count: int, cells: list[Cell]) -> list[Session]:
    return [Session(make_session.write(folder / f"s{n}", cells)) for n in range(count)]


def test_a_number_that_cells_differ_in_has_a_line(tmp_path: Path) -> None:
    cells = [
        Cell(
            f"c{threads}{backend}",
            f"{backend} {threads}",
            backend=backend,
            joules_per_token=0.1 * threads,
            backend_settings={"threads": threads, "dtype": "f32"},
        )
        for threads in (1, 2, 16)
        for backend in ("torch", "onnx")
    ]
    summary, _ = summary_of(sessions(tmp_path, 1, cells))
    (chart,) = scaling_charts(summary.shown)
    assert chart.title.startswith("Energy against threads, smollm2-135m, chat")
    assert {row[0] for row in chart.rows} == {"none · torch", "none · onnx"}
    assert [row[1] for row in chart.rows[:3]] == ["1.00", "2.00", "16.0"]
    assert chart.spec["encoding"]["x"]["scale"]["type"] == "log"


def test_two_values_are_no_line(tmp_path: Path) -> None:
    cells = [Cell(f"c{n}", f"c{n}", backend_settings={"threads": n}) for n in (1, 2)]
    assert scaling_charts(summary_of(sessions(tmp_path, 1, cells))[0].shown) == []


def test_techniques_by_backends_are_a_map(tmp_path: Path) -> None:
    cells = [
        Cell(f"{t}{b}", f"{b} {t}", technique=t, backend=b, joules_per_token=j)
        for t, b, j in (("none", "torch", 0.5), ("int8", "torch", 0.3), ("none", "onnx", 0.2), ("int8", "onnx", 0.1))
    ]
    shown = summary_of(sessions(tmp_path, 1, cells))[0].shown
    (chart,) = heat_charts(shown)
    assert {(row[0], row[1]) for row in chart.rows} == {(c.technique, c.backend) for c in cells}
    assert heat_charts([cell for cell in shown if cell.backend == "onnx"]) == []


def test_cells_that_sessions_share_stand_side_by_side_and_over_time(tmp_path: Path) -> None:
    cells = [Cell("a", "base"), Cell("b", "lean", joules_per_token=0.2)]
    parts = summary_of(sessions(tmp_path, 2, cells))[0].parts
    assert [chart.title for chart in session_charts(parts)] == ["Sessions side by side, J/token – estimated"]
    assert session_charts(()) == []


def test_provenances_never_share_a_picture(tmp_path: Path) -> None:
    both = [Cell("a", "base"), Cell("b", "lean", energies={"measured": 1.0})]
    charts = session_charts(summary_of(sessions(tmp_path, 2, both))[0].parts)
    assert {chart.provenance for chart in charts} == {"measured", "estimated"}
    assert all(len({row[3] for row in chart.rows}) == 1 for chart in charts)


def test_every_such_picture_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("vl_convert")
    cells = [
        Cell(f"c{n}{t}", f"c{n} {t}", technique=t, backend=f"b{n}", backend_settings={"threads": n})
        for n in (1, 2, 3)
        for t in ("none", "int8")
    ]
    lines = [Cell(f"l{n}", f"l{n}", backend_settings={"threads": n}) for n in (1, 2, 3)]
    summary, _ = summary_of(sessions(tmp_path, 2, [*cells, *lines]))
    charts = [*session_charts(summary.parts), *heat_charts(summary.shown), *scaling_charts(summary.shown)]
    assert len({chart.title.split(",")[0] for chart in charts}) == 3
    for chart in charts:
        assert svg(chart).startswith("<svg")


def test_the_parts_of_an_answer_are_its_whole(tmp_path: Path) -> None:
    summary, _ = summary_of(sessions(tmp_path, 1, [Cell("a", "base"), Cell("b", "lean", joules_per_token=0.2)]))
    charts = answer_charts(summary.shown)
    assert [chart.provenance for chart in charts] == ["estimated"]
    assert [row[0] for row in charts[0].rows] == ["lean", "base"]
    cell = next(cell for cell in summary.shown if cell.label == "base")
    whole = (cell.headline.value or 0) * (cell.units_per_request or 0)
    total, *parts = (float(text) for text in charts[0].rows[1][1:5])
    assert total == pytest.approx(whole, rel=0.01)
    assert sum(parts) == pytest.approx(total, rel=0.01)
    pytest.importorskip("vl_convert")
    assert svg(charts[0]).startswith("<svg")
