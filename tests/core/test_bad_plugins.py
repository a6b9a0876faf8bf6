"""Twelve bad plugins: what a user sees of each, and that good ones beside them do not suffer."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import pytest
from bad_site import TWELVE, bad_site
from toyrun import write_toy_checkpoint

from joulebench.session import Session

#: What stands in the good meter's file, in µW.
_POWER_UW: Final = 2_500_000
_PROFILE: Final = """
version = 1
[model.tiny]
source = "path:model"
[workload.generate]
prompts = "prompts.txt"
new_tokens = 8
[limits]
block_s = 4.0
memory = "160MiB"
[protocol]
processes = 1
min_blocks = 3
max_blocks = 3
block_s = 0.3
requests_per_block = 12
idle_s = 0.0
warmup_min_s = 0.0
warmup_max_s = 0.5
steady = 10.0
contended = 1000.0
gate_timeout_s = 0.5
[sampler]
calibrate_s = 0.1
[probe.meter]
file = "power1_input"
"""
_BACKENDS: Final = (
    "good",
    "crash-at-open",
    "crash-in-step",
    "hang",
    "leak",
    "prints",
    "wrong-types",
    "never-available",
    "slow-import",
)


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Of a command that finds all twelve, the good plugin and some more liars."""
    return bad_site(tmp_path_factory.mktemp("bad") / "site", *TWELVE, "dishonest")


def _joulebench(
    environment: dict[str, str], *arguments: str, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "joulebench", *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
    )


# -- the list -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def listed(environment: dict[str, str]) -> dict[str, Any]:
    """``plugin list --json``, which a plugin's prints must not have spoilt."""
    document: dict[str, Any] = json.loads(_joulebench(environment, "plugin", "list", "--json").stdout)
    return document


@pytest.mark.parametrize(
    ("entry_point", "words"),
    [
        ("crash-at-import", "OSError: no driver of version 7 (crash_at_import.py:5)"),
        ("old-api", "written for plugin API 0; this joulebench has 1"),
        (
            "duplicate",
            "backend 'torch' is provided by both 'joulebench' (torch) and "
            "'joulebench-bad' (duplicate); the first one is kept",
        ),
    ],
)
def test_what_cannot_be_used_is_listed_as_broken_with_its_reason(
    listed: dict[str, Any], entry_point: str, words: str
) -> None:
    errors = {plugin["entry_point"]: plugin["error"] for plugin in listed["broken"]}
    assert words in errors[entry_point]
    assert set(errors) == {"crash-at-import", "old-api", "duplicate"}


def test_all_others_are_listed_beside_the_good_ones(listed: dict[str, Any]) -> None:
    states = {(row["kind"], row["name"]): row for row in listed["plugins"]}
    for name in _BACKENDS:
        assert ("backend", name) in states
    never = states["backend", "never-available"]
    assert (never["reason"], never["cure"]) == ("no licence", "write to its author")
    assert states["backend", "torch"]["distribution"] == "joulebench"
    assert states["probe", "meter"]["available"]


def test_an_entry_point_that_is_left_out_is_not_imported(environment: dict[str, str]) -> None:
    process = _joulebench({**environment, "JOULEBENCH_WITHOUT": "prints,slow-import"}, "plugin", "list", "--json")
    errors = {plugin["entry_point"]: plugin["error"] for plugin in json.loads(process.stdout)["broken"]}
    assert errors["prints"] == errors["slow-import"] == "left out, as JOULEBENCH_WITHOUT asks"
    assert "prints 1.0" not in process.stderr


# -- the check ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def checked(environment: dict[str, str]) -> tuple[int, dict[str, list[dict[str, Any]]]]:
    """``plugin check --json`` of everything that is not joulebench's own."""
    done = _joulebench(environment, "plugin", "check", "--json", "--timeout", "8")
    reports = json.loads(done.stdout)["plugins"]
    return done.returncode, {report["entry_point"]: report["results"] for report in reports}


_FOUND: Final = {
    "crash-at-import": ("it can be loaded", "OSError: no driver of version 7"),
    "crash-at-open": ("a session can be closed twice", "the process was ended by SIGSEGV"),
    "crash-in-step": ("greedy tokens repeat after a reset", "the process ended with exit code 3"),
    "hang": ("greedy tokens repeat after a reset", "it was not done after 8 s and was killed"),
    "wrong-unit": ("its figures are of the right order", "wrong-unit/board shows 2500 W"),
    "leak": ("requests leave nothing behind", "memory grows by"),
    "prints": ("it prints nothing", "it wrote to standard output: 'prints 1.0"),
    "duplicate": ("its names are its own", "backend 'torch' is provided by both"),
    "old-api": ("it can be loaded", "written for plugin API 0"),
    "wrong-types": ("tokens are plain ids of the vocabulary", "a token is '31'"),
    "slow-import": ("its module is light", "importing it takes 0.6"),
}


@pytest.mark.slow
@pytest.mark.parametrize("entry_point", list(_FOUND))
def test_the_check_says_what_is_wrong_and_advises(
    checked: tuple[int, dict[str, list[dict[str, Any]]]], entry_point: str
) -> None:
    check, words = _FOUND[entry_point]
    faults = [fault for fault in checked[1][entry_point] if fault["status"] == "fault"]
    rows = next(fault for fault in faults if fault["check"] == check)
    assert words in rows["what"]
    assert rows["advice"]


@pytest.mark.slow
def test_the_check_has_no_fault_to_find_with_what_is_merely_not_available(
    checked: tuple[int, dict[str, list[dict[str, Any]]]],
) -> None:
    results = checked[1]["never-available"]
    assert {result["status"] for result in results} == {"ok", "skipped"}
    assert any(result["what"] == "not available here: no licence" for result in results)


@pytest.mark.slow
def test_the_check_has_nothing_to_say_against_the_good_one(
    checked: tuple[int, dict[str, list[dict[str, Any]]]],
) -> None:
    code, reports = checked
    assert [fault for fault in reports["good"] if fault["status"] == "fault"] == []
    assert code == 1, "others have faults"


@pytest.mark.slow
def test_a_crash_or_hang_says_where_it_was(checked: tuple[int, dict[str, list[dict[str, Any]]]]) -> None:
    for entry_point, place in (("crash-at-open", "crash_at_open.py"), ("hang", "hang.py")):
        faults = [fault for fault in checked[1][entry_point] if fault["status"] == "fault"]
        assert all(place in fault["advice"] for fault in faults)
        assert len(faults) == 3, "given up after three"


_LIES: Final = {
    ("probe frozen", "its energy counters change"): "frozen/board stayed at [12345]",
    ("probe backward", "its counters go forward while work is done"): "backward/board went from",
    ("probe too-much", "its figures are of the right order"): "too-much/board shows 5e+06 W",
    ("technique no-change", "it changes the model and leaves its source"): "nothing changed",
    ("technique no-change", "its evidence is plain and tells a change"): "nobody touched",
    ("backend other-tokens", "greedy tokens are its own largest logits"): "the largest logit is at",
}


@pytest.mark.slow
@pytest.mark.parametrize(("subject", "check"), list(_LIES))
def test_lies_are_found(checked: tuple[int, dict[str, list[dict[str, Any]]]], subject: str, check: str) -> None:
    (rows,) = [fault for fault in checked[1]["dishonest"] if (fault["subject"], fault["check"]) == (subject, check)]
    assert rows["status"] == "fault"
    assert _LIES[subject, check] in rows["what"]


def test_a_name_that_nobody_has_is_wrong_use(environment: dict[str, str]) -> None:
    done = _joulebench(environment, "plugin", "check", "goood")
    assert done.returncode == 2
    assert "no installed plugin, entry point or distribution is called 'goood'" in done.stderr
    assert "did you mean 'good'?" in done.stderr


@pytest.mark.parametrize("given", ["command=x", "backend.good.no=", "nonsense"])
def test_a_setting_of_no_form_is_wrong_use(environment: dict[str, str], given: str) -> None:
    done = _joulebench(environment, "plugin", "check", "good", "--set", given)
    assert done.returncode in (1, 2)
    assert "Traceback" not in done.stderr


# -- a run ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def session(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Session:
    """A run of all backends that can be named, with the twelve installed."""
    folder = tmp_path_factory.mktemp("run")
    write_toy_checkpoint(folder / "model")
    (folder / "power1_input").write_text(f"{_POWER_UW}\n")
    (folder / "prompts.txt").write_text("one\ntwo words\nthree whole words\n")
    backends = "".join(f"[backend.{name}]\n" for name in _BACKENDS)
    (folder / "bad.toml").write_text(_PROFILE + backends)
    done = _joulebench(environment, "run", "bad.toml", "--output", "out", "--no-report", cwd=folder)
    assert done.returncode == 1, done.stderr
    (made,) = (folder / "out").iterdir()
    return Session(made)


def _cell(session: Session, backend: str) -> dict[str, Any]:
    (row,) = [row for row in session.cells().to_pylist() if row["backend"] == backend]
    return row


@pytest.mark.parametrize(
    ("backend", "status", "kind", "words"),
    [
        ("crash-at-open", "failed", "signal", "SIGSEGV"),
        ("crash-in-step", "failed", "exit", "exit code 3"),
        ("hang", "failed", "hang", "limits.block_s"),
        ("leak", "failed", "memory", "limits.memory"),
        ("wrong-types", "failed", "error", "is not a whole number"),
        ("never-available", "skipped", "unavailable", "no licence (write to its author)"),
    ],
)
def test_a_bad_backend_costs_its_own_cell_and_says_why(
    session: Session, backend: str, status: str, kind: str, words: str
) -> None:
    row = _cell(session, backend)
    assert (row["status"], row["cause_kind"]) == (status, kind)
    assert words in row["cause"]


@pytest.mark.parametrize("backend", ["good", "prints", "slow-import"])
def test_what_works_is_measured_right_beside_them(session: Session, backend: str) -> None:
    row = _cell(session, backend)
    assert row["status"] == "ok", row["cause"]
    for request in session.table("requests", row["cell_id"]).to_pylist():
        assert len(request["output_tokens"]) == 8
        assert all(b == (a + 1) % 256 for a, b in pairwise(request["output_tokens"]))
    energy = [
        entry
        for entry in session.table("energy", row["cell_id"]).to_pylist()
        if (entry["channel"], entry["phase"]) == ("meter/board", "total")
    ]
    known = [energy_row for energy_row in energy if energy_row["gross_j"] is not None]
    assert len(energy) == 3
    # A busy machine may cost a block its samples, which the row then says.
    assert all(energy_row["flags"] for energy_row in energy if energy_row["gross_j"] is None)
    for channel in known:
        assert channel["gross_j"] == pytest.approx(_POWER_UW * 1e-6 * channel["duration_s"])


def test_a_wrong_unit_stays_in_its_own_channel(session: Session) -> None:
    channels = {channel.channel for channel in session.row.channels or ()}
    assert {"meter/board", "wrong-unit/board"} <= channels
