"""The probe ``toymeter``: a power gauge that a reader module serves, or a probe that fails."""

from __future__ import annotations

import time

from joulebench.api import Availability, Channel, Option, Probe, ReaderSource, Settings


class ToyMeter(Probe):
    """Off unless the profile switches it on."""

    name = "toymeter"
    summary = "a made-up power gauge, or a probe that fails"
    options = (
        Option(
            "mode",
            "str",
            "off",
            "what it does",
            choices=("off", "gauge", "shared", "raise", "hang", "twins", "fatal", "garbage", "caching", "line"),
        ),
        Option("milliwatts", "int", 5000, "what the gauge shows"),
        Option("device", "str", "", "what the counters 'caching' and 'line' read"),
    )

    def inspect(self, settings: Settings) -> Availability:
        """As the mode says."""
        mode = settings["mode"]
        if mode == "raise":
            raise OSError("the toy meter is on fire")
        if mode == "hang":
            time.sleep(60)
        return Availability.no("switched off") if mode == "off" else Availability.yes()

    def channels(self, settings: Settings) -> tuple[Channel, ...]:
        """One channel, or what the mode says."""
        if settings["mode"] == "garbage":
            return ("no channel",)  # type: ignore[return-value]
        if settings["mode"] == "fatal":
            return (_channel("memory", "Exits", "0"), _channel("memory", "Short", "0", "short"))
        if settings["mode"] in ("caching", "line"):
            return (_counter(str(settings["mode"]).title(), str(settings["device"])),)
        gauge = _channel("power", "Gauge", str(settings["milliwatts"]), concurrent=settings["mode"] == "shared")
        return (gauge, gauge) if settings["mode"] == "twins" else (gauge,)


def _counter(reader: str, device: str) -> Channel:
    return Channel(
        path="toymeter/counter",
        quantity="energy",
        unit="J",
        kind="counter",
        source=ReaderSource(f"joulebench_toy.reader:{reader}", device),
        scale=1e-3,
        provenance="simulated",
        domain="board",
        rate_hz=50.0,
        update_period_s=0.02 if reader == "Caching" else 0.001,
    )


def _channel(quantity: str, reader: str, argument: str, name: str = "board", *, concurrent: bool = False) -> Channel:
    return Channel(
        path=f"toymeter/{name}",
        quantity=quantity,  # type: ignore[arg-type]
        unit="W" if quantity == "power" else "bytes",
        kind="gauge",
        source=ReaderSource(f"joulebench_toy.reader:{reader}", argument, concurrent=concurrent),
        scale=1e-3,
        provenance="simulated",
        domain="board",
        counted=quantity == "power",
        rate_hz=50.0,
    )
