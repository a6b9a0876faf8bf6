"""The product's own path from a virtual sensor to joules: calibration, then the accountant.

A machine on the rail is met as a real one is: its sensor is watched for some seconds by the
calibration, and the accountant takes the update periods from there, never from the scenario.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Final

from joulebench.api import Channel, ReaderSource
from joulebench.meter.live.calibration import DEFAULT_SECONDS, SensorCalibration, calibrate, calibrated_accountant
from joulebench.meter.windows import Accountant
from joulebench.rail.scenarios import Sensor

#: Microjoules of a counter and milliwatts of a gauge are its raw counts.
COUNTER_SCALE_J: Final = 1e-6
GAUGE_SCALE_W: Final = 1e-3
_FACTORY: Final = "joulebench.rail.reader:virtual_reader"
#: The clock is looked at thrice a read, so a sensor is read so often in each of its periods.
_LOOKS_PER_PERIOD: Final = 30
#: Update periods after which watching on would tell no more.
_PERIODS_WATCHED: Final = 400
#: Scale of a gauge that nobody has calibrated, as NVML's.
_GAUGE_RELATIVE_U: Final = 0.05

#: Sensors that are being calibrated, by the argument of their reader.
readable: dict[str, Callable[[], int]] = {}
_numbers = itertools.count()


def channel_of(sensor: Sensor, argument: str = "") -> Channel:
    """The sensor as a probe would declare it."""
    declared_s = sensor.period_s if sensor.declared_period_s is None else sensor.declared_period_s
    source = ReaderSource(_FACTORY, argument, concurrent=True)
    rate_hz = 100.0 if sensor.sampling_s is None else 1 / sensor.sampling_s
    if sensor.kind == "gauge":
        return Channel(
            "rail/power",
            "power",
            "W",
            "gauge",
            source,
            GAUGE_SCALE_W,
            "simulated",
            "rail",
            rate_hz=rate_hz,
            update_period_s=declared_s,
            resolution=GAUGE_SCALE_W,
            relative_uncertainty=_GAUGE_RELATIVE_U,
            averaging_s=sensor.averaging_s,
        )
    return Channel(
        "rail/energy",
        "energy",
        "J",
        "counter",
        source,
        COUNTER_SCALE_J,
        "simulated",
        "rail",
        rate_hz=rate_hz,
        update_period_s=declared_s,
        resolution=sensor.quantum_j,
        wraps_at=sensor.wraps_at,
    )


def calibrated(sensor: Sensor, read_at: Callable[[int], int], start_ns: int) -> SensorCalibration:
    """Watch a sensor from ``start_ns`` on, by a clock that advances whenever it is looked at."""
    now_ns = start_ns
    step_ns = max(1000, round(sensor.period_s * 1e9 / _LOOKS_PER_PERIOD))

    def clock_ns() -> int:
        nonlocal now_ns
        now_ns += step_ns
        return now_ns

    argument = str(next(_numbers))
    readable[argument] = lambda: read_at(now_ns)
    try:
        seconds = min(DEFAULT_SECONDS, _PERIODS_WATCHED * sensor.period_s)
        (calibration,) = calibrate([channel_of(sensor, argument)], seconds, clock_ns)
    finally:
        del readable[argument]
    return calibration


def accountant_of(sensor: Sensor, calibration: SensorCalibration) -> Accountant:
    """What turns readings of the sensor into energies."""
    return calibrated_accountant([channel_of(sensor)], {0: calibration})
