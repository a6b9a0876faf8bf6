"""The idle baseline: a real sampler on fake sensors."""

from __future__ import annotations

from pathlib import Path

import pytest

from joulebench.api import Channel, FileSource
from joulebench.meter.live.channels import edge_channels
from joulebench.meter.windows import Accountant
from joulebench.sensors.idle import measure_idle
from joulebench.testing.livefiles import NumberFile
from joulebench.testing.powercap import FakePowercap, intel_zones


def _counter(path: Path, name: str = "package-0") -> Channel:
    return Channel(
        f"rapl/{name}",
        "energy",
        "J",
        "counter",
        FileSource(str(path)),
        1e-6,
        "simulated",
        name,
        rate_hz=100.0,
        update_period_s=0.001,
        wraps_at=2**40,
    )


def _gauge(path: str) -> Channel:
    return Channel("board/power", "power", "W", "gauge", FileSource(path), 1e-3, "simulated", "board", rate_hz=100.0)


def _accountant(*channels: Channel) -> Accountant:
    return Accountant(channels, edge_channels(channels), {})


def test_idle_power_is_found_for_counters_and_gauges(tmp_path: Path) -> None:
    with FakePowercap(tmp_path, intel_zones(watts=6.0, core_watts=None)) as tree:
        gauge = NumberFile(tmp_path / "power", 2500)
        accountant = _accountant(_counter(tree.energy_file("intel-rapl:0")), _gauge(str(gauge.path)))
        with tree.live():
            idle = measure_idle(accountant, 0.6, "before")
        gauge.close()
    assert idle is not None
    assert idle.when == "before"
    assert idle.power[0].power_w == pytest.approx(6.0, rel=0.1)
    assert idle.power[1].power_w == pytest.approx(2.5)
    assert idle.power[0].u_w is not None
    assert (idle.t1_ns - idle.t0_ns) * 1e-9 == pytest.approx(0.6, abs=0.2)
    assert [accountant.channels[index].path for index in idle.power] == ["rapl/package-0", "board/power"]


def test_a_channel_that_cannot_be_read_has_no_idle_power(tmp_path: Path) -> None:
    number = NumberFile(tmp_path / "power", 1000)
    channels = (_counter(tmp_path / "gone"), _gauge(str(number.path)))
    idle = measure_idle(_accountant(*channels), 0.1, "before")
    number.close()
    assert idle is not None
    assert set(idle.power) == {1}


def test_a_channel_of_the_worker_is_left_out_of_a_baseline_without_one(tmp_path: Path) -> None:
    number = NumberFile(tmp_path / "power", 1000)
    idle = measure_idle(_accountant(_gauge("/proc/{pid}/stat"), _gauge(str(number.path))), 0.1, "x")
    number.close()
    assert idle is not None
    assert set(idle.power) == {1}


@pytest.mark.parametrize("seconds", [0.0, 1.0])
def test_there_is_no_baseline_without_a_source_of_joules_or_without_time(tmp_path: Path, seconds: float) -> None:
    channels = () if seconds else (_counter(tmp_path / "gone"),)
    assert measure_idle(_accountant(*channels), seconds, "before") is None
