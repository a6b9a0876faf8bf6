"""Temperatures and thermal throttling, from the kernel's hwmon, thermal and CPU files."""

from __future__ import annotations

from pathlib import Path

from joulebench.api import Availability, Channel, FileSource, Option, Probe, ReaderSource, Settings, provenance_of_file
from joulebench.hookspecs import hookimpl
from joulebench_plugins.thermal.sensors import ThermalSensor, find_sensors
from joulebench_plugins.thermal.throttle import core_count_files, package_count_files

JOULEBENCH_API = 1

_THROTTLE_NOTE = "times that the hardware slowed the clock because of heat, since the start"


class ThermalProbe(Probe):
    """Temperatures of chips and thermal zones; how often the processor throttled."""

    name = "thermal"
    summary = "temperatures (hwmon, thermal zones) and thermal throttling counts"
    options = (
        Option("root", "str", "/sys/class", "folder with hwmon and thermal"),
        Option("cpu_root", "str", "/sys/devices/system/cpu", "the processors in sysfs"),
        Option("cores", "bool", False, "also read each core's own sensor (wakes idle cores, which costs energy)"),
    )

    def inspect(self, settings: Settings) -> Availability:
        """Yes if there is a temperature; sensors with absurd values are named."""
        sensors = _sensors(settings)
        usable = [sensor for sensor in sensors if sensor.fault is None]
        reasons = "; ".join(f"{item.label}: {item.fault}" for item in sensors if item.fault)
        if usable:
            return Availability(True, f"left out: {reasons}" if reasons else None)
        root = settings["root"]
        reason = f"no temperature under {root}/hwmon or {root}/thermal"
        if reasons:
            reason += f" can be used: {reasons}"
        cure = (
            "load the sensor's driver (coretemp for Intel, k10temp for AMD: sudo modprobe NAME); "
            "virtual machines have none"
        )
        if _throttle_channels(settings):
            return Availability(True, f"{reason}; throttling counts only", cure)
        return Availability.no(reason, cure)

    def channels(self, settings: Settings) -> tuple[Channel, ...]:
        """One channel per usable sensor, one per package's throttle count, one for all cores'."""
        usable = [sensor for sensor in _sensors(settings) if sensor.fault is None]
        return (*map(_temperature, usable), *_throttle_channels(settings))


def _sensors(settings: Settings) -> list[ThermalSensor]:
    return find_sensors(Path(str(settings["root"])), with_cores=bool(settings["cores"]))


def _temperature(sensor: ThermalSensor) -> Channel:
    return Channel(
        path=f"thermal/{sensor.label}",
        quantity="temperature",
        unit="degC",
        kind="gauge",
        source=FileSource(str(sensor.file)),
        scale=1e-3,  # m°C (Documentation/hwmon/sysfs-interface.rst)
        provenance=provenance_of_file(sensor.file),
        domain=sensor.label,
        counted=False,
        rate_hz=10.0,
    )


def _throttle_channels(settings: Settings) -> list[Channel]:
    root = Path(str(settings["cpu_root"]))
    channels = [
        _throttle(f"package-{package}", FileSource(str(file)), root)
        for package, file in package_count_files(root).items()
    ]
    if core_count_files(root):
        source = ReaderSource("joulebench_plugins.thermal.throttle:CoreCounts", str(root), concurrent=True)
        channels.append(_throttle("cores", source, root))
    return channels


def _throttle(domain: str, source: FileSource | ReaderSource, root: Path) -> Channel:
    return Channel(
        path=f"thermal/throttle/{domain}",
        quantity="throttle",
        unit="count",
        kind="counter",
        source=source,
        scale=1.0,
        provenance=provenance_of_file(root),
        domain=domain,
        counted=False,
        rate_hz=10.0,
        resolution=1.0,
        note=_THROTTLE_NOTE,
    )


@hookimpl
def joulebench_probes() -> list[type[Probe]]:
    """The probe ``thermal``."""
    return [ThermalProbe]
