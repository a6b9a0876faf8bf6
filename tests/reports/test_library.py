"""joulebench from Python: sessions loaded, framed, compared, drawn."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from importlib import resources
from pathlib import Path

import make_session
import pytest
from make_session import HOSTILE, Cell

import joulebench
from joulebench.errors import JoulebenchError, SessionError
from joulebench.runs.starting import Progress
from joulebench.session import Session
from joulebench_reports.charts.palette import LIGHT, coloured
from joulebench_reports.library.card import card_svg
from joulebench_reports.library.result import Result
from joulebench_reports.renderers import CardRenderer, ChartRenderer


@pytest.fixture
def result(tmp_path: Path) -> Result:
    cells = [
        Cell("a", "base", processes=3, energies={"measured": 1.0}, cell_flags=[]),
        Cell("b", "lean", processes=3, energies={"measured": 1.0}, joules_per_token=0.25, perplexity=18.0),
    ]
    return joulebench.load(make_session.write(tmp_path / "session", cells))


def test_a_frame_has_a_row_for_each_figure_with_its_unit_and_provenance(result: Result) -> None:
    frame = result.frame("pandas").set_index(["cell", "metric", "provenance"])
    energy = frame.loc[("lean", "gross_j_per_unit", "measured")]
    assert energy["value"] == pytest.approx(0.25, rel=0.02)
    assert energy["low"] < energy["value"] < energy["high"]
    assert energy["unit"] == "J/token"
    assert frame.loc[("base", "decode_tok_per_s", "measured")]["unit"] == "tok/s"
    assert not frame["value"].isna().any()


def test_pandas_polars_and_arrow_hold_the_same_rows(result: Result) -> None:
    table = result.table()
    assert result.frame().shape[0] == result.frame("polars").height == table.num_rows
    assert result.frame("polars")["metric"].to_list() == table["metric"].to_pylist()


def test_an_unknown_frame_library_is_named_with_those_that_there_are(result: Result) -> None:
    with pytest.raises(JoulebenchError, match="modin") as caught:
        result.frame("modin")  # type: ignore[arg-type]
    assert "polars" in str(caught.value.hint)


def test_the_best_is_what_advise_deploys(result: Result) -> None:
    best = result.best("energy")
    assert best is not None
    assert best.label == "lean"
    assert result.best("energy", max_loss=0.01) is not None
    assert result.best("energy", max_loss=0.01).label == "base"  # type: ignore[union-attr]
    with pytest.raises(JoulebenchError, match="no workload 'chess'"):
        result.best(workload="chess")


def test_two_cells_are_compared_by_label_or_id(result: Result) -> None:
    assert result.compare("lean", "base").outcome == "saves"
    assert result.compare("b", "a").comparison == result.compare("lean", "base").comparison
    with pytest.raises(JoulebenchError, match="no cell with figures is named 'fat'"):
        result.compare("fat", "base")


def test_a_notebook_shows_the_answer_and_the_table_and_no_markup_of_a_stranger(tmp_path: Path) -> None:
    result = joulebench.load(make_session.write(tmp_path / HOSTILE.replace("/", "_"), [Cell("a", HOSTILE)]))
    shown = result._repr_html_()
    assert "<img" not in shown
    assert "J/token" in shown
    assert "\x1b" not in repr(result)


def test_pictures_are_saved_as_svg_and_png(result: Result, tmp_path: Path) -> None:
    pytest.importorskip("vl_convert")
    (svg,) = result.plot.energy().save(tmp_path / "energy.svg")
    assert ET.fromstring(svg.read_text(encoding="utf-8")).tag.endswith("svg")  # noqa: S314 (our own)
    (png, *_) = result.plot.speed().save(tmp_path / "speed.png")
    assert png.read_bytes().startswith(b"\x89PNG")
    with pytest.raises(JoulebenchError, match=r"'\.gif' files"):
        result.plot.energy().save(tmp_path / "energy.gif")


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(SessionError, match="no session is there"):
        joulebench.load(tmp_path / "nowhere*")
    with pytest.raises(JoulebenchError, match="at least one"):
        joulebench.load()


# -- pictures from the command line ----------------------------------------------------------------


def test_a_card_has_the_answer_and_its_grade_and_is_inert(tmp_path: Path) -> None:
    session = Session(make_session.write(tmp_path / "s", [Cell("a", HOSTILE), Cell("b", "lean", joules_per_token=0.2)]))
    picture = CardRenderer().render(session, {})
    assert isinstance(picture, str)
    root = ET.fromstring(picture)  # noqa: S314 (our own)
    words = " ".join(node.text or "" for node in root.iter())
    assert "least energy" in words
    assert "trust" in words
    assert {node.tag.rpartition("}")[2] for node in root.iter()} <= {"svg", "rect", "text", "circle"}


def test_a_card_of_poor_sessions_is_still_a_picture(poor_session: Session) -> None:
    ET.fromstring(card_svg(Result([poor_session]).summary))  # noqa: S314 (our own)


def test_a_session_without_figures_has_no_chart_and_says_so(tmp_path: Path) -> None:
    session = Session(make_session.write(tmp_path / "s", [Cell("a", "a", status="failed", cause="gone")]))
    with pytest.raises(JoulebenchError, match="no cells have what a picture of energy shows"):
        ChartRenderer().render(session, {})


def test_a_chart_that_is_not_there_names_those_that_are(session: Session) -> None:
    pytest.importorskip("vl_convert")
    with pytest.raises(JoulebenchError, match="no picture 9 of energy") as caught:
        ChartRenderer().render(session, {"chart": "energy", "number": 9})
    assert "J/token" in str(caught.value.hint)


def test_pictures_outside_of_the_page_have_its_light_colours() -> None:
    css = (resources.files("joulebench_reports.html") / "assets" / "page.css").read_text("utf-8")
    light = css.split("@media")[0]
    assert {name: f"--{name}: {colour};" in light for name, colour in LIGHT.items()} == dict.fromkeys(LIGHT, True)


def test_data_of_a_stranger_is_no_colour() -> None:
    spec = {"color": "var:--ink", "data": {"values": [{"cell": "var:--ink"}]}}
    assert coloured(spec) == {"color": LIGHT["ink"], "data": {"values": [{"cell": "var:--ink"}]}}


# -- measuring from Python -------------------------------------------------------------------------

#: A few blocks of a model that is a shape alone.
SHORT = """
version = 1
[model.tiny]
source = "shape:tiny-llama"
[backend.onnx]
[workload.decode]
[protocol]
processes = 1
min_blocks = 4
max_blocks = 9
block_s = 0.05
warmup_min_s = 0.0
warmup_requests = 1
idle_s = 0.1
"""


def test_a_profile_is_measured_and_its_result_is_at_hand(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    profile = tmp_path / "short.toml"
    profile.write_text(SHORT, encoding="utf-8")
    steps: list[Progress] = []
    result = joulebench.run(profile, {"protocol.max_blocks": 5}, out=tmp_path / "out", progress=steps.append)
    assert [cell.label for cell in result.cells] == ["onnx decode"]
    assert result.paths[0].parent == tmp_path / "out"
    assert result.sessions[0].row.overrides == ("protocol.max_blocks=5",)
    assert {"block", "ok"} <= {step.text for step in steps}


def test_a_profile_that_cannot_run_is_an_error_and_leaves_no_session(tmp_path: Path) -> None:
    with pytest.raises(JoulebenchError, match="nosuch"):
        joulebench.run("nosuch", out=tmp_path / "out")
    with pytest.raises(JoulebenchError, match="of type dict is not a value"):
        joulebench.run("quick", {"protocol.max_blocks": {"a": 1}}, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
