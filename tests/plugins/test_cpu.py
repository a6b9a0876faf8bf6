from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from probe_reading import read, settings

from joulebench.api import Channel
from joulebench_plugins.cpu import CpuProbe

PROBE = CpuProbe()
#: user nice system idle iowait irq softirq steal guest guest_nice
STAT = "cpu  1000 200 300 9999 888 40 5 77 600 60\ncpu0 1 1 1 1 1 1 1 1 1 1\n"


def channels(**options: str) -> dict[str, Channel]:
    return {channel.path: channel for channel in PROBE.channels(settings(PROBE.options, **options))}


def seconds(path: str, pid: int | None = None) -> float:
    channel = channels()[path]
    raw = read([channel], pid)[path]
    assert raw is not None
    return raw * channel.scale


def test_the_machines_busy_time_leaves_out_idle_steal_and_guests_counted_twice(tmp_path: Path) -> None:
    (tmp_path / "stat").write_text(STAT)
    result = channels(proc_root=str(tmp_path))
    wanted = [result["cpu/machine"], result["cpu/steal"]]
    assert read(wanted) == {"cpu/machine": 1000 + 200 + 300 + 40 + 5, "cpu/steal": 77}


def test_a_process_time_is_found_behind_a_name_with_spaces_and_brackets(tmp_path: Path) -> None:
    (tmp_path / "77").mkdir()
    (tmp_path / "stat").write_text(STAT)
    fields = ["S", *[str(number) for number in range(4, 53)]]
    (tmp_path / "77" / "stat").write_text(f"77 (odd) name (x) {' '.join(fields)}\n")
    result = channels(proc_root=str(tmp_path))
    # Each field holds its own number in proc(5): utime is 14, stime 15.
    assert read([result["cpu/process"]], 77) == {"cpu/process": 14 + 15}


def test_this_process_time_agrees_with_its_own_account() -> None:
    end = time.process_time() + 0.05
    while time.process_time() < end:
        pass
    own = os.times()
    tick_s = 1 / os.sysconf("SC_CLK_TCK")
    assert seconds("cpu/process", os.getpid()) == pytest.approx(own.user + own.system, abs=0.05)
    assert channels()["cpu/process"].scale == tick_s


def test_the_work_of_one_process_is_within_the_machines_busy_time() -> None:
    before = seconds("cpu/machine") + seconds("cpu/steal")
    busy = "import time\nwhile time.process_time() < 0.3: pass"
    subprocess.run([sys.executable, "-I", "-S", "-c", busy], check=True)
    # The machine's account is taken at timer ticks, and a hypervisor's part is kept apart.
    assert seconds("cpu/machine") + seconds("cpu/steal") - before >= 0.2


def policies(folder: Path, values: dict[int, str]) -> str:
    for number, value in values.items():
        (folder / "cpufreq" / f"policy{number}").mkdir(parents=True)
        (folder / "cpufreq" / f"policy{number}" / "scaling_cur_freq").write_text(value)
    return str(folder)


def test_frequencies_are_read_by_policy_in_numeric_order(tmp_path: Path) -> None:
    root = policies(tmp_path, {10: "2400000\n", 2: "800000\n"})
    result = [c for c in channels(cpu_root=root).values() if c.quantity == "frequency"]
    assert read(result) == {"cpu/frequency/policy2": 800_000, "cpu/frequency/policy10": 2_400_000}
    assert list(read(result)) == ["cpu/frequency/policy2", "cpu/frequency/policy10"]
    assert result[1].scale * 2_400_000 == 2.4e9


def test_a_policy_that_does_not_know_its_frequency_is_left_out(tmp_path: Path) -> None:
    root = policies(tmp_path, {0: "<unknown>\n"})
    assert not [c for c in channels(cpu_root=root).values() if c.quantity == "frequency"]
    report = PROBE.inspect(settings(PROBE.options, cpu_root=root))
    assert "no core frequencies" in (report.reason or "")


def test_many_policies_are_sampled_more_slowly(tmp_path: Path) -> None:
    root = policies(tmp_path, dict.fromkeys(range(64), "800000\n"))
    rates = {c.rate_hz for c in channels(cpu_root=root).values() if c.quantity == "frequency"}
    assert rates == {1.0}


def test_without_a_proc_file_system_the_probe_says_so(tmp_path: Path) -> None:
    report = PROBE.inspect(settings(PROBE.options, proc_root=str(tmp_path)))
    assert not report.ok
    assert str(tmp_path) in (report.reason or "")


def test_this_machine_gives_frequencies_or_says_why_not() -> None:
    report = PROBE.inspect(settings(PROBE.options))
    assert report.ok
    given = [c for c in channels().values() if c.quantity == "frequency"]
    assert bool(given) == (report.reason is None)
