from __future__ import annotations

import time
from pathlib import Path

import pytest
from probe_reading import imported_alone, read, settings

from joulebench.api import Availability, Channel
from joulebench.testing.hwmon import Chip, FakeTemperatures, HwmonSensor, ThermalZone, ThrottleCounts
from joulebench_plugins.thermal import ThermalProbe

PROBE = ThermalProbe()


def given(tree: FakeTemperatures, *, cores: bool = False) -> dict[str, str | int | float | bool]:
    return settings(PROBE.options, root=str(tree.root), cpu_root=str(tree.cpu_root), cores=cores)


def channels(tree: FakeTemperatures, *, cores: bool = False) -> dict[str, Channel]:
    return {channel.path: channel for channel in PROBE.channels(given(tree, cores=cores))}


def inspect(tree: FakeTemperatures) -> Availability:
    return PROBE.inspect(given(tree))


def coretemp(*labels: str) -> Chip:
    return Chip("coretemp", [HwmonSensor(label, 50.0) for label in labels])


def test_a_chips_temperature_is_named_after_chip_and_label_and_read_in_degrees(tmp_path: Path) -> None:
    with FakeTemperatures(tmp_path, [Chip("k10temp", [HwmonSensor("Tctl", 41.25)])]) as tree:
        (channel,) = channels(tree).values()
        assert channel.path == "thermal/k10temp/Tctl"
        raw = read([channel])[channel.path]
        assert raw is not None
        assert raw * channel.scale == pytest.approx(41.25)
        assert channel.unit == "degC"


def test_temperatures_follow_the_elapsed_time(tmp_path: Path) -> None:
    chip = Chip("k10temp", [HwmonSensor("Tctl", lambda t: 40.0 + 2.0 * t)])
    with FakeTemperatures(tmp_path, [chip]) as tree:
        wanted = list(channels(tree).values())
        tree.advance(1.5)
        assert read(wanted) == {"thermal/k10temp/Tctl": 43_000}


def test_a_live_tree_changes_by_itself(tmp_path: Path) -> None:
    chip = Chip("k10temp", [HwmonSensor("Tctl", lambda t: 40.0 + min(t * 100, 10))])
    with FakeTemperatures(tmp_path, [chip]) as tree:
        wanted = list(channels(tree).values())
        with tree.live(period_s=0.005):
            deadline = time.monotonic() + 30
            while read(wanted) == {"thermal/k10temp/Tctl": 40_000}:
                assert time.monotonic() < deadline
                time.sleep(0.005)


def test_a_sensor_without_label_is_named_by_its_number(tmp_path: Path) -> None:
    chip = Chip("nvme", [HwmonSensor(None, 30.0), HwmonSensor("Sensor 2", 31.0)])
    with FakeTemperatures(tmp_path, [chip]) as tree:
        assert set(channels(tree)) == {"thermal/nvme/temp1", "thermal/nvme/Sensor_2"}


def test_chips_of_one_name_get_different_paths(tmp_path: Path) -> None:
    chips = [Chip("nvme", [HwmonSensor("Composite", 30.0)]) for _ in range(2)]
    with FakeTemperatures(tmp_path, chips) as tree:
        assert set(channels(tree)) == {"thermal/nvme/Composite", "thermal/nvme/Composite@hwmon1"}


def test_cores_are_read_only_when_asked_for(tmp_path: Path) -> None:
    with FakeTemperatures(tmp_path, [coretemp("Package id 0", "Core 0", "Core 1")]) as tree:
        assert set(channels(tree)) == {"thermal/coretemp/Package_id_0"}
        assert len(channels(tree, cores=True)) == 3


def test_thermal_zones_are_named_by_their_type(tmp_path: Path) -> None:
    zones = [ThermalZone("x86_pkg_temp", 55.0), ThermalZone("acpitz", 27.8)]
    with FakeTemperatures(tmp_path, zones=zones) as tree:
        result = channels(tree)
        assert read(list(result.values())) == {"thermal/zone/x86_pkg_temp": 55_000, "thermal/zone/acpitz": 27_800}


@pytest.mark.parametrize("celsius", [-128.0, 255.0, -51.0, 151.0])
def test_an_absurd_temperature_is_left_out_and_said(tmp_path: Path, celsius: float) -> None:
    chip = Chip("nct6775", [HwmonSensor("AUXTIN0", celsius), HwmonSensor("SYSTIN", 33.0)])
    with FakeTemperatures(tmp_path, [chip]) as tree:
        assert set(channels(tree)) == {"thermal/nct6775/SYSTIN"}
        assert f"AUXTIN0: shows {celsius:g} degC" in (inspect(tree).reason or "")
        assert inspect(tree).ok


@pytest.mark.parametrize("celsius", [-50.0, 0.0, 150.0])
def test_a_temperature_that_a_computer_can_have_is_kept(tmp_path: Path, celsius: float) -> None:
    with FakeTemperatures(tmp_path, [Chip("chip", [HwmonSensor("T", celsius)])]) as tree:
        assert set(channels(tree)) == {"thermal/chip/T"}


def test_a_sensor_that_shows_no_number_is_left_out_and_said(tmp_path: Path) -> None:
    with FakeTemperatures(tmp_path, [Chip("chip", [HwmonSensor("T", 30.0)])]) as tree:
        (tree.root / "hwmon" / "hwmon0" / "temp1_input").write_text("N/A\n")
        assert not inspect(tree).ok
        assert "chip/T: shows no number" in (inspect(tree).reason or "")


def hyperthreaded() -> dict[int, ThrottleCounts]:
    """Two packages of two cores of two threads; siblings show the same counts."""
    return {
        number: ThrottleCounts(
            core=number % 2,
            package=number // 2 % 2,
            core_count=10 * (number % 4),
            package_count=100 * (number // 2 % 2),
        )
        for number in range(8)
    }


def test_each_package_has_one_throttle_count(tmp_path: Path) -> None:
    with FakeTemperatures(tmp_path, processors=hyperthreaded()) as tree:
        result = [c for c in channels(tree).values() if "package" in c.domain]
        assert read(result) == {"thermal/throttle/package-0": 0, "thermal/throttle/package-1": 100}


def test_cores_throttle_counts_are_summed_without_their_sibling_threads(tmp_path: Path) -> None:
    with FakeTemperatures(tmp_path, processors=hyperthreaded()) as tree:
        channel = channels(tree)["thermal/throttle/cores"]
        assert read([channel]) == {channel.path: 0 + 10 + 20 + 30}
        tree.set_throttle_count(1, "core", 17)
        assert read([channel]) == {channel.path: 67}


def test_without_any_sensor_the_reason_names_the_folders_and_the_cure_a_driver(tmp_path: Path) -> None:
    with FakeTemperatures(tmp_path) as tree:
        report = inspect(tree)
        assert not report.ok
        assert f"{tree.root}/hwmon" in (report.reason or "")
        assert "coretemp" in (report.cure or "")


def test_this_machine_has_believable_temperatures_or_a_reason_why_not() -> None:
    report = PROBE.inspect(settings(PROBE.options))
    if not report.ok:
        assert "no temperature under /sys/class/hwmon" in (report.reason or "")
        assert report.cure
        return
    for channel in PROBE.channels(settings(PROBE.options)):
        raw = read([channel])[channel.path]
        assert raw is not None
        if channel.quantity == "temperature":
            assert -50 <= raw * channel.scale <= 150


def test_the_samplers_reader_needs_the_standard_library_only() -> None:
    assert imported_alone("joulebench_plugins.thermal.throttle") == set()
