"""Why RAPL cannot be read here, and what would change that."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from joulebench.api import Availability
from joulebench_plugins.rapl.zones import NO_PERMISSION, PowerZone


def no_zones(root: Path, proc: Path = Path("/proc"), top: Path = Path("/")) -> Availability:
    """The answer where there is no zone with an energy counter."""
    if not root.is_dir():
        reason = f"no powercap tree: {root} does not exist"
    elif any(root.iterdir()):
        reason = f"no zone with an energy counter under {root}"
    else:
        reason = f"the powercap tree {root} is empty"
    if _in_container(top):
        return Availability.no(
            f"{reason}; this looks like a container, whose engine hides it",
            "mount it: docker run -v /sys/class/powercap:/sys/class/powercap:ro "
            "-v /sys/devices/virtual/powercap:/sys/devices/virtual/powercap:ro …",
        )
    if _in_virtual_machine(proc):
        return Availability.no(
            f"{reason}; this is a virtual machine, and hypervisors do not pass RAPL on",
            "measure on bare metal; until then the probe 'estimate' gives a labelled estimate",
        )
    return Availability.no(
        reason,
        "load the driver: sudo modprobe intel_rapl_msr (AMD too, since Linux 5.8); other processors have no RAPL",
    )


def with_faults(root: Path, left_out: Sequence[PowerZone], *, any_readable: bool) -> Availability:
    """Yes or no, naming the zones that are left out."""
    if not left_out:
        return Availability.yes()
    reasons = "; ".join(f"{zone.label}: {zone.fault}" for zone in left_out)
    denied = any(zone.fault == NO_PERMISSION for zone in left_out)
    cure = permission_cure(root) if denied else None
    if any_readable:
        return Availability(True, f"left out: {reasons}", cure)
    if denied:
        reasons += " (since Linux 5.10 only root may read energy counters)"
    return Availability.no(f"no energy counter can be read: {reasons}", cure)


def permission_cure(root: Path) -> str:
    """How to let a user read the counters; docs/sensors.md says what that gives away."""
    return (
        f"until the next boot: sudo chmod a+r {root}/*:*/energy_uj; for good, a udev rule in "
        '/etc/udev/rules.d/70-rapl.rules: SUBSYSTEM=="powercap", ACTION=="add", '
        "RUN+=\"/bin/sh -c 'chmod a+r /sys%p/energy_uj'\"; "
        "or run as root, or with the capability CAP_DAC_READ_SEARCH"
    )


def _in_container(top: Path) -> bool:
    return any((top / mark).exists() for mark in (".dockerenv", "run/.containerenv"))


def _in_virtual_machine(proc: Path) -> bool:
    try:
        text = (proc / "cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return any("hypervisor" in line.split() for line in text.splitlines() if "flags" in line)
