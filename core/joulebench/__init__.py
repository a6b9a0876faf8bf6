"""joulebench: what a small language model costs on a machine, in joules, seconds and bytes.

``with joulebench.measure() as m:`` measures a block of code. It and its types are imported when
they are first used, so that ``import joulebench`` stays light.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from joulebench.measurement import EnergyFigure, Measurement
    from joulebench.measuring import Window, measure
    from joulebench.openmeter import Meter

__version__ = "0.1.0"

__all__ = ["EnergyFigure", "Measurement", "Meter", "Window", "__version__", "measure"]

_LAZY = {
    "EnergyFigure": "joulebench.measurement",
    "Measurement": "joulebench.measurement",
    "Meter": "joulebench.openmeter",
    "Window": "joulebench.measuring",
    "measure": "joulebench.measuring",
}


def __getattr__(name: str) -> object:
    if name not in _LAZY:
        raise AttributeError(f"module 'joulebench' has no attribute '{name}'")
    import importlib

    value: object = getattr(importlib.import_module(_LAZY[name]), name)
    globals()[name] = value  # the next look-up does not come here
    return value
