"""Channels as they are found: period, quantum, cost of a read."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from joulebench.api import Channel, FileSource
from joulebench.meter.live.calibration import SensorCalibration, calibrate, calibrated_accountant
from joulebench.testing.livefiles import NumberFile


def _channel(path: Path) -> Channel:
    return Channel("test/one", "energy", "J", "counter", FileSource(str(path)), 1e-6, "simulated", "machine")


def _clock(file: NumberFile, value_at: Callable[[float], int], read_ns: int) -> Callable[[], int]:
    """Virtual time: each look at the clock costs ``read_ns`` and shows that moment's value."""
    now_ns = 0

    def clock_ns() -> int:
        nonlocal now_ns
        now_ns += read_ns
        file.write(value_at(now_ns * 1e-9))
        return now_ns

    return clock_ns


def _calibrated(
    folder: Path, value_at: Callable[[float], int], seconds: float = 1.0, read_ns: int = 20_000
) -> SensorCalibration:
    file = NumberFile(folder / "energy_uj", value_at(0.0))
    (calibration,) = calibrate([_channel(file.path)], seconds, _clock(file, value_at, read_ns))
    file.close()
    return calibration


def test_the_period_and_quantum_of_a_counter_are_found(tmp_path: Path) -> None:
    calibration = _calibrated(tmp_path, lambda t: int(t / 0.010) * 610)
    assert calibration.period_s == pytest.approx(0.010, rel=0.02)
    assert calibration.period_low_s == pytest.approx(0.010, rel=0.02)
    assert calibration.period_high_s == pytest.approx(0.010, rel=0.02)
    assert calibration.quantum == pytest.approx(610e-6)
    assert calibration.changes == pytest.approx(100, abs=2)
    assert not calibration.continuous
    assert calibration.window_for_1_percent_s == pytest.approx(1.0, rel=0.02)
    assert calibration.window_for_5_percent_s == pytest.approx(0.2, rel=0.02)


def test_a_period_that_wavers_has_its_percentiles(tmp_path: Path) -> None:
    """Every tenth update comes after twice the time."""

    def value(t_s: float) -> int:
        rounds, rest = divmod(t_s, 0.055)
        return int(rounds) * 10 + min(9, int(rest / 0.005))

    calibration = _calibrated(tmp_path, value, seconds=2.0)
    assert calibration.period_s == pytest.approx(0.005, rel=0.05)
    assert calibration.period_high_s == pytest.approx(0.010, rel=0.05)


def test_a_counter_that_stands_still_has_no_period(tmp_path: Path) -> None:
    calibration = _calibrated(tmp_path, lambda _: 5)
    assert (calibration.changes, calibration.period_s, calibration.quantum) == (0, None, None)
    assert calibration.window_for_1_percent_s is None
    assert calibration.read_cost_s == pytest.approx(20e-6)


def test_a_source_that_changes_at_each_read_is_continuous(tmp_path: Path) -> None:
    calibration = _calibrated(tmp_path, lambda t: int(t * 1e9), seconds=0.1)
    assert calibration.continuous
    assert calibration.period_s is None


def test_a_channel_that_cannot_be_read_is_no_reason_to_stop(tmp_path: Path) -> None:
    good = NumberFile(tmp_path / "good", 1)
    gone = tmp_path / "gone"
    calibration = calibrate([_channel(gone), _channel(good.path)], 0.02)
    assert [entry.changes for entry in calibration] == [0, 0]
    assert calibration[1].reads > 10
    good.close()
    assert not os.path.exists(gone)  # noqa: PTH110  looking made nothing


def test_nothing_to_calibrate_takes_no_time() -> None:
    assert calibrate([], 1000.0) == []


def test_a_source_finer_than_reading_can_see_has_a_verified_period_in_a_run_as_in_measure(tmp_path: Path) -> None:
    """``measure`` took it for verified, and blocks of a run were flagged."""
    channel = replace(_channel(tmp_path / "energy_uj"), update_period_s=1e-6)
    fine = SensorCalibration(channel.path, 100, 99, True, None, None, None, None, 1e-6, None, 1.0)
    assert calibrated_accountant([channel], {0: fine}).spec(0).period_verified
    coarse = replace(fine, changes=2, continuous=False)
    assert not calibrated_accountant([channel], {0: coarse}).spec(0).period_verified
