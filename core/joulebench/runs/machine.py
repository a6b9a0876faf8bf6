"""The machine and its state before a run: recorded, never changed."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Final

from joulebench.backendkit import allowed_cores

_CPU_ROOT: Final = Path("/sys/devices/system/cpu")
_THREAD_VARIABLES: Final = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_CORETYPE",
    "CUDA_VISIBLE_DEVICES",
)


@dataclass(frozen=True, slots=True)
class Processor:
    """The processor, and how many of its CPUs this process may use."""

    model: str | None
    architecture: str
    logical_cpus: int | None
    usable_cpus: int
    physical_cores: int | None


@dataclass(frozen=True, slots=True)
class Machine:
    """Processor, memory, system. No host name: a session is made to be shared."""

    cpu: Processor
    memory_bytes: int | None
    system: str | None
    kernel: str
    virtualization: str | None
    container: str | None


@dataclass(frozen=True, slots=True)
class Preflight:
    """What can make a figure differ from another day's, as it is before the run."""

    governor: str | None
    turbo: str | None
    smt: str | None
    usable_cpus: int
    load_1min: float | None
    memory_available_bytes: int | None
    swap_free_bytes: int | None
    power_supply: str | None
    cgroup_cpu_max: str | None
    cgroup_memory_max: str | None
    environment: Mapping[str, str]
    accelerators: tuple[str, ...]


def _read(path: Path | str) -> str | None:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip() or None
    except OSError:
        return None


def describe_machine() -> Machine:
    """The machine that this is."""
    return Machine(
        cpu=Processor(
            model=_cpu_field("model name") or platform.processor() or None,
            architecture=platform.machine(),
            logical_cpus=os.cpu_count(),
            usable_cpus=allowed_cores(),
            physical_cores=_physical_cores(),
        ),
        memory_bytes=_meminfo("MemTotal"),
        system=_os_name(),
        kernel=f"{platform.system()} {platform.release()}",
        virtualization=_virtualization(),
        container=_container(),
    )


def _cpu_field(name: str) -> str | None:
    for line in (_read("/proc/cpuinfo") or "").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return None


def _physical_cores() -> int | None:
    cores: set[tuple[str | None, str | None]] = set()
    for topology in _CPU_ROOT.glob("cpu[0-9]*/topology"):
        cores.add((_read(topology / "physical_package_id"), _read(topology / "core_id")))
    return len(cores) or None


def _meminfo(name: str) -> int | None:
    match = re.search(rf"^{name}:\s+(\d+) kB", _read("/proc/meminfo") or "", re.MULTILINE)
    return int(match[1]) * 1024 if match else None


def _os_name() -> str | None:
    match = re.search(r'^PRETTY_NAME="?([^"\n]+)', _read("/etc/os-release") or "", re.MULTILINE)
    return match[1] if match else platform.platform()


def _virtualization() -> str | None:
    """The hypervisor, by the processor's flag and the board's names; null on bare metal."""
    if " hypervisor" not in (_cpu_field("flags") or ""):
        return None
    vendor = _read("/sys/class/dmi/id/sys_vendor")
    return vendor or "virtual machine"


def _container() -> str | None:
    if Path("/.dockerenv").exists():
        return "docker"
    value = _read("/run/systemd/container")
    return value or ("podman" if Path("/run/.containerenv").exists() else None)


def preflight() -> Preflight:
    """The machine's state as it is now."""
    load = os.getloadavg() if hasattr(os, "getloadavg") else None
    return Preflight(
        governor=_all_equal(_CPU_ROOT.glob("cpufreq/policy*/scaling_governor")),
        turbo=_turbo(),
        smt=_read(_CPU_ROOT / "smt/control"),
        usable_cpus=allowed_cores(),
        load_1min=load[0] if load else None,
        memory_available_bytes=_meminfo("MemAvailable"),
        swap_free_bytes=_meminfo("SwapFree"),
        power_supply=_power_supply(),
        cgroup_cpu_max=_read("/sys/fs/cgroup/cpu.max"),
        cgroup_memory_max=_read("/sys/fs/cgroup/memory.max"),
        environment={name: os.environ[name] for name in _THREAD_VARIABLES if name in os.environ},
        accelerators=tuple(_accelerators()),
    )


def _all_equal(files: Iterable[Path]) -> str | None:
    values = sorted({value for file in files if (value := _read(file)) is not None})
    return " / ".join(values) or None


def _turbo() -> str | None:
    no_turbo = _read(_CPU_ROOT / "intel_pstate/no_turbo")
    if no_turbo is not None:
        return "off" if no_turbo == "1" else "on"
    boost = _read(_CPU_ROOT / "cpufreq/boost")
    return None if boost is None else ("on" if boost == "1" else "off")


def _power_supply() -> str | None:
    for supply in sorted(Path("/sys/class/power_supply").glob("*")):
        if _read(supply / "type") == "Mains":
            return "mains" if _read(supply / "online") == "1" else "battery"
    return None


def _accelerators() -> list[str]:
    """Accelerators with their clocks and persistence, as the vendor's tool prints them."""
    query = "name,driver_version,persistence_mode,clocks.applications.graphics,power.limit"
    command = ["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return done.stdout.strip().splitlines() if done.returncode == 0 else []


def versions(distributions: Mapping[str, str]) -> dict[str, str]:
    """Versions of Python, the core's libraries and those that the plugins name."""
    versions_of = {"python": sys.version.split()[0]}
    for name in ("joulebench", "pyarrow", "pluggy", "click"):
        versions_of[name] = metadata.version(name)
    versions_of.update(distributions)
    return versions_of
