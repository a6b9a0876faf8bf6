"""``joulebench compare`` on sessions whose truth is known."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import make_session
import pytest
from click.testing import CliRunner
from make_session import HOSTILE, Cell

from joulebench.errors import JoulebenchError
from joulebench.session import Session
from joulebench_reports.commands.compare import compare
from joulebench_reports.compare.changes import RunComparison, compare_sides
from joulebench_reports.compare.jsoncomparison import comparison_json
from joulebench_reports.compare.report import comment, comparison_report, headline, rule
from joulebench_reports.compare.sessions import side_of
from joulebench_reports.compare.side import Side
from joulebench_reports.summary.session import summarise
from joulebench_reports.text.terminal import terminal_text

PLAIN = Cell("a", "torch f32", processes=3, energies={"measured": 1.0})


def write(folder: Path, *cells: Cell, **more: Any) -> Path:
    return make_session.write(folder, list(cells), **more)


def side(folder: Path, *cells: Cell, **more: Any) -> Side:
    return side_of(Session(write(folder, *cells, **more)))


def against(folder: Path, before: Cell, after: Cell, **more: Any) -> RunComparison:
    return compare_sides(side(folder / "before", before), side(folder / "after", replace(after, seed=1)), **more)


def verdicts(comparison: RunComparison) -> dict[str, str]:
    return {change.metric: change.verdict for change in comparison.changes}


def run(*arguments: str | Path) -> tuple[int, str]:
    done = CliRunner().invoke(compare, list(map(str, arguments)), standalone_mode=False)
    if done.exception is not None:
        raise done.exception
    return done.return_value, done.stdout


def test_two_runs_of_the_same_show_no_change(tmp_path: Path) -> None:
    relative = against(tmp_path, PLAIN, PLAIN)
    assert set(verdicts(relative).values()) <= {"no_change", "small"}
    assert set(verdicts(relative)) == {"energy", "rate", "ttft", "tpot", "memory", "perplexity"}
    assert (relative.exit_code, relative.differences) == (0, ())
    change = next(change for change in relative.changes if change.metric == "energy")
    assert change.low is not None
    assert change.high is not None
    assert change.low < 0 < change.high


def test_equal_runs_are_seldom_told_apart(tmp_path: Path) -> None:
    sides = [side(tmp_path / str(seed), Cell("a", "x", noise=0.1, seed=seed + 1, samples=False)) for seed in range(40)]
    wrong = sum(compare_sides(a, b).exit_code == 3 for i, a in enumerate(sides) for b in sides[:i])
    assert wrong / 780 < 0.05


@pytest.mark.parametrize(
    ("change", "worse"),
    [
        ({"joules_per_token": 0.6}, {"energy"}),
        ({"seconds": 2.4}, {"rate", "ttft", "tpot"}),
        ({"peak_mib": 700}, {"memory"}),
        ({"perplexity": 19.0}, {"perplexity"}),
    ],
)
def test_what_became_dearer_slower_larger_or_worse_is_a_regression(
    tmp_path: Path, change: dict[str, Any], worse: set[str]
) -> None:
    relative = against(tmp_path, PLAIN, replace(PLAIN, **change))
    assert {change.metric for change in relative.with_verdict("worse")} == worse
    assert relative.exit_code == 3
    back = compare_sides(relative.current, relative.baseline)
    assert {change.metric for change in back.with_verdict("better")} == worse
    assert back.exit_code == 0


def test_the_interval_of_the_change_holds_the_truth(tmp_path: Path) -> None:
    relative = against(tmp_path, PLAIN, replace(PLAIN, joules_per_token=0.6))
    (energy,) = relative.with_verdict("worse")
    assert energy.low is not None
    assert energy.high is not None
    assert energy.low < 0.2 < energy.high < 0.25


def test_a_change_below_the_threshold_is_none_however_sure(tmp_path: Path) -> None:
    dearer = replace(PLAIN, joules_per_token=0.52, noise=0.001)
    relative = against(tmp_path, replace(PLAIN, noise=0.001), dearer)
    assert (verdicts(relative)["energy"], relative.exit_code) == ("small", 0)
    stricter = compare_sides(relative.baseline, relative.current, thresholds={"energy": 0.03})
    assert (verdicts(stricter)["energy"], stricter.exit_code) == ("worse", 3)


def test_a_change_that_may_be_chance_is_none_however_large(tmp_path: Path) -> None:
    noisy = replace(PLAIN, blocks=4, processes=1, noise=0.3)
    relative = against(tmp_path, noisy, replace(noisy, joules_per_token=0.6))
    energy = next(change for change in relative.changes if change.metric == "energy")
    assert energy.verdict == "no_change"
    assert abs(energy.change or 0) > energy.threshold
    assert energy.blind
    assert "too noisy" in terminal_text(comparison_report(relative), 100)


def test_strict_makes_a_figure_that_cannot_be_decided_a_failure(tmp_path: Path) -> None:
    noisy = replace(PLAIN, blocks=4, processes=1, noise=0.3)
    lax = against(tmp_path, noisy, noisy)
    assert "energy" in {change.metric for change in lax.undecided}
    assert lax.exit_code == 0
    assert replace(lax, strict=True).exit_code == 4
    assert run(tmp_path / "before", tmp_path / "after", "--strict")[0] == 4
    decided = compare_sides(lax.baseline, lax.current, ["memory"])
    assert replace(decided, strict=True).exit_code == 0


def test_one_block_each_cannot_tell(tmp_path: Path) -> None:
    single = replace(PLAIN, blocks=1, processes=1)
    relative = against(tmp_path, single, replace(single, joules_per_token=5.0))
    assert verdicts(relative)["energy"] == "cannot_tell"
    assert compare_sides(relative.baseline, relative.current, ["energy"]).exit_code == 1


def test_cells_of_few_processes_are_assumed_to_differ_from_start_to_start(tmp_path: Path) -> None:
    several = against(tmp_path / "x", PLAIN, PLAIN)
    single = against(tmp_path / "y", replace(PLAIN, processes=1), replace(PLAIN, processes=1, joules_per_token=0.54))
    assert "starts are assumed" not in rule(several)
    assert "starts are assumed to differ by 4.0 % (1 σ)" in rule(single)
    assert verdicts(single)["energy"] == "no_change"


def test_estimated_energies_carry_the_error_of_their_model(tmp_path: Path) -> None:
    estimated = replace(PLAIN, energies={"estimated": 1.0})
    relative = against(tmp_path, estimated, replace(estimated, joules_per_token=0.6))
    assert verdicts(relative)["energy"] == "no_change"
    assert "the model's error of 20 % (1 σ) is included" in rule(relative)


def test_the_spread_from_run_to_run_is_in_the_interval_where_it_was_measured(tmp_path: Path) -> None:
    spread = json.dumps({"run_to_run_sigma": 0.06})
    dearer = replace(PLAIN, joules_per_token=0.55, seed=2)
    before = side(tmp_path / "before", PLAIN, preflight_json=spread)
    comparison = compare_sides(before, side(tmp_path / "after", dearer, preflight_json=spread))
    assert verdicts(comparison)["energy"] == "no_change"
    assert "was not measured" not in comment(comparison_report(comparison))
    bare = against(tmp_path / "bare", PLAIN, dearer)
    assert verdicts(bare)["energy"] == "worse"
    assert "was not measured" in comment(comparison_report(bare))


def test_the_headline_counts_what_cannot_be_decided(tmp_path: Path) -> None:
    noisy = replace(PLAIN, blocks=6, noise=0.4)
    relative = against(tmp_path, noisy, noisy)
    assert "cannot be decided" in headline(relative)
    assert "no regression" not in headline(relative)
    assert headline(against(tmp_path / "sure", PLAIN, PLAIN)) == "of 6 figures: no regressions"


def test_a_copy_of_a_session_is_the_same_session(tmp_path: Path) -> None:
    one = write(tmp_path / "one", PLAIN)
    copy = shutil.copytree(one, tmp_path / "copy")
    assert "Both are the same session" in run(one, copy)[1]
    assert "Both are the same session" in run(one, one)[1]
    other = write(tmp_path / "other", replace(PLAIN, seed=4))
    assert "same session" not in run(one, other)[1]


def test_ttft_is_the_reports_median(tmp_path: Path) -> None:
    session = Session(write(tmp_path / "s", PLAIN))
    (cell,) = summarise(session).shown
    (figure,) = [estimate for estimate in side_of(session).cells[0].estimates if estimate.metric == "ttft"]
    assert figure.value == pytest.approx(cell.speed.ttft_median_s.value)
    assert (figure.low or 0) < figure.value < (figure.high or 0)


def test_more_figures_need_surer_differences(tmp_path: Path) -> None:
    before, after = (
        [replace(PLAIN, id=f"c{i}", label=f"c{i}", backend_settings={"n": i}, seed=seed) for i in range(12)]
        for seed in (1, 2)
    )
    many = compare_sides(side(tmp_path / "x", *before), side(tmp_path / "y", *after))
    one = compare_sides(side(tmp_path / "v", before[0]), side(tmp_path / "w", after[0]))
    levels = [next(e.level for e in item.changes if e.metric == "energy") for item in (many, one)]
    assert (levels[0] or 0) > (levels[1] or 1) > 0.95


def test_other_provenance_is_not_compared(tmp_path: Path) -> None:
    measured = replace(PLAIN, energies={"measured": 1.0})
    relative = against(tmp_path, measured, replace(PLAIN, energies={"estimated": 9.0}))
    energies = [change for change in relative.changes if change.metric == "energy"]
    assert {energy.verdict for energy in energies} == {"not_compared"}
    assert "measured against estimated" in (energies[0].reason or "")
    assert relative.exit_code == 0
    assert compare_sides(relative.baseline, relative.current, ["energy"]).exit_code == 1
    assert "not compared: measured against estimated" in comment(comparison_report(relative))


def test_of_two_provenances_the_common_one_is_compared(tmp_path: Path) -> None:
    both = replace(PLAIN, energies={"measured": 1.0, "estimated": 0.5})
    relative = against(tmp_path, both, replace(PLAIN, energies={"estimated": 1.0}))
    energies = {e.provenance: e.verdict for e in relative.changes if e.metric == "energy"}
    assert energies == {"measured": "not_compared", "estimated": "worse"}


def test_perplexities_of_other_texts_are_not_compared(tmp_path: Path) -> None:
    relative = against(tmp_path, PLAIN, PLAIN)
    other = relative.current
    cell = other.cells[0]
    estimates = tuple(replace(e, basis="another text") if e.metric == "perplexity" else e for e in cell.estimates)
    again = compare_sides(relative.baseline, replace(other, cells=(replace(cell, estimates=estimates),)))
    assert verdicts(again)["perplexity"] == "not_compared"


def test_cells_are_matched_by_what_was_measured_not_by_their_label(tmp_path: Path) -> None:
    relative = against(tmp_path, PLAIN, replace(PLAIN, id="zz", label="renamed"))
    assert len(relative.changes) == 6
    assert not relative.only_baseline
    other = against(tmp_path / "x", PLAIN, replace(PLAIN, backend_settings={"dtype": "bfloat16"}))
    assert not other.changes
    assert other.exit_code == 1
    ((cell, why),) = other.only_current
    assert cell.label == "torch f32"
    assert "backend.dtype = float32, here bfloat16" in why
    ignoring = compare_sides(other.baseline, other.current, ignored=["backend.dtype"])
    assert len(ignoring.changes) == 6


def test_ignoring_may_not_make_cells_alike(tmp_path: Path) -> None:
    two = side(tmp_path / "x", PLAIN, replace(PLAIN, id="b", label="b", backend="onnx"))
    with pytest.raises(JoulebenchError, match=r"'torch f32' and 'b' .* differ only in backend"):
        compare_sides(two, two, ignored=["backend"])
    with pytest.raises(JoulebenchError, match=r"(?s)no cell has 'backend.dtpye'.*backend.dtype"):
        compare_sides(two, two, ignored=["backend.dtpye"])


def test_cells_of_one_side_are_listed_with_what_became_of_them(tmp_path: Path) -> None:
    other = replace(PLAIN, id="b", label="onnx int8", backend="onnx")
    failed = replace(other, status="failed", cause="killed for memory")
    before, after = side(tmp_path / "x", PLAIN, other), side(tmp_path / "y", PLAIN, failed)
    comparison = compare_sides(before, after)
    assert [(cell.label, why) for cell, why in comparison.only_baseline] == [
        ("onnx int8", "failed in the current run: killed for memory")
    ]
    assert "onnx int8" in terminal_text(comparison_report(comparison), 80)
    assert [cell.label for cell, _ in compare_sides(after, before).only_current] == ["onnx int8"]


def test_another_machine_protocol_version_or_model_is_told(tmp_path: Path) -> None:
    machine = {"cpu": {"model": "Other CPU", "cores": 4}, "memory_bytes": 8 * 2**30}
    before = side(
        tmp_path / "x",
        replace(PLAIN, artifact_hash="1" * 64),
        profile_text=f"{make_session.PROFILE}[protocol]\nmin_blocks = 20\n",
    )
    after = side(
        tmp_path / "y",
        replace(PLAIN, artifact_hash="2" * 64),
        status="interrupted",
        machine_json=json.dumps(machine),
        versions_json=json.dumps({"torch": "2.14.0"}),
        preflight_json=json.dumps({"governor": "powersave", "load_1min": 7.0}),
        profile_text=f"{make_session.PROFILE}[protocol]\nmin_blocks = 5\n",
    )
    comparison = compare_sides(before, after)
    told = {": ".join(difference.words) for difference in comparison.differences}
    assert "machine cpu.model: Example CPU 8-core → Other CPU" in told
    assert "state governor: performance → powersave" in told
    assert "versions torch: 2.13.0 → 2.14.0" in told
    assert "protocol min_blocks: 20 → 5" in told
    assert "session current ended: complete → interrupted" in told
    assert "model content hash: 111111111111 → 222222222222 (1 cell)" in told
    assert not any("load" in line for line in told)
    assert "Other CPU" in comment(comparison_report(comparison))


def test_on_another_machine_the_sensors_scales_widen_the_interval(tmp_path: Path) -> None:
    estimated = replace(PLAIN, energies={"estimated": 1.0})
    here = against(tmp_path, estimated, replace(estimated, joules_per_token=1.2))
    there = replace(here.current, machine={"cpu.model": "Other CPU"})
    comparison = compare_sides(here.baseline, there)
    assert (verdicts(here)["energy"], verdicts(comparison)["energy"]) == ("worse", "no_change")
    assert verdicts(comparison)["rate"] == verdicts(here)["rate"]


def test_the_command_gives_the_exit_codes_and_a_stored_baseline_the_same_verdicts(tmp_path: Path) -> None:
    before = write(tmp_path / "before", PLAIN)
    after = write(tmp_path / "after", replace(PLAIN, joules_per_token=0.6, seed=3))
    stored = tmp_path / "baseline.json"
    assert run(before, "--save-baseline", stored) == (0, "")
    for first in (before, stored):
        code, text = run(first, after, "--json")
        document = json.loads(text)
        assert (code, document["exit_code"]) == (3, 3)
        assert [c["metric"] for c in document["changes"] if c["verdict"] == "worse"] == ["energy"]
        assert run(first, before)[0] == 0
    assert run(stored, after, "--metric", "time")[0] == 0
    assert run(stored, after, "--threshold", "25%")[0] == 0
    assert run(stored, after, "--threshold", "25%", "--threshold", "energy=10%")[0] == 3
    assert run(stored, after, "--format", "markdown")[1].startswith("<!-- joulebench compare -->")


def test_nothing_in_common_is_exit_code_1(tmp_path: Path) -> None:
    before = write(tmp_path / "x", PLAIN)
    after = write(tmp_path / "y", replace(PLAIN, workload="other"))
    code, text = run(before, after)
    assert code == 1
    assert "Nothing could be compared" in text
    assert run(write(tmp_path / "z"), after)[0] == 1


def test_hostile_text_is_inert_in_every_form(tmp_path: Path) -> None:
    cells = [
        Cell("a", HOSTILE, technique=HOSTILE, backend_settings={HOSTILE: HOSTILE}),
        Cell("b", HOSTILE, status="failed", cause=HOSTILE, backend="x"),
    ]
    before = side(tmp_path / "x", *cells, model=HOSTILE)
    worse = replace(cells[0], joules_per_token=1.0)
    after = side(
        tmp_path / "y",
        worse,
        profile_name=HOSTILE,
        session_id=HOSTILE,
        versions_json=json.dumps({HOSTILE: HOSTILE}),
        model=HOSTILE,
    )
    comparison = compare_sides(before, after)
    assert comparison.exit_code == 3
    for text in (terminal_text(comparison_report(comparison), 100), comment(comparison_report(comparison))):
        assert "\x1b" not in text
        assert "\u2028" not in text
    assert "<img" not in comment(comparison_report(comparison))
    assert "</script>" not in comment(comparison_report(comparison))
    json.loads(comparison_json(comparison))


@pytest.mark.parametrize("width", [60, 80, 120])
def test_no_line_is_wider_than_the_terminal(tmp_path: Path, width: int) -> None:
    relative = against(tmp_path, PLAIN, replace(PLAIN, joules_per_token=0.7))
    assert max(map(len, terminal_text(comparison_report(relative), width).splitlines())) <= width
