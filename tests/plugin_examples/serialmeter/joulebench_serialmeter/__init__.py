"""The probe ``serialmeter``: a power meter that answers ``P?`` with watts, as USB meters do."""

from pathlib import Path

from joulebench.api import Availability, Channel, Option, Probe, ReaderSource
from joulebench.hookspecs import hookimpl

JOULEBENCH_API = 1


class SerialMeter(Probe):
    """One gauge. ``device`` is a serial line (/dev/ttyUSB0) or HOST:PORT of a network meter."""

    name, summary = "serialmeter", "a power meter on a serial line or the network"
    options = (Option("device", "str", "/dev/ttyUSB0", "serial line, or HOST:PORT"),)

    def inspect(self, settings):
        """Whether the line is there."""
        ready = ":" in settings["device"] or Path(settings["device"]).exists()
        return Availability(ready, None if ready else f"no {settings['device']}", "plug it in")

    def channels(self, settings):
        """Power in W; a pseudo-terminal is somebody's simulation."""
        source = ReaderSource("joulebench_serialmeter.reader:Meter", settings["device"])
        origin = "simulated" if settings["device"].startswith("/dev/pts/") else "measured"
        return (Channel("serialmeter/power", "power", "W", "gauge", source, 1e-6, origin, "board"),)


@hookimpl
def joulebench_probes():
    """The one probe."""
    return [SerialMeter]
