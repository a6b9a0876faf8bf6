"""Over a sensor with a fault a figure holds the truth, or is null with a word."""

from __future__ import annotations

from pathlib import Path

import pytest
from faulty_runs import GPU_FAULTS, RUN_FAULTS
from sensor_trials import try_sensors

from joulebench.rail.faults import fault_study


def _hold(folder: Path, environment: dict[str, str], counts: dict[str, int], seed: int) -> None:
    ends, wrong = try_sensors(folder, environment, counts, seed)
    print(dict(ends), *wrong, sep="\n")
    assert wrong == []
    assert ends["held"] > 0, "what is sound must be measured, or refusing is no art"
    assert ends["null"] > 0


def test_some_faults_of_sensors_make_no_wrong_figure(tmp_path: Path, toy_environment: dict[str, str]) -> None:
    _hold(tmp_path, toy_environment, {"powercap": 3, "reader": 3, "temperature": 12, "run": 1}, seed=3)


@pytest.mark.faults
@pytest.mark.timeout(1500)
def test_many_faults_of_sensors_make_no_wrong_figure(tmp_path: Path, toy_environment: dict[str, str]) -> None:
    _hold(tmp_path, toy_environment, {"powercap": 50, "reader": 48, "temperature": 60}, seed=1)


@pytest.mark.faults
@pytest.mark.timeout(1500)
def test_whole_runs_over_faulty_sensors_state_no_wrong_figure(tmp_path: Path, toy_environment: dict[str, str]) -> None:
    _hold(tmp_path, toy_environment, {"run": 2 * len(RUN_FAULTS), "gpu run": len(GPU_FAULTS)}, seed=1)


@pytest.mark.faults
@pytest.mark.timeout(600)
def test_no_window_over_counters_that_wrap_skip_and_restart_is_wrong() -> None:
    study = fault_study(20_000, seed=1)
    print(study)
    assert (study.wrong, study.stated > 3_000) == (0, True)
