"""An estimate of CPU energy where no sensor can be read: a model, never a measurement."""

from __future__ import annotations

import math
from pathlib import Path

from joulebench.api import Availability, Channel, Option, Probe, ReaderSource, Settings
from joulebench.hookspecs import hookimpl
from joulebench_plugins.estimate.processor import Processor, read_processor
from joulebench_plugins.estimate.table import Family, find_family

JOULEBENCH_API = 1

_ON_LINUX = "the CPU clocks of other processes exist on Linux only"


class EstimateProbe(Probe):
    """Idle power × time + active power of a core × the worker's CPU time."""

    name = "estimate"
    summary = "CPU energy by a model of the processor (estimated, wide uncertainty)"
    options = (
        Option("enabled", "bool", True, "whether to estimate at all"),
        Option("core_w", "float", None, "watts that one busy core adds", minimum=0.0),
        Option("idle_w", "float", None, "watts of this machine's idle cores", minimum=0.0),
        Option("relative_range", "share", None, "half-width of the range of the true power", minimum=0.0, maximum=1.0),
        Option("proc_root", "str", "/proc", "the proc file system"),
    )

    def inspect(self, settings: Settings) -> Availability:
        """Yes where processes have CPU clocks that another may read."""
        if not settings["enabled"]:
            return Availability.no("switched off", "[probe.estimate] enabled = true")
        proc = Path(str(settings["proc_root"]))
        if not (proc / "cpuinfo").exists():
            return Availability.no(f"no {proc}/cpuinfo: {_ON_LINUX}", "run on Linux")
        return Availability.yes()

    def channels(self, settings: Settings) -> tuple[Channel, ...]:
        """The one channel: cumulative energy of idle cores and of the worker's CPU time."""
        processor = read_processor(Path(str(settings["proc_root"])))
        family = find_family(processor.description)
        idle_w = float(settings.get("idle_w", idle_share_w(family, processor)))
        core_w = float(settings.get("core_w", family.core_w))
        relative_range = float(settings.get("relative_range", family.relative_range))
        note = (
            f"estimate: {idle_w:.3g} W idle + {core_w:.3g} W per busy core ± "
            f"{relative_range:.0%}, other processes not counted; {_origin(settings, family)}"
        )
        if shares_package(family, processor) and "idle_w" not in settings:
            seen = "a virtual machine" if processor.is_virtual else "perhaps a virtual machine"
            note += (
                f"; {seen}: the idle power is the share of the {processor.cores} visible cores "
                f"in a package of {family.package_cores}"
            )
        return (_channel(idle_w, core_w, relative_range, note),)


def shares_package(family: Family, processor: Processor) -> bool:
    """Whether this system has but a part of its package, as a virtual machine does.

    Where that cannot be told (ARM), a system with fewer cores than its family usually has is
    taken for one: else a small cloud machine would bear a whole server's idle power.
    """
    if processor.is_virtual is None:
        return processor.cores < family.package_cores
    return processor.is_virtual


def idle_share_w(family: Family, processor: Processor) -> float:
    """Idle power that this system's cores stand for, in watts.

    Real packages are counted whole; of a shared one, the part of the visible cores.
    """
    if shares_package(family, processor):
        return family.idle_w * processor.cores / family.package_cores
    return family.idle_w * processor.packages


def _origin(settings: Settings, family: Family) -> str:
    set_options = [name for name in ("idle_w", "core_w", "relative_range") if name in settings]
    if len(set_options) == 3:
        return "all values from the profile"
    text = f"family '{family.name}': {family.source}"
    return f"{text}; from the profile: {', '.join(set_options)}" if set_options else text


def _channel(idle_w: float, core_w: float, relative_range: float, note: str) -> Channel:
    argument = f"idle_w={idle_w!r},core_w={core_w!r},pid={{pid}}"
    return Channel(
        path="estimate/cpu",
        quantity="energy",
        unit="J",
        kind="counter",
        source=ReaderSource("joulebench_plugins.estimate.reader:EstimateReader", argument, concurrent=True),
        scale=1e-6,
        provenance="estimated",
        domain="cpu-estimate",
        counted=True,
        rate_hz=20.0,
        # The clocks behind it advance by the nanosecond: it is never older than its read.
        update_period_s=1e-6,
        resolution=1e-6,
        # Nothing is known of where in the range the truth lies: a rectangle, whose standard
        # deviation is its half-width / √3 (GUM 4.3.7).
        relative_uncertainty=relative_range / math.sqrt(3),
        note=note,
    )


@hookimpl
def joulebench_probes() -> list[type[Probe]]:
    """The probe ``estimate``."""
    return [EstimateProbe]
