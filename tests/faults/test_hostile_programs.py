"""A program that misbehaves costs its own cell, with a cause, and leaves no process behind."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from program_trials import greet_programs, run_programs

pytest.importorskip("tokenizers")


def _hold(counts: Counter[str], wrong: list[str], bad: str) -> None:
    print(dict(counts), *wrong, sep="\n")
    assert wrong == []
    assert counts[bad] > 0, "some programs must be found out, or they do nothing"


def test_some_hostile_programs_are_greeted_while_planning() -> None:
    _hold(*greet_programs(count=8, seed=3), bad="refused")


def test_a_run_of_hostile_programs_measures_the_good_one(tmp_path: Path) -> None:
    _hold(*run_programs(tmp_path, runs=1, programs=3, seed=5), bad="failed")


@pytest.mark.faults
@pytest.mark.timeout(1200)
def test_many_hostile_programs_are_greeted_while_planning() -> None:
    _hold(*greet_programs(count=60, seed=1), bad="refused")


@pytest.mark.faults
@pytest.mark.timeout(1800)
def test_runs_of_many_hostile_programs_measure_the_good_ones(tmp_path: Path) -> None:
    _hold(*run_programs(tmp_path, runs=2, programs=12, seed=2), bad="failed")
