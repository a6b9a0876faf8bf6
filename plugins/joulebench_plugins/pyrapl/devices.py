"""Which counters pyRAPL reads on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from joulebench.api import Availability, Channel, ReaderSource, provenance_of_file
from joulebench_plugins.pyrapl.reader import FACTORY, counter_files

#: Intel's manual (SDM vol. 3, "RAPL interfaces"): energy status is updated about every 1 ms.
_UPDATE_PERIOD_S: Final = 1e-3
#: RAPL energy registers have 32 bits (ENERGY_STATUS_MASK, drivers/powercap/intel_rapl_common.c).
_REGISTER_MAX: Final = 0xFFFFFFFF


def inspect_devices() -> Availability:
    """Yes if pyRAPL can be set up; it raises where a package or a permission is missing."""
    try:
        files = counter_files()
    except PermissionError as error:
        return Availability.no(f"pyRAPL may not read {error.filename}", "see the probe 'rapl', which names the cure")
    except Exception as error:  # pyRAPL raises its own classes, and OSError for missing files
        return Availability.no(
            f"pyRAPL finds no RAPL: {type(error).__name__} {error}".rstrip(),
            "it needs /sys/class/powercap/intel-rapl with one zone for each processor package",
        )
    return Availability.yes() if files else Availability.no("pyRAPL finds no counter")


def device_channels() -> tuple[Channel, ...]:
    """The counters that pyRAPL reads."""
    return tuple(_channel(item, Path(file)) for item, file in counter_files())


def _channel(item: int, file: Path) -> Channel:
    # pyRAPL orders its figures: package 0, DRAM 0, package 1, DRAM 1, …
    kind, socket = ("dram" if item % 2 else "package"), item // 2
    return Channel(
        path=f"pyrapl/{kind}-{socket}",
        quantity="energy",
        unit="J",
        kind="counter",
        source=ReaderSource(FACTORY, "", item, concurrent=True),
        scale=1e-6,
        provenance=provenance_of_file(file),
        # As the kernel's zones are called: the two probes' figures stand side by side.
        domain=f"package-{socket}/dram" if kind == "dram" else f"package-{socket}",
        counted=False,
        rate_hz=100.0,
        update_period_s=_UPDATE_PERIOD_S,
        wraps_at=_modulus(file.parent),
        note="read by pyRAPL, which itself does not undo wraps; the same counter as RAPL's, so never added",
    )


def _modulus(folder: Path) -> int | None:
    """The counter's period in µJ: one count above its highest value."""
    try:
        highest = int((folder / "max_energy_range_uj").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
    return highest + max(1, round(highest / _REGISTER_MAX))
