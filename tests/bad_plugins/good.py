"""What is installed beside the bad ones, and must not suffer: a backend and a meter."""

from __future__ import annotations

from pathlib import Path

from bad_base import CountingBackend

from joulebench.api import Availability, Backend, Channel, FileSource, Option, Probe, Settings
from joulebench.hookspecs import hookimpl

JOULEBENCH_API = 1


class Good(CountingBackend):
    """Counts, and does nothing else."""

    name = "good"


class Meter(Probe):
    """Power in µW from a file."""

    name = "meter"
    summary = "power from a file"
    options = (Option("file", "str", "power1_input", "the file"),)

    def inspect(self, settings: Settings) -> Availability:
        file = Path(str(settings["file"]))
        return Availability.yes() if file.is_file() else Availability.no(f"no {file}")

    def channels(self, settings: Settings) -> tuple[Channel, ...]:
        source = FileSource(str(Path(str(settings["file"])).resolve()))
        return (Channel("meter/board", "power", "W", "gauge", source, 1e-6, "simulated", "machine", rate_hz=50.0),)


@hookimpl
def joulebench_backends() -> list[type[Backend]]:
    return [Good]


@hookimpl
def joulebench_probes() -> list[type[Probe]]:
    return [Meter]
