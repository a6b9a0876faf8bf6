"""What calibration measures of this machine's sensors, kept in the user's cache until the next boot.

The one place that calibrates for a run, for ``measure`` and for ``doctor``: what one of them has measured, the
next window's interval needs no second for. An entry holds for one sensor as its
probe describes it, one boot (and with it one kernel and its drivers) and one month; a window that shows
another period removes it. Only sensors that measure are kept, and only where a period was seen or the
source is finer than reading can see: one that stood still is looked at anew each time.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from joulebench.api import Channel
from joulebench.backendkit import cache_folder
from joulebench.meter.live.calibration import SensorCalibration, calibrate, calibrate_quickly
from joulebench.meter.timing import UpdateTiming
from joulebench.version import __version__

_FILE: Final = "calibrations.json"
_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")
#: An older entry is measured anew, in s.
_KEPT_S: Final = 30 * 86400.0


def _key(channel: Channel) -> str:
    """The sensor, and the boot of the machine on which it was calibrated."""
    try:
        boot = _BOOT.read_text(encoding="ascii").strip()
    except OSError:
        boot = " ".join(os.uname())
    described = (channel.path, channel.source, channel.scale, channel.update_period_s, channel.wraps_at)
    return f"{boot} {os.uname().release} joulebench {__version__} {described!r}"


def calibrated(channels: Sequence[Channel], seconds: float | None = None) -> list[SensorCalibration]:
    """Calibrate the channels for so many seconds, and keep what was measured.

    Without seconds, what is kept stands; the rest takes as long as some 40 of its changes, 1 s at most.
    """
    if seconds is not None:
        calibrations = calibrate(channels, seconds)
        keep(channels, calibrations)
        return calibrations
    kept = known(channels)
    missing = [place for place in range(len(channels)) if place not in kept]
    fresh = calibrate_quickly([channels[place] for place in missing]) if missing else []
    keep([channels[place] for place in missing], fresh)
    kept |= dict(zip(missing, fresh, strict=True))
    return [kept[place] for place in range(len(channels))]


def known(channels: Sequence[Channel]) -> dict[int, SensorCalibration]:
    """What is kept of these channels, by their place."""
    entries = _read()
    found = ((place, _calibration(channel, entries.get(_key(channel)))) for place, channel in enumerate(channels))
    return {place: calibration for place, calibration in found if calibration is not None}


def keep(channels: Sequence[Channel], calibrations: Sequence[SensorCalibration]) -> None:
    """Keep what was measured, as far as it tells a period."""
    fresh = {
        _key(channel): {"at_s": time.time(), **asdict(calibration)}
        for channel, calibration in zip(channels, calibrations, strict=True)
        if channel.provenance == "measured" and (calibration.timing is not None or calibration.continuous)
    }
    if fresh:
        _write({**_read(), **fresh})


def forget(channel: Channel) -> None:
    """A window has shown that the entry no longer holds."""
    entries = _read()
    if entries.pop(_key(channel), None) is not None:
        _write(entries)


def _calibration(channel: Channel, entry: object) -> SensorCalibration | None:
    if channel.provenance != "measured" or not isinstance(entry, Mapping):
        return None
    try:
        values = dict(entry)
        if not 0 <= time.time() - float(values.pop("at_s")) <= _KEPT_S:
            return None
        timing = values.pop("timing")
        return SensorCalibration(**values, timing=None if timing is None else UpdateTiming(**timing))
    except (KeyError, TypeError, ValueError):  # another version's, or damaged
        return None


def _read() -> dict[str, Any]:
    try:
        entries = json.loads((cache_folder() / _FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return entries if isinstance(entries, dict) else {}


def _write(entries: Mapping[str, Any]) -> None:
    """Put the entries of this month in place of the file's, in one step."""
    oldest_s = time.time() - _KEPT_S
    recent = {
        key: entry for key, entry in entries.items() if isinstance(entry, dict) and entry.get("at_s", 0) >= oldest_s
    }
    with contextlib.suppress(OSError, TypeError):  # then it is calibrated again
        file = cache_folder() / _FILE
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary = file.with_name(f".{_FILE}.{os.getpid()}")
        temporary.write_text(json.dumps(recent, indent=1), encoding="utf-8")
        temporary.replace(file)
