"""CPU package power from Linux perf's ``power`` events: a cross-check of RAPL by another path."""

from __future__ import annotations

from pathlib import Path

from joulebench.api import Availability, Channel, Option, Probe, ReaderSource, Settings, provenance_of_file
from joulebench.hookspecs import hookimpl
from joulebench_plugins.perf.events import Event, Fault, find_event

JOULEBENCH_API = 1

_RATE_HZ = 50.0


class PerfProbe(Probe):
    """Mean power of each package from the kernel's perf counters of energy.

    The event counts from where it was opened, so two processes (sampler and worker) never agree on
    its value: each reader gives the mean power since its last look instead. It reads the same
    registers as the probe ``rapl`` and is therefore recorded, but never added to a total.
    """

    name = "perf"
    summary = "CPU package power from perf's energy events, a cross-check of RAPL"
    options = (
        Option("root", "str", "/sys/bus/event_source/devices", "folder with the kernel's performance monitoring units"),
        Option("event", "str", "energy-pkg", "event of the unit 'power'"),
    )

    def inspect(self, settings: Settings) -> Availability:
        """Yes where the unit exists and the kernel lets this user open its event."""
        event = _event(settings)
        if isinstance(event, Fault):
            return Availability.no(event.reason, event.cure)
        from joulebench_plugins.perf.reader import opening_fault

        fault = opening_fault(event.argument(event.cpus[0]))
        return Availability.yes() if fault is None else Availability.no(*fault)

    def channels(self, settings: Settings) -> tuple[Channel, ...]:
        """One power gauge for each package."""
        event = _event(settings)
        if isinstance(event, Fault):
            return ()
        return tuple(_channel(event, place, cpu) for place, cpu in enumerate(event.cpus))


def _event(settings: Settings) -> Event | Fault:
    return find_event(Path(str(settings["root"])), str(settings["event"]))


def _channel(event: Event, place: int, cpu: int) -> Channel:
    return Channel(
        path=f"perf/{event.name}/{place}",
        quantity="power",
        unit="W",
        kind="gauge",
        source=ReaderSource("joulebench_plugins.perf.reader:PowerReader", event.argument(cpu), concurrent=True),
        scale=1e-6,
        provenance=provenance_of_file(event.folder / "type"),
        domain=f"package-{place}",
        counted=False,
        rate_hz=_RATE_HZ,
        update_period_s=1.0 / _RATE_HZ,
        note=f"perf {event.name} on CPU {cpu}: mean power between looks; the same registers as RAPL's, so never added",
    )


@hookimpl
def joulebench_probes() -> list[type[Probe]]:
    """The probe ``perf``."""
    return [PerfProbe]
