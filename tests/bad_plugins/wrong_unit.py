"""A meter that gives milliwatts and calls them watts."""

from __future__ import annotations

from joulebench.api import Availability, Channel, Probe, ReaderSource, Settings
from joulebench.hookspecs import hookimpl

JOULEBENCH_API = 1


class WrongUnit(Probe):
    """A gauge of 2.5 W that shows 2,500 W."""

    name = "wrong-unit"
    summary = "shows a thousand times too much"

    def inspect(self, settings: Settings) -> Availability:
        return Availability.yes()

    def channels(self, settings: Settings) -> tuple[Channel, ...]:
        gauge = ReaderSource("bad_reader:Gauge", "2500")
        return (
            Channel(
                "wrong-unit/board", "power", "W", "gauge", gauge, 1.0, "simulated", "board", counted=True, rate_hz=20.0
            ),
        )


@hookimpl
def joulebench_probes() -> list[type[Probe]]:
    return [WrongUnit]
