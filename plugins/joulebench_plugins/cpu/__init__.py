"""CPU time of the machine and the worker, and the cores' frequencies, from Linux's files."""

from __future__ import annotations

import os
from pathlib import Path

from joulebench.api import Availability, Channel, FileSource, Option, Probe, Settings
from joulebench.hookspecs import hookimpl

JOULEBENCH_API = 1

#: Fields of the "cpu" line of /proc/stat (proc(5)): user 1, nice 2, system 3, idle 4, iowait 5,
#: irq 6, softirq 7, steal 8. Guest time is already inside user and nice.
_BUSY = (1, 2, 3, 6, 7)
_STEAL = (8,)
#: utime and stime are fields 14 and 15 of /proc/PID/stat, 11 and 12 after the name's ")".
_OWN_TIME = (11, 12)
#: With more frequency domains than this, each is read once a second: a read may have to ask the
#: core itself, which is no longer cheap on a machine with a hundred of them.
_MANY_POLICIES = 16


class CpuProbe(Probe):
    """CPU time and frequency."""

    name = "cpu"
    summary = "CPU time of the machine and the worker, core frequencies"
    options = (
        Option("proc_root", "str", "/proc", "the proc file system"),
        Option("cpu_root", "str", "/sys/devices/system/cpu", "the processors in sysfs"),
    )

    def inspect(self, settings: Settings) -> Availability:
        """Yes where /proc/stat is; says so where no frequency can be read."""
        stat = Path(str(settings["proc_root"])) / "stat"
        if not stat.exists():
            return Availability.no(
                f"no {stat}: this system has no Linux proc file system", "run on Linux, or mount proc in the container"
            )
        if not _frequency_files(settings):
            return Availability(
                True,
                "no core frequencies: there is no cpufreq policy (usual in a virtual machine), "
                "and the 'cpu MHz' of /proc/cpuinfo is too costly to sample",
                "measure on bare metal with a cpufreq driver loaded",
            )
        return Availability.yes()

    def channels(self, settings: Settings) -> tuple[Channel, ...]:
        """CPU time of machine and worker, time stolen by a hypervisor, frequencies."""
        proc = str(settings["proc_root"])
        machine = FileSource(f"{proc}/stat", key="cpu ", columns=_BUSY)
        stolen = FileSource(f"{proc}/stat", key="cpu ", columns=_STEAL)
        worker = FileSource(f"{proc}/{{pid}}/stat", columns=_OWN_TIME, after=")")
        # Stolen time is no work of this machine: it would make others' load look like ours.
        steal_note = "time that the hypervisor gave to others while a task here was ready"
        return (
            _cpu_time("cpu/machine", machine, "machine", "all work: user, system, interrupts"),
            _cpu_time("cpu/steal", stolen, "hypervisor", steal_note),
            _cpu_time("cpu/process", worker, "process", "all threads, without children"),
            *_frequencies(settings),
        )


def _cpu_time(path: str, source: FileSource, domain: str, note: str) -> Channel:
    tick_s = 1.0 / os.sysconf("SC_CLK_TCK")
    return Channel(
        path=path,
        quantity="cpu_time",
        unit="s",
        kind="counter",
        source=source,
        scale=tick_s,
        provenance="measured",
        domain=domain,
        counted=False,
        resolution=tick_s,
        note=note,
    )


def _frequency_files(settings: Settings) -> list[tuple[int, Path]]:
    """Readable ``scaling_cur_freq`` files by policy: a policy is the cores that share a clock."""
    files: list[tuple[int, Path]] = []
    for folder in (Path(str(settings["cpu_root"])) / "cpufreq").glob("policy*"):
        number = folder.name.removeprefix("policy")
        file = folder / "scaling_cur_freq"
        if number.isdecimal() and _shows_number(file):
            files.append((int(number), file))
    return sorted(files)


def _shows_number(file: Path) -> bool:
    try:
        return int(file.read_text(encoding="utf-8")) > 0
    except (OSError, ValueError):  # "<unknown>" where the driver cannot tell
        return False


def _frequencies(settings: Settings) -> list[Channel]:
    files = _frequency_files(settings)
    rate_hz = 10.0 if len(files) <= _MANY_POLICIES else 1.0
    return [
        Channel(
            path=f"cpu/frequency/policy{number}",
            quantity="frequency",
            unit="Hz",
            kind="gauge",
            source=FileSource(str(file)),
            scale=1e3,  # scaling_cur_freq is in kHz (Documentation/admin-guide/pm/cpufreq.rst)
            provenance="measured",
            domain=f"policy-{number}",
            counted=False,
            rate_hz=rate_hz,
            resolution=1e3,
        )
        for number, file in files
    ]


@hookimpl
def joulebench_probes() -> list[type[Probe]]:
    """The probe ``cpu``."""
    return [CpuProbe]
