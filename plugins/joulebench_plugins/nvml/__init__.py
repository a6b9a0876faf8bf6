"""NVIDIA GPUs through NVML: energy, power, temperature, clocks, throttling, memory, load."""

from __future__ import annotations

from collections.abc import Mapping

from joulebench.api import Availability, Channel, Option, Probe, Settings, distribution_versions, require_modules
from joulebench.hookspecs import hookimpl

JOULEBENCH_API = 1


class NvmlProbe(Probe):
    """What the driver tells about each NVIDIA GPU. Numbers of GPUs are NVML's (PCI order)."""

    name = "nvml"
    summary = "NVIDIA GPU energy, power, temperature, clocks, memory (NVML)"
    options = (Option("devices", "str", "all", 'GPUs to read: "all" or numbers such as "0,1"'),)

    def available(self) -> Availability:
        """Yes where the package nvidia-ml-py is installed."""
        return require_modules(["pynvml"], "nvml")

    def versions(self) -> Mapping[str, str]:
        """Version of nvidia-ml-py."""
        return distribution_versions(["nvidia-ml-py"])

    def inspect(self, settings: Settings) -> Availability:
        """Yes if the driver answers; figures that a GPU does not give are named."""
        installed = self.available()
        if not installed.ok:
            return installed
        from joulebench_plugins.nvml.devices import inspect_devices

        return inspect_devices(str(settings["devices"]))

    def channels(self, settings: Settings) -> tuple[Channel, ...]:
        """Channels of the chosen GPUs: only what each of them really gives."""
        from joulebench_plugins.nvml.devices import device_channels

        return device_channels(str(settings["devices"]))


@hookimpl
def joulebench_probes() -> list[type[Probe]]:
    """The probe ``nvml``."""
    return [NvmlProbe]
