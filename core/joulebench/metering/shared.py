"""``with joulebench.measure() as m:`` measures a block of code with the process's shared meter.

The module is not called ``measure``: importing a module of that name would hide the function.
"""

from __future__ import annotations

import atexit
import os
import threading

from joulebench.metering.meter import Meter, ProbeSettings
from joulebench.metering.sensing import open_meters
from joulebench.metering.window import Window

_cached: dict[object, Meter] = {}
_default: Meter | None = None
_lock = threading.Lock()


def measure(settings: ProbeSettings | None = None, *, calibrate_s: float | None = None) -> Window:
    """Measure a block: ``with joulebench.measure() as m: …`` and then ``print(m)``.

    The first call inspects the probes and keeps them open; later ones with the same arguments use
    them again. ``settings`` are the probes' (``{PROBE: {OPTION: value}}``), ``calibrate_s`` the time
    for measuring update periods at the first call (``None``: what some 40 updates take, 1 s at most,
    once for a machine and boot).
    Afterwards ``m`` has the attributes of :class:`joulebench.Measurement`: ``m.measured_j``,
    ``m.energy``, ``m.totals``, ``m.seconds``, ``m.cpu_s``, ``m.flags``, …; ``m.result`` is that frozen
    value itself.
    """
    if settings is None and _default is not None and calibrate_s is None:
        return Window(_default)
    return Window(shared_meter(settings, calibrate_s))


def shared_meter(settings: ProbeSettings | None = None, calibrate_s: float | None = None) -> Meter:
    """The process's meter for these settings, opened at the first call."""
    global _default  # noqa: PLW0603  read on the quick path of measure()
    given = sorted((name, tuple(sorted(options.items()))) for name, options in (settings or {}).items())
    key = (calibrate_s, tuple(given))
    with _lock:
        if key not in _cached:
            _cached[key] = Meter(settings, calibrate_s=calibrate_s)
            if key == (None, ()):
                _default = _cached[key]
        return _cached[key]


def _close_all() -> None:
    for meter in list(open_meters):
        meter.close()


def _after_fork() -> None:
    """In a forked child: the sampler and its process id belong to the parent."""
    global _default, _lock  # noqa: PLW0603
    _default = None
    _lock = threading.Lock()
    _cached.clear()
    for meter in list(open_meters):
        meter.forked = True
    open_meters.clear()


atexit.register(_close_all)
os.register_at_fork(after_in_child=_after_fork)
