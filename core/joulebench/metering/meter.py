"""The public meter: opens the sensors of this machine and hands out windows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

from joulebench.api import OptionValue
from joulebench.meter.energy import MOST_POWER_W
from joulebench.metering.sensing import OpenSensors
from joulebench.metering.window import Window
from joulebench.sensors.probing import ProbeChoices, Sensors, inspect_probes

ProbeSettings = Mapping[str, Mapping[str, OptionValue]]


class Meter(OpenSensors):
    """Open sensors that many windows share: nested ones and ones in different threads.

    ``settings`` are those of the probes, by their names: ``{PROBE: {OPTION: value}}``. ``calibrate_s`` is how long the
    times between updates are measured: ``None`` for as long as some 40 updates take, 1 s at most, once for
    a machine and boot (the user's cache keeps them); 0 to trust the declared ones, with a flag, where none
    are kept. ``most_power_w`` bounds what one wrapping domain can draw. A child made by ``fork`` opens its
    own meter.
    """

    def __init__(
        self,
        settings: ProbeSettings | None = None,
        *,
        sensors: Sensors | None = None,
        calibrate_s: float | None = None,
        most_power_w: float = MOST_POWER_W,
    ) -> None:
        if sensors is None:
            from joulebench.registry.loading import default_registry

            sensors = inspect_probes(default_registry(), ProbeChoices(settings or {}, _in_measure))
        super().__init__(sensors, calibrate_s=calibrate_s, most_power_w=most_power_w)

    def measure(self) -> Window:
        """A new window: ``with meter.measure() as m:``."""
        return Window(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


def _in_measure(*path: str) -> str:
    return f"measure(settings=…): {'.'.join(path)}"
