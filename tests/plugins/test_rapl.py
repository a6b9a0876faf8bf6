from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from probe_reading import read, settings

from joulebench.api import Availability, Channel, FileSource, provenance_of_file
from joulebench.meter.live.sampler import FileReader
from joulebench.testing.powercap import INTEL_RANGE_UJ, FakePowercap, PowercapZone, intel_zones
from joulebench_plugins.rapl import RaplProbe, access

PROBE = RaplProbe()


def inspect(root: Path) -> Availability:
    return PROBE.inspect(settings(PROBE.options, root=str(root)))


def channels(root: Path) -> dict[str, Channel]:
    return {c.path: c for c in PROBE.channels(settings(PROBE.options, root=str(root)))}


def counted(root: Path) -> list[str]:
    return [path for path, channel in channels(root).items() if channel.counted]


def as_nobody(root: Path, code: str) -> str:
    """Run code on the probe as a user without rights; root may read everything."""
    script = (
        "import os, sys; sys.path[:] = eval(sys.argv[1])\n"
        "from joulebench_plugins.rapl import RaplProbe\n"
        "if os.geteuid() == 0: os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "probe = RaplProbe(); settings = {'root': sys.argv[2]}\n" + code
    )
    done = subprocess.run(
        [sys.executable, "-c", script, repr(sys.path), str(root)], capture_output=True, text=True, check=True
    )
    return done.stdout


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that other users may enter, as pytest's own may not be."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


def test_packages_and_dram_are_counted_and_what_lies_inside_them_is_not(tmp_path: Path) -> None:
    FakePowercap(tmp_path, intel_zones(packages=2, dram_watts=2.0))
    assert counted(tmp_path) == ["rapl/package-0", "rapl/package-0/dram", "rapl/package-1", "rapl/package-1/dram"]
    assert set(channels(tmp_path)) - set(counted(tmp_path)) == {"rapl/package-0/core", "rapl/package-1/core"}


def test_a_package_that_mmio_shows_again_is_counted_once(tmp_path: Path) -> None:
    FakePowercap(tmp_path, intel_zones(mmio=True, core_watts=None, dram_watts=None))
    assert set(channels(tmp_path)) == {"rapl/package-0", "rapl/mmio/package-0"}
    assert counted(tmp_path) == ["rapl/package-0"]


def test_a_package_that_only_mmio_shows_is_counted(tmp_path: Path) -> None:
    FakePowercap(tmp_path, [PowercapZone("intel-rapl-mmio:0", "package-0", 5.0)])
    assert counted(tmp_path) == ["rapl/mmio/package-0"]


def test_psys_is_left_out_of_the_total_beside_a_package(tmp_path: Path) -> None:
    FakePowercap(tmp_path, intel_zones(psys_watts=20.0))
    assert "rapl/psys" in channels(tmp_path)
    assert "rapl/psys" not in counted(tmp_path)


def test_psys_alone_is_the_total_where_no_package_is(tmp_path: Path) -> None:
    FakePowercap(tmp_path, [PowercapZone("intel-rapl:0", "psys", 20.0), PowercapZone("intel-rapl:1", "dram", 2.0)])
    assert counted(tmp_path) == ["rapl/psys"]


def test_two_sockets_that_bear_one_name_are_both_counted(tmp_path: Path) -> None:
    zones = [PowercapZone("intel-rapl:0", "package-0", 5.0), PowercapZone("intel-rapl:1", "package-0", 5.0)]
    FakePowercap(tmp_path, zones)
    assert counted(tmp_path) == ["rapl/package-0", "rapl/package-0@intel-rapl:1"]


def test_nested_folders_give_the_same_channels_as_the_class_folder_of_links(tmp_path: Path) -> None:
    zones = intel_zones(packages=2, psys_watts=20.0, mmio=True)
    FakePowercap(tmp_path / "flat", zones, layout="sysfs")
    FakePowercap(tmp_path / "deep", zones, layout="nested")
    flat, deep = channels(tmp_path / "flat"), channels(tmp_path / "deep")
    assert list(flat) == list(deep)
    assert [c.counted for c in flat.values()] == [c.counted for c in deep.values()]
    assert len(flat) == len(zones)


def test_zones_numbered_in_hexadecimal_are_found_and_ordered(tmp_path: Path) -> None:
    FakePowercap(tmp_path, intel_zones(packages=12, core_watts=None, dram_watts=None))
    assert (tmp_path / "intel-rapl:b").is_dir()
    assert list(channels(tmp_path)) == [f"rapl/package-{number}" for number in range(12)]


def test_the_counter_read_by_the_sampler_gives_the_joules_that_were_consumed(tmp_path: Path) -> None:
    with FakePowercap(tmp_path, intel_zones(watts=lambda t: 10.0 + t)) as tree:
        channel = channels(tmp_path)["rapl/package-0"]
        reader = FileReader(channel.source.path)  # type: ignore[union-attr]
        before = reader.read()
        for _ in range(100):
            tree.advance(0.02)
        after = reader.read()
        reader.close()
    assert before is not None
    assert after is not None
    # ∫ (10 + t) dt from 0 to 2, within two counts
    assert (after - before) * channel.scale == pytest.approx(22.0, abs=2 * 61e-6)
    assert tree.joules("intel-rapl:0") == pytest.approx(22.0)


@given(steps=st.lists(st.floats(0.001, 0.2), min_size=1, max_size=30), highest=st.sampled_from([1_000_000, 2_500_007]))
def test_wraps_lose_and_invent_no_energy(
    tmp_path_factory: pytest.TempPathFactory, steps: list[float], highest: int
) -> None:
    root = tmp_path_factory.mktemp("powercap")
    with FakePowercap(root, intel_zones(watts=4.0, dram_watts=None, max_range_uj=highest)) as tree:
        channel = channels(root)["rapl/package-0"]
        assert channel.wraps_at is not None
        last = read([channel])[channel.path]
        assert last is not None
        counts = 0
        for step in steps:  # at most 0.8 J, less than a wrap
            tree.advance(step)
            now = read([channel])[channel.path]
            assert now is not None
            counts += (now - last) % channel.wraps_at
            last = now
        assert counts * channel.scale == pytest.approx(tree.joules("intel-rapl:0"), abs=2e-6)


def test_the_wrap_is_one_count_above_the_highest_value_that_the_device_states(tmp_path: Path) -> None:
    FakePowercap(tmp_path, intel_zones())
    # 2^32 counts of 61.035 µJ, as the kernel computes both (intel_rapl_common.c)
    assert INTEL_RANGE_UJ == 0xFFFFFFFF * 61035 // 1000
    assert channels(tmp_path)["rapl/package-0"].wraps_at == 2**32 * 61035 // 1000


def test_a_live_tree_follows_real_time(tmp_path: Path) -> None:
    with FakePowercap(tmp_path, intel_zones(watts=12.0)) as tree:
        channel = channels(tmp_path)["rapl/package-0"]
        first = read([channel])[channel.path]
        assert first is not None
        start = time.perf_counter()
        with tree.live(period_s=0.001):
            while tree.joules("intel-rapl:0") < 0.5:
                assert time.perf_counter() - start < 30
                time.sleep(0.005)
        elapsed_s = time.perf_counter() - start
        last = read([channel])[channel.path]
        assert last is not None
    # A child that starts late on a busy machine lags; it never runs ahead of the clock.
    assert 0.5 - 61e-6 <= (last - first) * channel.scale <= 12.0 * elapsed_s


def test_the_demonstration_command_keeps_a_tree_that_the_probe_reads(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "joulebench.testing.powercap", str(tmp_path), "--watts", "9"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == "[probe.rapl]\n"
        assert str(tmp_path) in server.stdout.readline()
        channel = channels(tmp_path)["rapl/package-0"]
        first = read([channel])[channel.path]
        deadline = time.monotonic() + 30
        while read([channel])[channel.path] == first and time.monotonic() < deadline:
            time.sleep(0.005)
        assert read([channel])[channel.path] != first
        server.terminate()


def test_counters_that_a_user_may_not_read_are_told_with_the_cure(open_folder: Path) -> None:
    zones = [PowercapZone("intel-rapl:0", "package-0", 5.0, readable=False)]
    FakePowercap(open_folder, zones)
    answer = as_nobody(
        open_folder, "found = probe.inspect(settings); print(found.ok); print(found.reason); print(found.cure)"
    )
    ok, reason, cure = answer.splitlines()
    assert ok == "False"
    assert "package-0: permission denied" in reason
    assert "only root" in reason
    assert f"sudo chmod a+r {open_folder}/*:*/energy_uj" in cure
    assert 'SUBSYSTEM=="powercap"' in cure
    assert "CAP_DAC_READ_SEARCH" in cure


def test_what_a_user_may_read_is_read_and_the_total_says_what_it_lacks(open_folder: Path) -> None:
    zones = [
        PowercapZone("intel-rapl:0", "package-0", 5.0),
        PowercapZone("intel-rapl:1", "package-1", 5.0, readable=False),
    ]
    FakePowercap(open_folder, zones)
    answer = as_nobody(
        open_folder, "print(probe.inspect(settings))\nfor each in probe.channels(settings): print(each.path, each.note)"
    )
    availability, *lines = answer.splitlines()
    assert "ok=True" in availability
    assert "package-1: permission denied" in availability
    assert len(lines) == 1
    assert lines[0].startswith("rapl/package-0 ")
    assert "the total lacks package-1" in lines[0]


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ({"text": "garbage\n"}, "shows no number"),
        ({"text": ""}, "shows no number"),
        ({"text": "999999999999999\n"}, "outside of its own range"),
        ({"text": "-1\n"}, "outside of its own range"),
        ({"start_uj": 0}, "not counting"),
        ({"max_range_uj": 0, "text": "5\n"}, "range"),
    ],
)
def test_a_zone_with_an_unusable_counter_is_left_out_and_named(
    tmp_path: Path, fault: dict[str, object], said: str
) -> None:
    bad = PowercapZone("intel-rapl:0:0", "dram", 0.0, **fault)  # type: ignore[arg-type]
    FakePowercap(tmp_path, [PowercapZone("intel-rapl:0", "package-0", 5.0), bad])
    report = inspect(tmp_path)
    assert report.ok
    assert report.reason is not None
    assert "package-0/dram" in report.reason
    assert said in report.reason
    assert list(channels(tmp_path)) == ["rapl/package-0"]


def test_zones_without_an_energy_counter_are_no_zones(tmp_path: Path) -> None:
    (tmp_path / "dtpm:0").mkdir()
    (tmp_path / "dtpm:0" / "power_uw").write_text("1\n")
    assert not inspect(tmp_path).ok
    assert "no zone with an energy counter" in (inspect(tmp_path).reason or "")


def test_a_missing_tree_in_a_virtual_machine_is_blamed_on_the_hypervisor(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text("flags\t\t: fpu hypervisor lahf_lm\n")
    reason = access.no_zones(tmp_path / "absent", proc=tmp_path, top=tmp_path)
    assert "virtual machine" in (reason.reason or "")
    assert "bare metal" in (reason.cure or "")


def test_a_missing_tree_in_a_container_is_blamed_on_its_engine(tmp_path: Path) -> None:
    (tmp_path / ".dockerenv").touch()
    reason = access.no_zones(tmp_path / "absent", proc=tmp_path, top=tmp_path)
    assert "container" in (reason.reason or "")
    assert "-v /sys/devices/virtual/powercap" in (reason.cure or "")


def test_a_missing_tree_on_bare_metal_is_blamed_on_the_driver(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text("flags\t\t: fpu lahf_lm\n")
    reason = access.no_zones(tmp_path / "absent", proc=tmp_path, top=tmp_path)
    assert "modprobe intel_rapl_msr" in (reason.cure or "")


def test_this_machine_has_counters_that_move_or_a_reason_why_not() -> None:
    report = PROBE.inspect(settings(PROBE.options))
    if not report.ok:
        assert report.reason
        assert "powercap" in report.reason or "energy counter" in report.reason
        return
    for channel in PROBE.channels(settings(PROBE.options)):
        assert isinstance(channel.source, FileSource)
        raw = read([channel])[channel.path]
        assert raw is not None
        assert channel.wraps_at is not None
        assert 0 <= raw < channel.wraps_at


def test_a_tree_on_a_disk_is_simulated_and_never_passes_for_a_measurement(tmp_path: Path) -> None:
    tree = FakePowercap(tmp_path, intel_zones())
    channels = RaplProbe().channels({"root": str(tree.root)})
    assert {channel.provenance for channel in channels} == {"simulated"}


def test_a_zone_on_a_disk_whose_counter_links_into_the_kernel_is_an_imitation(tmp_path: Path) -> None:
    folder = tmp_path / "intel-rapl:0"
    folder.mkdir()
    (folder / "name").write_text("package-0\n")
    (folder / "max_energy_range_uj").write_text("262143328850\n")
    served = next(file for file in (Path("/proc/sys/kernel/pid_max"), Path("/proc/sys/fs/file-max")) if file.exists())
    (folder / "energy_uj").symlink_to(served)
    (channel,) = RaplProbe().channels({"root": str(tmp_path)})
    assert provenance_of_file(folder / "energy_uj") == "measured"  # the file is the kernel's
    assert channel.provenance == "simulated"  # and no zone of it


def test_the_quantum_is_the_registers_and_not_a_microjoule(tmp_path: Path) -> None:
    tree = FakePowercap(tmp_path, intel_zones())
    for channel in RaplProbe().channels({"root": str(tree.root)}):
        assert channel.resolution == pytest.approx(2**-14, rel=1e-4)  # 61.035 µJ


def test_what_the_kernel_serves_is_measured() -> None:
    assert provenance_of_file(Path("/proc/stat")) == "measured"
    assert provenance_of_file(Path("/proc/no-such-file")) == "simulated"
