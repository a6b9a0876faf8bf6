"""CPU energy from RAPL counters, through the Linux powercap files."""

from __future__ import annotations

from pathlib import Path

from joulebench.api import Availability, Channel, FileSource, Option, Probe, Settings
from joulebench.hookspecs import hookimpl
from joulebench_plugins.rapl import access
from joulebench_plugins.rapl.zones import PowerZone, find_zones

JOULEBENCH_API = 1

#: The kernel gives the counter in microjoules (Documentation/power/powercap/powercap.rst).
_JOULES_PER_COUNT = 1e-6
#: Intel's manual (SDM vol. 3, "RAPL interfaces"): energy status is updated about every 1 ms.
_UPDATE_PERIOD_S = 1e-3


class RaplProbe(Probe):
    """Energy of processor packages, DRAM and what else the powercap tree shows."""

    name = "rapl"
    summary = "CPU package and DRAM energy from RAPL (powercap)"
    options = (Option("root", "str", "/sys/class/powercap", "folder with the powercap zones"),)

    def inspect(self, settings: Settings) -> Availability:
        """Yes if any zone can be read; zones that cannot are named with the reason and cure."""
        root = Path(str(settings["root"]))
        zones = find_zones(root)
        if not zones:
            return access.no_zones(root)
        left_out = [zone for zone in zones if zone.fault is not None]
        return access.with_faults(root, left_out, any_readable=len(left_out) < len(zones))

    def channels(self, settings: Settings) -> tuple[Channel, ...]:
        """One channel per readable zone."""
        zones = find_zones(Path(str(settings["root"])))
        readable = [zone for zone in zones if zone.fault is None]
        counted = counted_zones(readable)
        # What the total would hold if it could be read: packages and DRAM, each once.
        lacking = [zone.label for zone in zones if zone in counted_zones(zones) and zone.fault is not None]
        return tuple(_channel(zone, zone in counted, lacking) for zone in readable)


def counted_zones(zones: list[PowerZone]) -> set[PowerZone]:
    """The zones that make up the machine's total without counting a joule twice.

    Packages and DRAM (a package's counter covers its dies, not the memory modules). Core and
    uncore lie inside a package; psys lies around all, so it stands alone or not at all; a package
    that a second interface (MMIO) shows again is counted once, at the first.
    """
    counted: set[PowerZone] = set()
    shown_by: dict[tuple[str, str], str] = {}
    for zone in zones:  # in order of interface: a twin comes after its original
        first = shown_by.setdefault((zone.package, zone.name), zone.interface)
        if (zone.is_package or zone.name == "dram") and first == zone.interface:
            counted.add(zone)
    if not any(zone.is_package for zone in counted):
        # psys covers the DRAM as well, so here it replaces it.
        counted = {zone for zone in zones if zone.name == "psys"} or counted
    return counted


def _channel(zone: PowerZone, counted: bool, lacking: list[str]) -> Channel:
    note = "updated about every 1 ms"
    lacking = lacking if counted else []
    if lacking:
        note += f"; the total lacks {', '.join(lacking)}, which cannot be read"
    return Channel(
        path=f"rapl/{zone.label}",
        quantity="energy",
        unit="J",
        kind="counter",
        source=FileSource(str(zone.folder / "energy_uj")),
        scale=_JOULES_PER_COUNT,
        provenance=zone.provenance,
        domain=zone.label,
        counted=counted,
        rate_hz=100.0,
        update_period_s=_UPDATE_PERIOD_S,
        resolution=None if zone.count_uj is None else zone.count_uj * _JOULES_PER_COUNT,
        wraps_at=zone.modulus_uj,
        note=note,
        total_lacks=tuple(lacking),
    )


@hookimpl
def joulebench_probes() -> list[type[Probe]]:
    """The probe ``rapl``."""
    return [RaplProbe]
