"""What a cell saves against its baseline, where the truth is known."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import make_session
import pytest
from make_session import HOSTILE, Cell

from joulebench.errors import JoulebenchError
from joulebench.session.files import Session
from joulebench_reports.data.jsonreport import JsonRenderer
from joulebench_reports.html.page import HtmlRenderer
from joulebench_reports.summary.session import summarise
from joulebench_reports.text.markdown import MarkdownRenderer
from joulebench_reports.text.terminal import TerminalRenderer
from joulebench_reports.values.verdicts import Verdict, VerdictTable

BASE = Cell("a", "torch f32", processes=3)
OTHER = Cell("b", "torch int8", processes=3, backend_settings={"dtype": "int8"})


def tables(folder: Path, *cells: Cell, baseline: str | None = None, **more: Any) -> list[Any]:
    session = Session(make_session.write(folder / "s", list(cells), **more))
    return list(summarise(session, baseline).verdicts)


def verdict(folder: Path, *cells: Cell) -> Verdict:
    ((found,),) = ([*table.verdicts] for table in tables(folder, *cells))
    assert isinstance(found, Verdict)
    return found


@pytest.mark.parametrize(("joules", "outcome"), [(0.4, "saves"), (0.6, "costs more")])
def test_a_difference_is_told_with_its_interval(tmp_path: Path, joules: float, outcome: str) -> None:
    found = verdict(tmp_path, BASE, replace(OTHER, joules_per_token=joules))
    assert found.outcome == outcome
    match = re.fullmatch(r"(?:saves|costs) ([\d.]+) ± ([\d.]+) %(?: more)? \(est\.\)", found.text)
    assert match is not None
    assert abs(float(match[1]) - 20) < float(match[2]) + 1


def test_equal_cells_are_not_told_apart(tmp_path: Path) -> None:
    found = verdict(tmp_path, BASE, OTHER)
    assert found.outcome == "no difference shown"
    assert re.search(r"one of [\d.]+ % would have been", found.text)


def test_cells_of_different_groups_cannot_be_told(tmp_path: Path) -> None:
    later = replace(OTHER, joules_per_token=0.4, begins_s=1000.0)
    found = verdict(tmp_path, BASE, later)
    assert found.outcome == "cannot tell"
    assert "did not take turns (20 % less" in found.text


def test_blocks_too_short_for_the_sensor_are_the_reason(tmp_path: Path) -> None:
    short = replace(OTHER, energies={"measured": None}, energy_flags=["insufficient_resolution"])
    assert verdict(tmp_path, replace(BASE, energies={"measured": 1.0}), short).text == (
        "cannot tell: too short for this sensor"
    )


def test_provenances_are_never_compared_with_each_other(tmp_path: Path) -> None:
    measured = replace(OTHER, energies={"measured": 1.0})
    found = verdict(tmp_path, BASE, measured)
    assert found.text == "cannot tell: measured against estimated energy"
    both = replace(OTHER, energies={"measured": 9.0, "estimated": 0.8})
    assert verdict(tmp_path / "x", BASE, both).text.startswith("saves 19.74")


def test_few_blocks_and_no_blocks_cannot_tell(tmp_path: Path) -> None:
    single = (replace(BASE, blocks=1, processes=1), replace(OTHER, blocks=1, processes=1))
    assert verdict(tmp_path, *single).text == "cannot tell: too few blocks"


def test_many_cells_are_judged_together_and_it_is_said(tmp_path: Path) -> None:
    cells = [Cell(f"c{i}", f"c{i}", backend_settings={"n": i}, samples=False, noise=0.05) for i in range(40)]
    (table,) = tables(tmp_path, *cells)
    assert sum(v.outcome in ("saves", "costs more") for v in table.verdicts) <= 1
    assert "all 39 cells together (Holm's correction)" in table.note
    assert {v.comparison.compared_with for v in table.verdicts} == {39}


def test_a_claim_from_one_process_says_so(tmp_path: Path) -> None:
    cheap = replace(OTHER, joules_per_token=0.3)
    (several,) = tables(tmp_path / "x", BASE, cheap)
    (single,) = tables(tmp_path / "y", replace(BASE, processes=1), replace(cheap, processes=1))
    assert "one process" in single.note
    assert "one process" not in several.note


def test_the_agreement_reference_is_the_baseline_else_the_first_cell(tmp_path: Path) -> None:
    assert tables(tmp_path / "x", BASE, OTHER)[0].baseline == "torch f32"
    plan = {
        "cells": [{"id": "a"}, {"id": "b"}],
        "references": [
            {"model": "smollm2-135m", "backend": "torch", "device": "cpu", "backend_settings": {"dtype": "int8"}}
        ],
    }
    (table,) = tables(tmp_path / "y", BASE, OTHER, plan_json=json.dumps(plan))
    assert table.baseline == "torch int8"
    sparse = replace(OTHER, technique="sparse")
    (table,) = tables(tmp_path / "z", BASE, sparse, plan_json=json.dumps(plan))
    assert table.baseline == "torch f32"


def test_only_cells_of_the_same_work_are_held_against_each_other(tmp_path: Path) -> None:
    cells = [BASE, OTHER, *(replace(c, id=c.id * 2, label=f"{c.label} long", workload="long") for c in (BASE, OTHER))]
    found = tables(tmp_path, *cells)
    assert [(t.workload, t.baseline, len(t.verdicts)) for t in found] == [
        ("chat", "torch f32", 1),
        ("long", "torch f32 long", 1),
    ]


def test_a_baseline_can_be_named_and_a_wrong_name_is_an_error(tmp_path: Path) -> None:
    (table,) = tables(tmp_path / "x", BASE, OTHER, baseline="torch int8")
    assert (table.baseline, [v.label for v in table.verdicts]) == ("torch int8", ["torch f32"])
    with pytest.raises(JoulebenchError, match=r"(?s)named 'torch int9'.*did you mean 'torch int8'"):
        tables(tmp_path / "y", BASE, OTHER, baseline="torch int9")


@pytest.mark.parametrize("renderer", [TerminalRenderer, MarkdownRenderer, JsonRenderer, HtmlRenderer])
def test_every_report_shows_the_verdicts_and_takes_a_baseline(tmp_path: Path, renderer: Any) -> None:
    cells = [BASE, replace(OTHER, joules_per_token=0.4)]
    session = Session(make_session.write(tmp_path / "s", cells))
    plain = {"charts": False, "width": 120} if renderer is HtmlRenderer else {"width": 120}
    text = renderer().render(session, plain)
    assert re.search(r"saves (19|20|21)\.", text)
    named = renderer().render(session, {**plain, "baseline": "torch int8"})
    assert re.search(r"costs 2\d\.?\d* ± [\d.]+ % more", named)


@pytest.mark.parametrize("renderer", [TerminalRenderer, MarkdownRenderer, HtmlRenderer])
def test_hostile_labels_stay_inert(tmp_path: Path, renderer: Any) -> None:
    cells = [replace(BASE, label=HOSTILE, workload=HOSTILE), replace(OTHER, label=f"{HOSTILE} 2", workload=HOSTILE)]
    session = Session(make_session.write(tmp_path / "s", cells))
    text = renderer().render(session, {"charts": False})
    assert "\x1b" not in text
    if renderer is not TerminalRenderer:
        assert "<img" not in text


def test_a_table_says_what_it_compares() -> None:
    table = VerdictTable("m", "chat", "a", "torch f32", ())
    assert table.caption == "Energy against torch f32 (chat)"
    assert "Holm" not in table.note
