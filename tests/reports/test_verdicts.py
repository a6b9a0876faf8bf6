"""What a cell saves against its baseline, where the truth is known."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import make_session
import pytest
from make_session import HOSTILE, Cell

from joulebench.errors import JoulebenchError
from joulebench.session import Session
from joulebench_reports.renderers import HtmlRenderer, JsonRenderer, MarkdownRenderer, TerminalRenderer
from joulebench_reports.summary.session import summarise
from joulebench_reports.values.verdicts import Verdict, VerdictTable

MEASURED: dict[str, float | None] = {"measured": 1.0}
ESTIMATED: dict[str, float | None] = {"estimated": 1.0}
BASE = Cell("a", "torch f32", processes=3, energies=MEASURED)
OTHER = Cell("b", "torch int8", processes=3, energies=MEASURED, backend_settings={"dtype": "int8"})


def tables(folder: Path, *cells: Cell, baseline: str | None = None, **more: Any) -> list[Any]:
    session = Session(make_session.write(folder / "s", list(cells), **more))
    return list(summarise(session, baseline).verdicts)


def verdict(folder: Path, *cells: Cell) -> Verdict:
    ((result,),) = ([*table.verdicts] for table in tables(folder, *cells))
    assert isinstance(result, Verdict)
    return result


@pytest.mark.parametrize(("joules", "outcome"), [(0.4, "saves"), (0.6, "costs more")])
def test_a_difference_is_told_with_its_interval(tmp_path: Path, joules: float, outcome: str) -> None:
    result = verdict(tmp_path, BASE, replace(OTHER, joules_per_token=joules))
    assert result.outcome == outcome
    match = re.fullmatch(r"(?:saves|costs) ([\d.]+) ± ([\d.]+) %(?: more)?", result.text)
    assert match is not None
    assert abs(float(match[1]) - 20) < float(match[2]) + 1


def test_equal_cells_are_not_told_apart(tmp_path: Path) -> None:
    result = verdict(tmp_path, BASE, OTHER)
    assert result.outcome == "no difference shown"
    assert re.search(r"would have detected ≥ [\d.]+ %", result.text)


def test_cells_of_different_groups_cannot_be_told(tmp_path: Path) -> None:
    later = replace(OTHER, joules_per_token=0.4, begins_s=1000.0)
    result = verdict(tmp_path, BASE, later)
    assert result.outcome == "cannot tell"
    assert "did not take turns (20 % less" in result.text


def test_blocks_too_short_for_the_sensor_are_the_reason(tmp_path: Path) -> None:
    short = replace(OTHER, energies={"measured": None}, energy_flags=["insufficient_resolution"])
    assert verdict(tmp_path, replace(BASE, energies={"measured": 1.0}), short).text == (
        "cannot tell: too short for this sensor"
    )


def test_provenances_are_never_compared_with_each_other(tmp_path: Path) -> None:
    estimated = replace(BASE, energies=ESTIMATED)
    result = verdict(tmp_path, estimated, OTHER)
    assert result.text == "cannot tell: measured against estimated energy"
    both = replace(OTHER, energies={"measured": 9.0, "estimated": 0.4})
    assert verdict(tmp_path / "x", estimated, both).text.startswith("saves 60 [")


def test_a_ratio_of_estimates_carries_the_models_error(tmp_path: Path) -> None:
    base, other = (replace(cell, energies=ESTIMATED) for cell in (BASE, OTHER))
    near = verdict(tmp_path / "1", base, replace(other, joules_per_token=0.34))
    assert near.text == "cannot tell: 32 % less is within the error of the estimate's model"
    far = verdict(tmp_path / "2", base, replace(other, joules_per_token=0.2))
    assert far.outcome == "saves"
    assert far.text.endswith("(est.)")
    assert far.comparison is not None
    assert (far.comparison.u_log or 0) >= 0.2
    assert verdict(tmp_path / "3", BASE, replace(OTHER, joules_per_token=0.34)).outcome == "saves"


def test_an_estimate_errs_more_where_the_load_differs(tmp_path: Path) -> None:
    base, other = (replace(cell, energies=ESTIMATED) for cell in (BASE, OTHER))
    half = replace(other, joules_per_token=0.2, threads_busy=0.25)
    comparison = verdict(tmp_path, base, half).comparison
    assert comparison is not None
    assert (comparison.u_log or 0) == pytest.approx(math.hypot(0.2, math.log(4) / math.sqrt(3)), rel=0.02)


def test_a_ratio_of_times_is_called_one(tmp_path: Path) -> None:
    base = replace(BASE, energies=ESTIMATED)
    slower = replace(OTHER, energies=ESTIMATED, joules_per_token=1.5, seconds=6.0)
    (table,) = tables(tmp_path, base, slower)
    assert table.verdicts[0].text.endswith("more (est., time-derived)")
    assert "Time-derived" in table.note


def test_a_process_is_no_program(tmp_path: Path) -> None:
    one = [replace(cell, processes=1) for cell in (BASE, OTHER)]
    result = verdict(tmp_path / "1", one[0], replace(one[1], joules_per_token=0.46))
    assert re.fullmatch(r"cannot tell: one process each \(7\.\d % less, if process starts do not differ\)", result.text)
    assert verdict(tmp_path / "2", BASE, replace(OTHER, joules_per_token=0.46)).outcome == "saves"
    assert verdict(tmp_path / "3", one[0], replace(one[1], joules_per_token=0.3)).outcome == "saves"


def test_the_spread_from_run_to_run_is_in_the_verdict_or_said_to_be_unknown(tmp_path: Path) -> None:
    cheaper = replace(OTHER, joules_per_token=0.46)
    (table,) = tables(tmp_path / "1", BASE, cheaper)
    assert "was not measured on this machine" in table.note
    recorded = json.dumps({"run_to_run_sigma": 0.05, "run_to_run_runs": 10})
    (wide,) = tables(tmp_path / "2", BASE, cheaper, preflight_json=recorded)
    assert wide.verdicts[0].text == "cannot tell: 7.7 % less is within the spread from run to run"
    assert "measured on this machine" in wide.note


def test_the_last_repeat_of_a_round_counts_in_table_and_verdict(tmp_path: Path) -> None:
    disturbed = replace(OTHER, repeats={4: 3.0, 9: 5.0}, block_flags={4: ["contended"]}, joules_per_token=0.4)
    session = Session(make_session.write(tmp_path / "s", [BASE, disturbed]))
    summary = summarise(session)
    base, cell = summary.shown
    (verdict,) = summary.verdicts[0].verdicts
    assert verdict.comparison is not None
    assert cell.headline.value is not None
    assert base.headline.value is not None
    assert verdict.comparison.ratio == pytest.approx(cell.headline.value / base.headline.value)
    assert cell.headline.value == pytest.approx(0.4, rel=0.02)
    assert (cell.blocks, {flag.flag: flag.blocks for flag in cell.flags}["repeated"]) == (20, 2)
    assert session.table("blocks", "b").num_rows == 22


def test_cells_of_different_groups_are_compared_through_an_anchor(tmp_path: Path) -> None:
    anchor = replace(BASE, id="r", label="anchor", blocks=40, processes=4)
    early = replace(BASE, blocks=20)
    late = replace(OTHER, first_round=20, begins_s=0.0, joules_per_token=0.4)
    (table,) = tables(tmp_path, early, late, anchor)
    verdict = {verdict.label: verdict for verdict in table.verdicts}["torch int8"]
    assert verdict.outcome == "saves"
    assert "through one that took turns with both" in table.note


def test_few_blocks_and_no_blocks_cannot_tell(tmp_path: Path) -> None:
    single = (replace(BASE, blocks=1, processes=1), replace(OTHER, blocks=1, processes=1))
    assert verdict(tmp_path, *single).text == "cannot tell: too few blocks"


def test_many_cells_are_judged_together_and_it_is_said(tmp_path: Path) -> None:
    cells = [
        replace(BASE, id=f"c{i}", label=f"c{i}", backend_settings={"n": i}, samples=False, noise=0.05)
        for i in range(40)
    ]
    (table,) = tables(tmp_path, *cells)
    assert sum(v.outcome in ("saves", "costs more") for v in table.verdicts) <= 1
    assert "all 39 cells together (Bonferroni; decisions by Holm's rule)" in table.note
    assert {v.comparison.compared_with for v in table.verdicts} == {39}


def test_a_claim_from_one_process_says_what_it_assumes(tmp_path: Path) -> None:
    cheap = replace(OTHER, joules_per_token=0.3)
    (several,) = tables(tmp_path / "x", BASE, cheap)
    (single,) = tables(tmp_path / "y", replace(BASE, processes=1), replace(cheap, processes=1))
    assert "starts are assumed to differ by 4.0 % (1 σ)" in single.note
    assert "assumed" not in several.note


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
    result = tables(tmp_path, *cells)
    assert [(t.workload, t.baseline, len(t.verdicts)) for t in result] == [
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
