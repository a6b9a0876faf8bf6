"""RAPL counters as the package pyRAPL reads them: a cross-check of the probe ``rapl``.

Off unless ``[probe.pyrapl] enabled = true``: it reads the same files a second time, more slowly.
"""

from __future__ import annotations

from collections.abc import Mapping

from joulebench.api import Availability, Channel, Option, Probe, Settings, distribution_versions, require_modules
from joulebench.hookspecs import hookimpl

JOULEBENCH_API = 1


class PyRaplProbe(Probe):
    """Packages and DRAM through ``pyRAPL.Sensor``; recorded, never added to a total."""

    name = "pyrapl"
    summary = "RAPL counters through the package pyRAPL, a cross-check (off by default)"
    options = (Option("enabled", "bool", False, "whether to read RAPL a second time, through pyRAPL"),)

    def available(self) -> Availability:
        """Yes where the package pyRAPL is installed."""
        return require_modules(["pyRAPL"], "pyrapl")

    def versions(self) -> Mapping[str, str]:
        """Version of pyRAPL."""
        return distribution_versions(["pyRAPL"])

    def inspect(self, settings: Settings) -> Availability:
        """Yes where it is switched on, installed, and pyRAPL finds what it looks for."""
        if not settings["enabled"]:
            return Availability.no("switched off", "[probe.pyrapl] enabled = true")
        installed = self.available()
        if not installed.ok:
            return installed
        from joulebench_plugins.pyrapl.devices import inspect_devices

        return inspect_devices()

    def channels(self, settings: Settings) -> tuple[Channel, ...]:
        """A channel for each package and each DRAM that pyRAPL reads."""
        from joulebench_plugins.pyrapl.devices import device_channels

        return device_channels()


@hookimpl
def joulebench_probes() -> list[type[Probe]]:
    """The probe ``pyrapl``."""
    return [PyRaplProbe]
