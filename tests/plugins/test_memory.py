from __future__ import annotations

import mmap
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from probe_reading import read, settings

from joulebench.api import Channel
from joulebench_plugins.memory import MemoryProbe

PROBE = MemoryProbe()
MIB = 2**20


def channels(**options: str) -> dict[str, Channel]:
    return {channel.path: channel for channel in PROBE.channels(settings(PROBE.options, **options))}


@contextmanager
def holder(code: str) -> Iterator[int]:
    """A process that runs the code, says so and waits; gives its id."""
    script = f"{code}\nprint('ready', flush=True)\ninput()"
    command = [sys.executable, "-I", "-S", "-c", script]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        yield child.pid
        child.communicate(b"\n")


def figures(pid: int) -> dict[str, float]:
    result = channels()
    values: dict[str, float] = {}
    for path, raw in read(list(result.values()), pid).items():
        assert raw is not None, path
        values[path] = raw * result[path].scale
    return values


def test_memory_that_a_process_fills_shows_as_anonymous_and_resident() -> None:
    with holder("pass") as small, holder(f"kept = bytearray(b'x' * {64 * MIB})") as large:
        before, after = figures(small), figures(large)
    for kind in ("resident", "anonymous"):
        grown = after[f"memory/process/{kind}"] - before[f"memory/process/{kind}"]
        assert grown == pytest.approx(64 * MIB, rel=0.1), kind
    file_backed = "memory/process/file_backed"
    assert abs(after[file_backed] - before[file_backed]) < 8 * MIB


def test_a_mapped_file_shows_as_file_backed_and_not_as_anonymous(tmp_path: Path) -> None:
    file = tmp_path / "weights"
    file.write_bytes(os.urandom(MIB) * 32)
    code = (
        f"import mmap; file = open({str(file)!r}, 'rb')\n"
        "kept = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)\n"
        f"touched = sum(kept[place] for place in range(0, len(kept), {mmap.PAGESIZE}))"
    )
    with holder("import mmap") as small, holder(code) as large:
        before, after = figures(small), figures(large)
    grown = {kind: after[kind] - before[kind] for kind in after}
    assert grown["memory/process/file_backed"] == pytest.approx(32 * MIB, rel=0.1)
    assert grown["memory/process/anonymous"] < 4 * MIB


def test_the_peak_stays_when_the_memory_is_given_back() -> None:
    with holder(f"kept = bytearray(b'x' * {64 * MIB}); del kept") as pid:
        result = figures(pid)
    assert result["memory/process/peak"] > 64 * MIB
    assert result["memory/process/resident"] < 64 * MIB


def test_the_machines_available_memory_is_that_of_meminfo() -> None:
    line = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemAvailable:"))
    channel = channels()["memory/machine/available"]
    raw = read([channel])[channel.path]
    assert raw is not None
    assert raw * channel.scale == pytest.approx(int(line.split()[1]) * 1024, rel=0.2)


def test_the_control_groups_memory_is_read_where_the_process_is_in_one(tmp_path: Path) -> None:
    proc, cgroup = tmp_path / "proc", tmp_path / "cgroup"
    (proc / "self").mkdir(parents=True)
    (proc / "self" / "statm").write_text("1 1 1 1 1 1 1\n")
    (proc / "self" / "cgroup").write_text("4:memory:/old\n0::/user.slice/job\n")
    (cgroup / "user.slice" / "job").mkdir(parents=True)
    (cgroup / "user.slice" / "job" / "memory.current").write_text("123456789\n")
    options = {"proc_root": str(proc), "cgroup_root": str(cgroup)}
    assert PROBE.inspect(settings(PROBE.options, **options)).reason is None
    channel = channels(**options)["memory/cgroup"]
    assert read([channel]) == {"memory/cgroup": 123456789}
    assert channel.domain == "cgroup"


def test_without_a_control_group_the_channel_is_absent_and_inspect_says_so(tmp_path: Path) -> None:
    options = {"cgroup_root": str(tmp_path)}
    report = PROBE.inspect(settings(PROBE.options, **options))
    assert report.ok
    assert "no memory.current" in (report.reason or "")
    assert "memory/cgroup" not in channels(**options)


def test_without_a_proc_file_system_the_probe_says_so(tmp_path: Path) -> None:
    report = PROBE.inspect(settings(PROBE.options, proc_root=str(tmp_path)))
    assert not report.ok
    assert str(tmp_path) in (report.reason or "")
    assert report.cure


def test_a_process_that_has_gone_gives_null_and_not_zero() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    result = [c for c in channels().values() if c.domain == "process"]
    assert set(read(result, child.pid).values()) == {None}
