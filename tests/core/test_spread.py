"""The spread from run to run: measured once, kept for this machine, recorded by every session."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from pathlib import Path

import pytest

from joulebench.runs.machine import Machine, Processor
from joulebench.runs.spread import RecordedSpread, RunSpread, keep, kept, recorded, spread_of_runs

MACHINE = Machine(Processor("x", "x86_64", 2, 2, 1), 1, "Linux", "Linux 6.12", None, None)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOULEBENCH_CACHE", str(tmp_path / "cache"))


def test_what_runs_scatter_beyond_their_own_uncertainty_is_the_spread() -> None:
    source = random.Random(4)
    sigmas = []
    for _ in range(300):
        ratios = [math.exp(source.gauss(0.1, 0.03) + source.gauss(0.0, 0.02)) for _ in range(10)]
        sigmas.append(spread_of_runs(ratios, [0.02] * 10, ("a", "b"), "time").sigma)
    assert math.sqrt(sum(sigma**2 for sigma in sigmas) / 300) == pytest.approx(0.03, rel=0.1)


def test_runs_that_agree_within_their_intervals_have_none() -> None:
    assert spread_of_runs([1.0, 1.001, 0.999], [0.05] * 3, ("a", "b"), "time").sigma == 0.0


def test_two_runs_tell_no_spread() -> None:
    with pytest.raises(ValueError, match="no spread"):
        spread_of_runs([1.0, 1.1], [0.01, 0.01], ("a", "b"), "time")


def test_it_is_kept_for_this_machine_and_no_other() -> None:
    spread = RunSpread(0.02, 0.01, (1.0, 1.02, 0.98), ("a", "b"), "time")
    assert recorded(MACHINE) == RecordedSpread()
    keep(spread, MACHINE)
    assert kept(MACHINE) == spread
    assert recorded(MACHINE) == RecordedSpread(0.02, 3, "time")
    assert kept(replace(MACHINE, memory_bytes=2)) is None


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"machine": {}, "spread": {"sigma": "x"}}'])
def test_a_damaged_file_is_no_spread(tmp_path: Path, text: str) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "run-to-run.json").write_text(text)
    assert kept(MACHINE) is None
