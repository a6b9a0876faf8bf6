"""joulebench: what a small language model costs on a machine, in joules, seconds and bytes.

``with joulebench.measure() as m:`` measures a block of code, ``joulebench.run("quick")`` a profile, and
``joulebench.load("sessions/…")`` reads what a run wrote. They and their types are imported when they
are first used, so that ``import joulebench`` stays light.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from joulebench.version import __version__

if TYPE_CHECKING:
    from joulebench.metering.figures import EnergyFigure, Measurement
    from joulebench.metering.meter import Meter
    from joulebench.metering.shared import measure
    from joulebench.metering.window import Window
    from joulebench_reports.library.result import Result
    from joulebench_reports.library.sessions import load, run

__all__ = ["EnergyFigure", "Measurement", "Meter", "Result", "Window", "__version__", "load", "measure", "run"]

#: The front door joins both halves: reading a session is the reports' work, which the core knows nothing of.
_LAZY = {
    "EnergyFigure": "joulebench.metering.figures",
    "Measurement": "joulebench.metering.figures",
    "Meter": "joulebench.metering.meter",
    "Window": "joulebench.metering.window",
    "measure": "joulebench.metering.shared",
    "Result": "joulebench_reports.library.result",
    "load": "joulebench_reports.library.sessions",
    "run": "joulebench_reports.library.sessions",
}


def __getattr__(name: str) -> object:
    if name not in _LAZY:
        raise AttributeError(f"module 'joulebench' has no attribute '{name}'")
    import importlib

    value: object = getattr(importlib.import_module(_LAZY[name]), name)
    globals()[name] = value  # the next look-up does not come here
    return value
