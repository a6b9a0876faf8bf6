"""joulebench: what a small language model costs on a machine, in joules, seconds and bytes.

``with joulebench.measure() as m:`` measures a block of code. It and its types are imported when
they are first used, so that ``import joulebench`` stays light.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from joulebench.version import __version__

if TYPE_CHECKING:
    from joulebench.metering.figures import EnergyFigure, Measurement
    from joulebench.metering.meter import Meter
    from joulebench.metering.shared import measure
    from joulebench.metering.window import Window

__all__ = ["EnergyFigure", "Measurement", "Meter", "Window", "__version__", "measure"]

_LAZY = {
    "EnergyFigure": "joulebench.metering.figures",
    "Measurement": "joulebench.metering.figures",
    "Meter": "joulebench.metering.meter",
    "Window": "joulebench.metering.window",
    "measure": "joulebench.metering.shared",
}


def __getattr__(name: str) -> object:
    if name not in _LAZY:
        raise AttributeError(f"module 'joulebench' has no attribute '{name}'")
    import importlib

    value: object = getattr(importlib.import_module(_LAZY[name]), name)
    globals()[name] = value  # the next look-up does not come here
    return value
