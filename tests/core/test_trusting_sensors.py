from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import pytest

from joulebench.api import Channel, FileSource
from joulebench.meter.live.calibration import calibrate, shortest_block_s
from joulebench.meter.windows import TOTAL, Accountant, BlockWindows, Span
from joulebench.protocol import Edge


def channel(path: str) -> Channel:
    return Channel(
        path="sensor/energy",
        quantity="energy",
        unit="J",
        kind="counter",
        source=FileSource(path),
        scale=1e-6,
        provenance="measured",
        domain="package-0",
        update_period_s=0.001,
    )


def block(end_ns: int = 2_000_000_000) -> BlockWindows:
    span = Span(Edge(0, "start", (5,)), Edge(end_ns, "end", (5,)))
    return BlockWindows(0, end_ns, {TOTAL: [span]})


def test_a_counter_that_never_changes_is_found_out(tmp_path: Path) -> None:
    file = tmp_path / "energy_uj"
    file.write_text("5\n")
    clock = itertools.count(step=1_000_000)
    (calibration,) = calibrate([channel(str(file))], 0.1, lambda: next(clock))
    assert calibration.frozen
    assert calibration.period_s is None
    assert calibration.window_for_1_percent_s is None


def test_the_energy_of_a_frozen_counter_is_withheld_and_not_zero() -> None:
    channels = [channel("/dev/null")]
    (short,) = Accountant(channels, [0], {}).block_energies(block(10_000_000), {})
    assert short.energy.gross_j is None
    assert "counter_frozen" not in short.energy.flags
    withheld = Accountant(channels, [0], {}, frozen=[0]).block_energies(block(), {})
    (part,) = withheld
    assert part.energy.gross_j is None
    assert "counter_frozen" in part.energy.flags


def test_twenty_periods_without_a_change_are_a_frozen_counter_also_uncalibrated() -> None:
    (part,) = Accountant([channel("/dev/null")], [0], {}).block_energies(block(), {})
    assert part.energy.gross_j is None
    assert part.energy.flags == ("counter_frozen",)


def test_a_counter_that_is_slower_than_its_calibration_is_not_called_frozen(tmp_path: Path) -> None:
    file = tmp_path / "energy_uj"
    file.write_text("5\n")
    slow = replace(channel(str(file)), update_period_s=60.0)
    clock = itertools.count(step=1_000_000)
    (calibration,) = calibrate([slow], 0.1, lambda: next(clock))
    assert not calibration.frozen


def test_the_block_length_that_a_slow_sensor_needs_is_said_before_the_run() -> None:
    assert shortest_block_s(0.001, 0.02, 320) == pytest.approx(0.02)  # 20 periods
    # Late edges: 1.96 · 0.1 · √(2/12) / (√20 · 0.1 %)
    assert shortest_block_s(0.1, 0.001, 20) == pytest.approx(17.89, abs=0.01)


def test_a_period_in_which_the_reader_itself_was_kept_waiting_is_not_the_sensors(tmp_path: Path) -> None:
    """A counter of 10 ms, read each 1 ms, but for every third period, when the reader sleeps."""
    file = tmp_path / "energy_uj"
    now_ns = 0

    def clock() -> int:
        nonlocal now_ns
        asleep = now_ns % 30_000_000 == 12_000_000
        now_ns += 14_000_000 if asleep else 500_000
        file.write_text(str(now_ns // 10_000_000))
        return now_ns

    file.write_text("0")
    (calibration,) = calibrate([channel(str(file))], 2.0, clock)
    assert calibration.period_s == pytest.approx(0.010, rel=0.2)
    assert calibration.period_high_s == pytest.approx(0.010, rel=0.2)
