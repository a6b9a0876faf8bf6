"""Memory of the worker, of its control group and of the machine, from /proc and cgroup files."""

from __future__ import annotations

import os
from pathlib import Path

from joulebench.api import Availability, Channel, FileSource, Option, Probe, Settings
from joulebench.hookspecs import hookimpl

JOULEBENCH_API = 1

#: /proc gives "kB" and means 1,024 bytes (proc(5)).
_KIB = 1024.0
_SPLIT_NOTE = "resident memory is anonymous + file-backed + shared; weights that are mapped from "
_SPLIT_NOTE += "a file are file-backed and can be dropped by the kernel"


class MemoryProbe(Probe):
    """Resident memory of the worker by kind, its peak, and what the machine has left."""

    name = "memory"
    summary = "memory of the worker, its control group and the machine"
    options = (
        Option("proc_root", "str", "/proc", "the proc file system"),
        Option("cgroup_root", "str", "/sys/fs/cgroup", "the control group file system"),
    )

    def inspect(self, settings: Settings) -> Availability:
        """Yes where the proc file system has what is read here."""
        proc = Path(str(settings["proc_root"]))
        if not (proc / "self" / "statm").exists():
            return Availability.no(
                f"no {proc}/self/statm: this system has no Linux proc file system",
                "run on Linux, or mount proc in the container",
            )
        if _cgroup_file(settings) is None:
            return Availability(True, "no memory.current of a control group (cgroup v2) here")
        return Availability.yes()

    def channels(self, settings: Settings) -> tuple[Channel, ...]:
        """Channels of the worker, of the machine, and of the control group where there is one."""
        proc = str(settings["proc_root"])
        status = f"{proc}/{{pid}}/status"
        channels = [
            _gauge(
                "resident",
                FileSource(f"{proc}/{{pid}}/statm", columns=(1,)),
                float(os.sysconf("SC_PAGE_SIZE")),
                "process",
                note=_SPLIT_NOTE,
            ),
            _gauge("anonymous", _line(status, "RssAnon:"), _KIB, "process"),
            _gauge("file_backed", _line(status, "RssFile:"), _KIB, "process"),
            # A peak cannot be missed between two reads.
            _gauge("peak", _line(status, "VmHWM:"), _KIB, "process", rate_hz=1.0),
            _gauge("available", _line(f"{proc}/meminfo", "MemAvailable:"), _KIB, "machine"),
        ]
        cgroup = _cgroup_file(settings)
        if cgroup is not None:
            note = "of this process's control group: the page cache of its files included"
            channels.append(_gauge("cgroup", FileSource(str(cgroup)), 1.0, "cgroup", note=note))
        return tuple(channels)


def _line(path: str, key: str) -> FileSource:
    return FileSource(path, key=key, columns=(1,))


def _gauge(
    name: str, source: FileSource, scale: float, domain: str, *, rate_hz: float = 10.0, note: str = ""
) -> Channel:
    return Channel(
        path=f"memory/{domain}/{name}" if domain != "cgroup" else "memory/cgroup",
        quantity="memory",
        unit="bytes",
        kind="gauge",
        source=source,
        scale=scale,
        provenance="measured",
        domain=domain,
        counted=False,
        rate_hz=rate_hz,
        resolution=scale,
        note=note,
    )


def _cgroup_file(settings: Settings) -> Path | None:
    """``memory.current`` of the control group that this process and its workers are in."""
    root = Path(str(settings["cgroup_root"]))
    try:
        text = (Path(str(settings["proc_root"])) / "self" / "cgroup").read_text(encoding="utf-8")
    except OSError:
        return None
    for line in text.splitlines():
        # "0::/path" is the unified hierarchy (cgroups(7)); the root group has no memory.current.
        if line.startswith("0::"):
            file = root / line[3:].lstrip("/") / "memory.current"
            return file if os.access(file, os.R_OK) else None
    return None


@hookimpl
def joulebench_probes() -> list[type[Probe]]:
    """The probe ``memory``."""
    return [MemoryProbe]
