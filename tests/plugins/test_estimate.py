from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from probe_reading import imported_alone, read, settings

from joulebench.api import Availability, Channel, OptionValue, ReaderSource
from joulebench_plugins.estimate import EstimateProbe
from joulebench_plugins.estimate.reader import EstimateReader, process_clock
from joulebench_plugins.estimate.table import families, find_family

PROBE = EstimateProbe()


def channel(**given: OptionValue) -> Channel:
    (only,) = PROBE.channels(settings(PROBE.options, **given))
    return only


def argument(**given: OptionValue) -> str:
    source = channel(**given).source
    assert isinstance(source, ReaderSource)
    return source.argument


def machine(folder: Path, name: str, *, packages: int = 1, cores: int = 4, flags: str | None = "fpu") -> str:
    """A proc folder whose cpuinfo shows such a processor, two hardware threads to a core."""
    blocks = []
    for number in range(packages * cores * 2):
        package, core = divmod(number // 2, cores)
        lines = [f"processor\t: {number}", f"model name\t: {name}"]
        lines += [f"physical id\t: {package}", f"core id\t\t: {core}"]
        lines += [f"flags\t\t: {flags}"] if flags is not None else []
        blocks.append("\n".join(lines))
    (folder / "cpuinfo").write_text("\n\n".join(blocks) + "\n")
    return str(folder)


def spin(seconds: float) -> None:
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def model_j(idle_w: float, core_w: float) -> float:
    """The model's energy now, by the clocks that the standard library has for this process."""
    return idle_w * time.perf_counter() + core_w * time.process_time()


def test_a_process_clock_is_the_one_that_posix_gives() -> None:
    theirs = time.clock_gettime_ns(process_clock(os.getpid()))
    assert theirs == pytest.approx(time.process_time_ns(), abs=50_000_000)


def test_energy_is_idle_power_by_time_and_core_power_by_cpu_time() -> None:
    reader = EstimateReader(f"idle_w=2.0,core_w=5.0,pid={os.getpid()}")
    clocks = [model_j(2.0, 5.0)]
    first = reader.read()[0]
    clocks.append(model_j(2.0, 5.0))
    spin(0.05)
    clocks.append(model_j(2.0, 5.0))
    last = reader.read()[0]
    clocks.append(model_j(2.0, 5.0))
    assert first is not None
    assert last is not None
    # Each read lies between the readings of the clocks around it, within its microjoule.
    grown_j = (last - first) * 1e-6
    assert clocks[2] - clocks[1] - 2e-6 <= grown_j <= clocks[3] - clocks[0] + 2e-6


def test_a_sleeping_process_costs_idle_power_only() -> None:
    sleeper = [sys.executable, "-I", "-S", "-c", "print('ready', flush=True); input()"]
    with subprocess.Popen(sleeper, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        time.sleep(0.05)  # let it reach its wait
        reader = EstimateReader(f"idle_w=0.0,core_w=1000.0,pid={child.pid}")
        first = reader.read()[0]
        time.sleep(0.05)
        last = reader.read()[0]
        child.communicate(b"\n")
    assert first is not None
    assert first > 0
    assert last == first


def test_another_processes_cpu_time_is_seen_without_its_help() -> None:
    code = "import time\nprint('ready', flush=True)\nwhile time.process_time() < 30: pass"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        reader = EstimateReader(f"idle_w=0.0,core_w=10.0,pid={child.pid}")
        first = reader.read()[0]
        deadline = time.monotonic() + 30
        while reader.read()[0] == first:
            assert time.monotonic() < deadline
        child.kill()


def test_readers_in_two_processes_agree_on_the_value() -> None:
    text = f"idle_w=3.0,core_w=4.0,pid={os.getpid()}"
    code = (
        "import json, sys; sys.path[:] = json.loads(sys.argv[1])\n"
        "from joulebench_plugins.estimate.reader import EstimateReader\n"
        "print(EstimateReader(sys.argv[2]).read()[0])"
    )
    reader = EstimateReader(text)
    before = reader.read()[0]
    command = [sys.executable, "-I", "-S", "-c", code, json.dumps(sys.path), text]
    other = int(subprocess.run(command, capture_output=True, check=True).stdout)
    after = reader.read()[0]
    assert before is not None
    assert after is not None
    assert before <= other <= after


def test_without_a_process_the_idle_power_alone_counts() -> None:
    reader = EstimateReader("idle_w=2.0,core_w=1000000.0,pid=")
    before_j = 2.0 * time.perf_counter()
    raw = reader.read()[0]
    after_j = 2.0 * time.perf_counter()
    assert raw is not None
    assert before_j - 1e-6 <= raw * 1e-6 <= after_j


def test_the_counter_is_null_and_not_zero_once_the_process_has_gone() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        reader = EstimateReader(f"idle_w=1.0,core_w=1.0,pid={child.pid}")
        assert reader.read()[0] is not None
        child.communicate(b"\n")
    assert reader.read() == (None,)


def test_the_meter_reads_the_channel_of_a_process_and_of_an_idle_machine() -> None:
    for pid in (os.getpid(), None):
        raw = read([channel()], pid)["estimate/cpu"]
        assert raw is not None
        assert raw > 0


def test_the_figure_is_never_called_measured() -> None:
    assert channel().provenance == "estimated"
    assert channel(idle_w=1.0, core_w=1.0, relative_range=0.01).provenance == "estimated"
    assert channel().note.startswith("estimate:")


def test_the_range_is_taken_as_a_rectangle() -> None:
    assert channel(relative_range=0.3).relative_uncertainty == pytest.approx(0.3 / math.sqrt(3))


def test_the_profiles_values_stand_before_the_tables() -> None:
    assert argument(idle_w=1.25, core_w=0.5) == "idle_w=1.25,core_w=0.5,pid={pid}"
    assert argument(idle_w=0.0).startswith("idle_w=0.0,")
    assert "from the profile: core_w" in channel(core_w=2.0).note


def test_a_virtual_machine_bears_the_idle_power_of_its_own_cores(tmp_path: Path) -> None:
    root = machine(tmp_path, "AMD EPYC 7763", cores=2, flags="fpu hypervisor")
    family = find_family("model name: AMD EPYC 7763")
    share_w = family.idle_w * 2 / family.package_cores
    assert argument(proc_root=root).startswith(f"idle_w={share_w!r},")
    assert "a virtual machine: the idle power is the share of the 2 visible cores" in (channel(proc_root=root).note)


def test_a_real_machine_bears_the_idle_power_of_all_its_packages(tmp_path: Path) -> None:
    root = machine(tmp_path, "AMD EPYC 7763", packages=2, cores=64)
    family = find_family("model name: AMD EPYC 7763")
    assert argument(proc_root=root).startswith(f"idle_w={2 * family.idle_w!r},")
    assert "virtual" not in channel(proc_root=root).note


def test_a_small_arm_server_is_taken_for_a_part_of_one(tmp_path: Path) -> None:
    block = "processor\t: {}\nCPU implementer\t: 0x41\nCPU part\t: 0xd0c\nFeatures\t: fp\n"
    (tmp_path / "cpuinfo").write_text("\n".join(block.format(number) for number in range(2)))
    family = find_family("CPU implementer: 0x41; CPU part: 0xd0c")
    assert family.name.startswith("ARM server")
    share_w = family.idle_w * 2 / family.package_cores
    assert argument(proc_root=str(tmp_path)).startswith(f"idle_w={share_w!r},")
    assert "perhaps a virtual machine" in channel(proc_root=str(tmp_path)).note


@pytest.mark.parametrize(
    ("description", "family"),
    [
        ("model name: AMD EPYC 9654 96-Core Processor", "AMD EPYC"),
        ("model name: AMD Ryzen Threadripper PRO 5995WX", "AMD Threadripper"),
        ("model name: AMD Ryzen 7 5800H with Radeon Graphics", "AMD Ryzen, mobile"),
        ("model name: AMD Ryzen 9 7950X 16-Core Processor", "AMD Ryzen, desktop"),
        ("model name: Intel(R) Xeon(R) CPU E3-1230 v5 @ 3.40GHz", "Intel Xeon, workstation and entry"),
        ("model name: Intel(R) Xeon(R) Platinum 8380 CPU @ 2.30GHz", "Intel Xeon"),
        ("model name: Intel(R) N100", "Intel Atom class"),
        ("model name: Intel(R) Celeron(R) J4125 CPU @ 2.00GHz", "Intel Atom class"),
        ("model name: 11th Gen Intel(R) Core(TM) i7-1165G7 @ 2.80GHz", "Intel Core, mobile"),
        ("model name: Intel(R) Core(TM) Ultra 7 155H", "Intel Core, mobile"),
        ("model name: 13th Gen Intel(R) Core(TM) i9-13900K", "Intel Core, desktop"),
        ("CPU implementer: 0x61; CPU part: 0x023", "Apple silicon"),
        ("CPU implementer: 0x41; CPU part: 0xd40", "ARM server (Neoverse and Ampere)"),
        ("Model: Raspberry Pi 5 Model B; CPU implementer: 0x41", "Raspberry Pi"),
        ("CPU implementer: 0x41; CPU part: 0xd08", "ARM board"),
        ("model name: Loongson-3A5000", "unknown processor"),
        ("", "unknown processor"),
    ],
)
def test_a_processor_is_put_into_its_family(description: str, family: str) -> None:
    assert find_family(description).name == family


@pytest.mark.parametrize("family", families(), ids=lambda family: family.name)
def test_a_familys_powers_add_up_to_the_design_power_that_its_source_names(family) -> None:  # type: ignore[no-untyped-def]
    assert 0 < family.relative_range < 1
    full_w = family.idle_w + family.core_w * family.package_cores
    stated = [
        (float(low), float(high or low)) for low, high in re.findall(r"(\d+)(?:–(\d+))? W(?! per)", family.source)
    ]
    low, high = min(low for low, _ in stated), max(high for _, high in stated)
    assert low <= full_w <= 1.1 * high


def test_switched_off_it_says_how_to_switch_it_on() -> None:
    report: Availability = PROBE.inspect(settings(PROBE.options, enabled=False))
    assert not report.ok
    assert "enabled = true" in (report.cure or "")


def test_without_cpuinfo_it_says_why_it_cannot_work(tmp_path: Path) -> None:
    report = PROBE.inspect(settings(PROBE.options, proc_root=str(tmp_path)))
    assert not report.ok
    assert "Linux" in (report.reason or "")


def test_it_works_on_this_machine() -> None:
    assert PROBE.inspect(settings(PROBE.options)).ok
    assert channel().relative_uncertainty > 0.1


def test_the_samplers_reader_needs_the_standard_library_only() -> None:
    assert imported_alone("joulebench_plugins.estimate.reader") == set()
