"""What to deploy: the best under limits, how sure that is, and the Pareto front."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import make_session
import pytest
from click.testing import CliRunner
from make_session import HOSTILE, Cell

from joulebench.errors import JoulebenchError
from joulebench.session import Session
from joulebench_reports.commands.advise import advise as command
from joulebench_reports.judging.advice import Advice, advise
from joulebench_reports.judging.constraints import parse_constraint
from joulebench_reports.judging.workgroups import SessionWork
from joulebench_reports.summary.session import summarise
from joulebench_reports.values.pareto import OBJECTIVES, Candidate, Objective, pareto_front

F32 = Cell("a", "f32", processes=3, joules_per_token=0.5, peak_mib=600, perplexity=20.0)
INT8 = Cell(
    "b",
    "int8",
    processes=3,
    joules_per_token=0.3,
    peak_mib=300,
    perplexity=20.3,
    technique="int8",
    backend_settings={"dtype": "int8"},
)
INT4 = Cell(
    "c",
    "int4",
    processes=3,
    joules_per_token=0.2,
    peak_mib=200,
    perplexity=24.0,
    technique="int4",
    backend_settings={"dtype": "int4"},
)


def write(folder: Path, *cells: Cell) -> Path:
    return make_session.write(folder / "s", list(cells))


def advised(
    folder: Path,
    *cells: Cell,
    aim: Any = "energy",
    limits: Any = (),
    max_loss: float | None = None,
    objectives: Any = OBJECTIVES,
) -> Advice:
    session = Session(write(folder, *cells))
    shown = summarise(session).shown
    (advice,) = advise(SessionWork(session), shown, aim, [parse_constraint(x) for x in limits], max_loss, objectives)
    return advice


def run(*arguments: str | Path) -> tuple[int, str]:
    done = CliRunner().invoke(command, list(map(str, arguments)), standalone_mode=False)
    if done.exception is not None:
        raise done.exception
    return done.return_value, done.stdout


def label(advice: Advice) -> str | None:
    return None if advice.best is None else advice.best.label


def test_the_cheapest_that_keeps_the_limits_is_advised(tmp_path: Path) -> None:
    cells = (F32, INT8, INT4)
    assert label(advised(tmp_path / "1", *cells)) == "int4"
    bounded = advised(tmp_path / "2", *cells, max_loss=0.02)
    assert label(bounded) == "int8"
    assert bounded.refused == (("int4", "perplexity +20.0 %, more than the limit of +2 %"),)
    assert bounded.reference == "f32"
    small = advised(tmp_path / "3", *cells, max_loss=0.02, limits=["peak_memory<250MiB"])
    assert label(small) is None
    assert dict(small.refused)["int8"] == "peak memory 300 MiB, where peak memory < 250 MiB is asked for"


MEASURED: dict[str, float | None] = {"measured": 1.0}


def measured(*cells: Cell) -> list[Cell]:
    return [replace(cell, energies=MEASURED) for cell in cells]


def test_a_cell_of_which_no_difference_is_shown_is_as_good(tmp_path: Path) -> None:
    twin = replace(INT4, id="d", label="int4 too", backend="onnx")
    advice = advised(tmp_path, *measured(F32, INT4, twin))
    assert {label(advice), *(cell.label for cell in advice.as_good)} == {"int4", "int4 too"}
    (code, text) = run(tmp_path / "s", "--max-loss", "none")
    assert code == 0
    assert "As good (a difference of 10% would have been detected)\n  int4" in text
    assert "no significant difference" in text
    assert "Next\n  f32: costs 15" in text


def test_what_is_not_shown_is_not_recommended(tmp_path: Path) -> None:
    near = replace(INT4, id="d", label="int4 too", backend="onnx", joules_per_token=0.21)
    single = [replace(cell, processes=1) for cell in measured(F32, INT4, near)]
    advice = advised(tmp_path / "1", *single)
    assert (advice.best, [cell.label for cell in advice.undecided]) == (None, ["int4 too"])
    code, text = run(tmp_path / "1" / "s", "--max-loss", "none")
    assert code == 1
    assert "No recommendation" in text
    assert "Run again with --set protocol.processes=3" in text
    assert "Deploy" not in text
    noisy = [replace(cell, noise=0.8, blocks=6) for cell in measured(INT4, near)]
    assert "more blocks" in str(advised(tmp_path / "2", *noisy).cure)
    estimates = advised(tmp_path / "3", INT4, replace(near, joules_per_token=0.25))
    assert estimates.best is None
    assert "an energy sensor" in str(estimates.cure)


def test_a_multiple_of_the_energy_is_behind_also_without_turns(tmp_path: Path) -> None:
    elsewhere = replace(F32, id="z", label="elsewhere", joules_per_token=5.6, begins_s=1000.0)
    advice = advised(tmp_path, *measured(INT4, elsewhere))
    assert label(advice) == "int4"
    assert advice.ranked[1].standing == "behind"
    assert advice.as_good == ()


def test_quality_is_limited_unless_it_is_said_otherwise(tmp_path: Path) -> None:
    folder = write(tmp_path, *measured(F32, INT8, INT4))
    text = run(folder)[1]
    assert "Deploy int8" in text
    assert "int4: perplexity +20.0 %, more than the limit of +5 %" in text
    assert "Quality: at most +5% perplexity" in text
    assert "Deploy int4" in run(folder, "--max-loss", "none")[1]


def test_provenances_are_never_ranked_together(tmp_path: Path) -> None:
    measured = [replace(cell, energies={"measured": 1.0}) for cell in (F32, INT8)]
    cheap_estimate = replace(INT4, joules_per_token=0.001)
    advice = advised(tmp_path, *measured, cheap_estimate)
    assert (label(advice), advice.provenance) == ("int8", "measured")
    assert advice.refused == (("int4", "estimated energy only, which is not ranked with measured"),)
    in_time = advised(tmp_path / "x", *measured, cheap_estimate, aim="time")
    assert {advice.label for advice in in_time.ranked} == {"f32", "int8", "int4"}


def test_the_best_in_time_or_memory(tmp_path: Path) -> None:
    slow = replace(INT4, seconds=4.0)
    advice = advised(tmp_path / "1", F32, slow, aim="time")
    assert label(advice) == "f32"
    assert advice.ranked[1].verdict is not None
    assert advice.ranked[1].verdict.outcome == "costs more"
    assert label(advised(tmp_path / "2", F32, slow, aim="memory")) == "int4"


def test_what_is_unknown_keeps_no_limit(tmp_path: Path) -> None:
    unscored = replace(INT4, perplexity=None)
    advice = advised(tmp_path / "1", F32, unscored, max_loss=0.5)
    assert advice.refused == (("int4", "loss of perplexity unknown: it was not measured for the cell"),)
    limited = advised(tmp_path / "2", F32, INT8, limits=["device_memory<1GB"])
    assert label(limited) is None
    assert "device memory unknown" in limited.refused[0][1]


def test_without_energy_nothing_is_advised_by_energy(tmp_path: Path) -> None:
    blind = [replace(cell, energies={}) for cell in (F32, INT8)]
    assert label(advised(tmp_path / "1", *blind)) is None
    assert run(tmp_path / "1" / "s")[0] == 1
    assert label(advised(tmp_path / "2", *blind, aim="memory")) == "int8"


def test_an_interval_that_reaches_beyond_a_limit_is_told(tmp_path: Path) -> None:
    noisy = replace(INT8, noise=0.2)
    advice = advised(tmp_path / "x", F32, noisy, limits=["energy<0.33J"])
    assert advice.best is not None
    assert advice.best.doubts == ("the interval of its energy reaches beyond energy < 0.33 J",)
    assert advised(tmp_path / "y", F32, INT8, limits=["energy<0.33J"]).ranked[0].doubts == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("peak_memory", "is not NAME<VALUE"),
        ("peak_memory<", "is not NAME<VALUE"),
        ("peak_memory<-5MB", "is not NAME<VALUE"),
        ("peek_memory<5MB", r"(?s)no quantity 'peek_memory'.*did you mean 'peak_memory'"),
        ("peak_memory<5", "peak_memory needs a unit"),
        ("peak_memory<5 parsec", "peak_memory has no unit 'parsec'"),
    ],
)
def test_a_limit_that_is_none_is_explained(text: str, message: str) -> None:
    with pytest.raises(JoulebenchError, match=message):
        parse_constraint(text)


def test_limits_are_read_with_their_units() -> None:
    assert parse_constraint("peak_memory<500MB").value == 500e6
    assert parse_constraint(" ttft <= 200 ms ").value == pytest.approx(0.2)
    assert parse_constraint("rate>=1e1").comparison == ">="


# -- the front ---------------------------------------------------------------------------------


def candidate(name: str, **values: float | None) -> Candidate:
    given: Mapping[Any, float | None] = values
    return Candidate(name, name, given)


def never(one: str, other: str, objective: Objective) -> bool:
    return False


def always(one: str, other: str, objective: Objective) -> bool:
    return True


def test_a_cell_that_another_beats_in_everything_is_off_the_front() -> None:
    cells = [
        candidate("a", energy=1.0, memory=100.0),
        candidate("b", energy=2.0, memory=50.0),
        candidate("c", energy=2.5, memory=120.0),
    ]
    front = pareto_front(cells, ("energy", "memory"), always)
    assert (front.on, front.off) == (("a", "b"), (("c", "a"),))


def test_a_difference_that_is_not_shown_keeps_a_cell_on_the_front() -> None:
    cells = [candidate("a", energy=1.0, memory=100.0), candidate("b", energy=1.1, memory=100.5)]
    assert pareto_front(cells, ("energy", "memory"), never).on == ("a", "b")
    assert pareto_front(cells, ("energy", "memory"), always).off == (("b", "a"),)


def test_an_objective_that_no_cell_has_is_left_out_and_a_gap_is_not_placed() -> None:
    cells = [candidate("a", energy=1.0, loss=None), candidate("b", energy=None, loss=None)]
    front = pareto_front(cells, ("energy", "loss"), always)
    assert (front.objectives, front.left_out) == (("energy",), ("loss",))
    assert (front.on, front.unplaced) == (("a",), (("b", "energy"),))
    assert pareto_front([], ("energy",), always).on == ()


def test_the_front_of_a_session(tmp_path: Path) -> None:
    worse = replace(F32, id="w", label="wasteful", joules_per_token=0.6, peak_mib=700, backend="onnx")
    advice = advised(tmp_path, F32, INT8, INT4, worse, objectives=("energy", "loss", "memory"))
    assert set(advice.front.on) == {"f32", "int8", "int4"}
    assert advice.front.off == (("wasteful", "f32"),)


def test_advice_as_json_and_inert_text(tmp_path: Path) -> None:
    folder = write(
        tmp_path, replace(F32, label=HOSTILE, workload=HOSTILE), replace(INT8, label=f"{HOSTILE} 2", workload=HOSTILE)
    )
    code, text = run(folder, "--limit", "peak_memory<500MB")
    assert code == 0
    assert "\x1b" not in text
    (advice,) = json.loads(run(folder, "--json", "--max-loss", "2%")[1])["advice"]
    assert advice["ranked"][0]["energy"] == pytest.approx(0.3, rel=0.05)
    assert advice["provenance"] == "estimated"
    assert run(write(tmp_path / "empty"))[0] == 1


def test_figures_that_are_not_to_be_used_recommend_nothing(tmp_path: Path) -> None:
    """One cell alone is the best of its group, and may still be no figure."""
    torn = replace(F32, energies={"measured": 1.0}, block_flags={n: ["contended"] for n in range(9)})
    for aim, recommended in (("energy", None), ("time", None), ("memory", "f32")):
        assert label(advised(tmp_path / aim, torn, aim=aim)) == recommended
    code, text = run(tmp_path / "energy" / "s")
    assert code == 1
    assert "No recommendation: 9 of 20 blocks were disturbed" in text
    assert "--until-quiet" in text
    (answer,) = summarise(Session(tmp_path / "energy" / "s")).answers
    assert not answer.picks[0].shown
