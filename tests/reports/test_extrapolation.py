"""Whole models by some of their layers: what a session of them says, and how it is labelled."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import make_session
import pytest
from make_session import Cell

from joulebench.session import Session
from joulebench_reports.data.jsonformat import EXTRAPOLATIONS
from joulebench_reports.renderers import HtmlRenderer, JsonRenderer, MarkdownRenderer, TerminalRenderer
from joulebench_reports.summary.session import summarise
from joulebench_reports.values.extrapolations import Extrapolation

MEASURED: dict[str, float | None] = {"measured": 1.0}


def session_of(folder: Path, joules: dict[int, float], whole: int = 30, **more: Any) -> Session:
    """A cell for each number of layers, with its joules a token."""
    cells = [
        Cell(
            f"c{layers}", f"torch layers={layers}", joules_per_token=value, energies=MEASURED, seconds=4 * value, **more
        )
        for layers, value in joules.items()
    ]
    plan = [
        {
            "id": f"c{layers}",
            "label": f"torch layers={layers}",
            "workload_plugin": "chat",
            "technique": "none",
            "backend": "torch",
            "workload": "chat",
            "depth": {"shape": "big", "layers": layers, "whole": whole},
        }
        for layers in joules
    ]
    return Session(make_session.write(folder / "s", cells, plan_json=json.dumps({"cells": plan})))


def extrapolation(session: Session) -> Extrapolation:
    (made,) = summarise(session).extrapolations
    return made


def test_the_whole_is_computed_from_two_depths_and_labelled(tmp_path: Path) -> None:
    made = extrapolation(session_of(tmp_path, {8: 0.5, 16: 0.9}))
    assert (made.shape, made.layers, made.depths, made.label) == ("big", 30, (8, 16), "torch chat")
    energy = made.quantities[0]
    assert energy.name == "energy"
    assert energy.whole.provenance == "extrapolated"
    assert energy.whole.value == pytest.approx(1.6, rel=0.03)
    assert energy.whole.low is not None
    assert energy.whole.low < 1.6 < (energy.whole.high or 0)
    assert "measured energy" in energy.whole.method
    assert energy.measured is None
    assert [quantity.name for quantity in made.quantities] == [
        "energy",
        "net energy",
        "time",
        "time to first token",
        "time per output token",
    ]


def test_where_the_whole_was_measured_the_error_is_told(tmp_path: Path) -> None:
    made = extrapolation(session_of(tmp_path, {8: 0.5, 16: 0.9, 30: 2.0}))
    energy, time = made.quantities[0], made.quantities[2]
    assert energy.error == pytest.approx(-0.2, abs=0.03)
    assert energy.holds is False
    assert time.measured is not None
    assert time.measured.unit == "s/token"


def test_depths_that_cost_the_same_give_no_figures_and_say_so(tmp_path: Path) -> None:
    session = session_of(tmp_path, {8: 0.9, 16: 0.5, 30: 2.0})
    made = extrapolation(session)
    assert {quantity.whole.value for quantity in made.quantities} == {None}
    assert "16 layers cost no more than 8" in (made.quantities[0].whole.reason_if_null or "")
    assert (made.quantities[0].measured is None, made.quantities[0].error) == (False, None)
    assert "Not extrapolated: 16 layers" in " ".join(TerminalRenderer().render(session, {}).split())


@pytest.mark.parametrize("joules", [{8: 0.5}, {30: 1.0}, {8: 0.5, 30: 1.0}])
def test_one_depth_below_the_whole_says_nothing(tmp_path: Path, joules: dict[int, float]) -> None:
    assert summarise(session_of(tmp_path, joules)).extrapolations == ()


def test_every_report_has_it_with_its_label(tmp_path: Path) -> None:
    session = session_of(tmp_path, {8: 0.5, 16: 0.9})
    for renderer in (TerminalRenderer(), MarkdownRenderer(), HtmlRenderer()):
        text = renderer.render(session, renderer.default_settings())
        assert "extrap" in str(text), renderer.name
    (made,) = json.loads(JsonRenderer().render(session, {}))["extrapolations"]
    assert made["quantities"][0]["whole"]["provenance"] == "extrapolated"


def test_a_part_of_a_model_is_nothing_to_deploy(tmp_path: Path) -> None:
    summary = summarise(session_of(tmp_path, {8: 0.5, 16: 0.9, 30: 2.0}))
    assert [pick.label for answer in summary.answers for pick in answer.picks if pick.goal == "fastest"] == [
        "torch layers=30"
    ]
    assert summarise(session_of(tmp_path / "parts", {8: 0.5, 16: 0.9})).answers == ()


def test_it_is_never_among_what_is_ranked(tmp_path: Path) -> None:
    summary = summarise(session_of(tmp_path, {8: 0.5, 16: 0.9}))
    assert {cell.headline.provenance for cell in summary.cells} == {"measured"}


def test_the_command_answers_and_says_where_there_is_nothing(cli: Any, tmp_path: Path) -> None:
    session = session_of(tmp_path, {8: 0.5, 16: 0.9})
    answer = cli("extrapolate", str(session.path), "--json")
    assert answer.code == 0
    document = json.loads(answer.stdout)
    assert document["format"] == EXTRAPOLATIONS.name
    assert document["extrapolations"][0]["layers"] == 30
    assert "8 and 16" in cli("extrapolate", str(session.path)).stdout
    other = make_session.write(tmp_path / "other", [Cell("a", "a")])
    nothing = cli("extrapolate", str(other))
    assert nothing.code == 1
    assert "layers = [8, 16]" in nothing.stdout
