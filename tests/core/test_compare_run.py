"""``joulebench compare`` and the verdicts on real runs of the toy runtime, whose speed is known."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from toyrun import Bench, Done

from joulebench.session import Session
from joulebench.session.writing import SessionWriter

#: Generous, since the machine that tests run on is busy; what is looked for is a factor of 10.
_THRESHOLD = "100%"


def joulebench(bench: Bench, *arguments: str | Path) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "joulebench", *map(str, arguments)],
        check=False,
        capture_output=True,
        text=True,
        env=bench.environment,
        cwd=bench.folder,
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout


def measured(bench: Bench, **steps: float) -> Done:
    backends = {name: {"step_s": step_s} for name, step_s in steps.items()}
    probes = {"toymeter": {"mode": "gauge"}}
    profile = bench.profile(backends, probes=probes, min_blocks=6, max_blocks=6)
    done = bench.run(profile, "--no-report")
    assert done.code == 0, done.errors
    return done


def changes(text: str) -> dict[str, dict[str, Any]]:
    return {change["metric"]: change for change in json.loads(text)["changes"]}


def test_a_run_is_no_worse_than_itself_and_a_slowed_one_is(bench: Bench) -> None:
    before, again = measured(bench, toy=0.02), measured(bench, toy=0.02)
    slowed = measured(bench, toy=0.2)
    stored = bench.folder / "baseline.json"
    assert before.folder is not None
    assert again.folder is not None
    assert slowed.folder is not None
    assert joulebench(bench, "compare", before.folder, "--save-baseline", stored)[0] == 0
    common = ("--json", "--metric", "time", "--threshold", _THRESHOLD)
    code, text = joulebench(bench, "compare", stored, again.folder, *common)
    assert (code, json.loads(text)["only_baseline"]) == (0, [])
    code, text = joulebench(bench, "compare", stored, slowed.folder, *common)
    assert code == 1
    assert "backend.step_s = 0.02, here 0.2" in json.loads(text)["only_current"][0]["reason"]
    code, text = joulebench(bench, "compare", stored, slowed.folder, *common, "--ignore", "backend.step_s")
    assert code == 3
    assert changes(text)["tpot"]["verdict"] == "worse"


def test_what_a_cut_off_run_has_measured_is_matched_by_its_plan(bench: Bench) -> None:
    whole = measured(bench, toy=0.02)
    assert whole.folder is not None
    cut = bench.folder / "cut"
    shutil.copytree(whole.folder, cut)
    for row in cut.glob("cells/*/cell.arrow"):
        row.unlink()
    SessionWriter(cut).write_session(replace(Session(cut).row, status="interrupted"))
    code, text = joulebench(bench, "compare", whole.folder, cut, "--json", "--metric", "time")
    assert code == 0
    assert changes(text)["tpot"]["change"] == 0


def test_a_slow_cell_costs_more_in_turns_and_is_not_advised(bench: Bench) -> None:
    done = measured(bench, quick=0.15, slow=0.6)  # long enough for a gauge of 50 Hz
    assert done.folder is not None
    code, text = joulebench(bench, "report", done.folder, "--format", "json")
    assert code == 0
    ((verdict,),) = (table["verdicts"] for table in json.loads(text)["verdicts"])
    assert (verdict["outcome"], verdict["comparison"]["paired"]) == ("costs more", True)
    code, text = joulebench(bench, "advise", done.folder, "--json")
    (advice,) = json.loads(text)["advice"]
    assert (code, advice["ranked"][0]["label"], advice["as_good"]) == (0, "quick generate", [])
