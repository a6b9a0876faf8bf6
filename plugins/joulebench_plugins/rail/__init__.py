"""A virtual power rail in real time: simulated sensors, for trying things out without hardware."""

from __future__ import annotations

import json
import math
import time
from typing import TYPE_CHECKING, Final

from joulebench.api import Availability, Channel, Option, Probe, ReaderSource, Settings
from joulebench.errors import JoulebenchError
from joulebench.hookspecs import hookimpl

if TYPE_CHECKING:
    from joulebench.rail.scenarios import Scenario

JOULEBENCH_API = 1

_READER: Final = "joulebench_plugins.rail.reader:RailReader"
#: Microjoules of a counter and milliwatts of a gauge are its raw counts.
_COUNTER_SCALE_J: Final = 1e-6
_GAUGE_SCALE_W: Final = 1e-3


class RailProbe(Probe):
    """The machine and sensor of a scenario; what the worker does does not change its power."""

    name = "rail"
    summary = "a virtual power rail (simulated), as a scenario describes it"
    options = (
        Option("scenario", "str", None, "name of a shipped scenario, or the path of a TOML file"),
        Option("seed", "int", 1, "seed of its noise, jitter and skipped updates", minimum=0),
    )

    def inspect(self, settings: Settings) -> Availability:
        """Only where the profile asks for it: nobody should find simulated joules by surprise."""
        if "scenario" not in settings:
            return Availability.no("simulates, and no profile asks for it", '[probe.rail] scenario = "constant"')
        try:
            _scenario(settings)
        except JoulebenchError as error:
            return Availability.no(str(error))
        return Availability.yes()

    def channels(self, settings: Settings) -> tuple[Channel, ...]:
        """The scenario's one sensor. Its time begins now."""
        scenario = _scenario(settings)
        sensor = scenario.sensor
        argument = reader_argument(scenario, int(settings["seed"]), time.perf_counter_ns())
        source = ReaderSource(_READER, argument, concurrent=True)
        note = f"simulated: scenario '{scenario.name}', {scenario.what}".rstrip(", ")
        if sensor.kind == "gauge":
            return (
                Channel(
                    "rail/power",
                    "power",
                    "W",
                    "gauge",
                    source,
                    _GAUGE_SCALE_W,
                    "simulated",
                    "rail",
                    rate_hz=2 / sensor.period_s if sensor.period_s > 0.02 else 100.0,
                    resolution=_GAUGE_SCALE_W,
                    note=note,
                ),
            )
        return (
            Channel(
                "rail/energy",
                "energy",
                "J",
                "counter",
                source,
                _COUNTER_SCALE_J,
                "simulated",
                "rail",
                rate_hz=100.0,
                resolution=sensor.quantum_j,
                wraps_at=sensor.wraps_at,
                note=note,
            ),
        )


def _scenario(settings: Settings) -> Scenario:
    from joulebench.rail.files import find_scenario

    return find_scenario(str(settings["scenario"]))


def reader_argument(scenario: Scenario, seed: int, zero_ns: int) -> str:
    """All that the reader needs, as JSON: it knows no scenario and imports nothing of ours."""
    from joulebench.rail.scenarios import GRID_STEPS, Drift, Level, PulseTrain, Wander

    machine, sensor = scenario.machine, scenario.sensor
    noise = [rail for rail in machine if isinstance(rail, Wander)]
    return json.dumps(
        {
            "zero_ns": zero_ns,
            "levels": [
                [e.start_s, None if math.isinf(e.end_s) else e.end_s, e.from_w, e.to_w]
                for e in machine
                if isinstance(e, Level)
            ],
            "pulses": [[e.power_w, e.period_s, e.on_s, e.phase_s] for e in machine if isinstance(e, PulseTrain)],
            "drifts": [[e.w_per_s, e.start_s] for e in machine if isinstance(e, Drift)],
            "noise": [
                [e.sd_w, e.correlation_s, e.correlation_s / GRID_STEPS, seed + place] for place, e in enumerate(noise)
            ],
            "kind": sensor.kind,
            "period_s": sensor.period_s,
            "phase_s": sensor.phase_s,
            "jitter": sensor.jitter,
            "stale_share": sensor.stale_share,
            "seed": seed,
            "quantum": round(sensor.quantum_j / _COUNTER_SCALE_J),
            "wraps_at": sensor.wraps_at,
            "averaging_s": sensor.averaging_s,
            "delay_s": sensor.delay_s,
        }
    )


@hookimpl
def joulebench_probes() -> list[type[Probe]]:
    """The probe ``rail``."""
    return [RailProbe]
