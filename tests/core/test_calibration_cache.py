"""Update times that were measured once are kept for a machine and boot, and no longer than they hold."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest

from joulebench.api import Availability, Channel, FileSource, Probe, Settings
from joulebench.meter.counters import contradicting
from joulebench.meter.energy import SensorSpec, Trace
from joulebench.meter.live.calibration import SensorCalibration
from joulebench.meter.timing import UpdateTiming
from joulebench.metering.meter import Meter
from joulebench.profile.reading import parse_profile
from joulebench.registry.loading import Registry
from joulebench.runs.instruments import set_up
from joulebench.sensors import calibrations
from joulebench.sensors.probing import ProbeState, Sensors
from joulebench.testing.livefiles import NumberFile, ticking

WATTS = 20.0
#: Slower than what the probe declares, as in defects of the declared 1 ms.
PERIOD_S = 0.02


@pytest.fixture
def channel(tmp_path: Path) -> Iterator[Channel]:
    """A counter of 20 W that is said to change each ms and does each 20 ms."""
    file = NumberFile(tmp_path / "energy_uj", 1000)
    state = {"uj": 1000.0}

    def advance(seconds: float) -> None:
        state["uj"] += WATTS * seconds * 1e6
        file.write(int(state["uj"]))

    source = FileSource(str(file.path))
    with ticking(advance, PERIOD_S):
        yield Channel(
            "test/one",
            "energy",
            "J",
            "counter",
            source,
            1e-6,
            "measured",
            "machine",
            update_period_s=0.001,
            rate_hz=100,
        )
    file.close()


def _meter(channel: Channel, calibrate_s: float | None = None) -> Meter:
    state = ProbeState("test", Availability.yes(), (channel,))
    return Meter(sensors=Sensors((state,), (channel,)), calibrate_s=calibrate_s)


def _refuse(*_arguments: object) -> list[SensorCalibration]:
    raise AssertionError("calibrated again")


@pytest.mark.usefixtures("cache")
def test_a_second_meter_knows_the_period_without_a_calibration(
    channel: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    with _meter(channel) as first, first.measure() as m:
        time.sleep(1.0)
    assert m.energy[0].period_measured
    monkeypatch.setattr(calibrations, "calibrate_quickly", _refuse)
    for calibrate_s in (None, 0.0):
        with _meter(channel, calibrate_s) as second, second.measure() as m:
            time.sleep(1.0)
        (figure,) = m.energy
        assert figure.period_measured
        assert "update_period_unverified" not in figure.flags
        assert figure.interval is not None
        assert (figure.interval.low or 0) <= WATTS * m.seconds <= (figure.interval.high or 0)


@pytest.mark.usefixtures("cache")
def test_what_a_run_has_calibrated_needs_no_calibration_afterwards(
    channel: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Counter(Probe):
        name: ClassVar[str] = "test"
        summary: ClassVar[str] = "the counter"

        def inspect(self, settings: Settings) -> Availability:
            return Availability.yes()

        def channels(self, settings: Settings) -> tuple[Channel, ...]:
            return (channel,)

    class Plugins:
        JOULEBENCH_API = 1

        def joulebench_probes(self) -> list[type[Probe]]:
            return [Counter]

    registry = Registry()
    registry.add(Plugins(), "test")
    text = 'version = 1\n[model.m]\nsource = "x"\n[backend.b]\n[workload.w]\n[sampler]\ncalibrate_s = 1.0\n'
    profile = parse_profile(text, "test.toml", Path())
    set_up(registry, profile, lambda _: None)
    monkeypatch.setattr(calibrations, "calibrate_quickly", _refuse)
    (calibration,) = calibrations.calibrated([channel])
    assert calibration.period_s == pytest.approx(PERIOD_S, rel=0.3)


@pytest.mark.usefixtures("cache")
def test_without_calibration_and_cache_the_flag_stays(channel: Channel) -> None:
    with _meter(channel, 0.0) as meter, meter.measure() as m:
        time.sleep(0.1)  # too short for its changes to tell the period
    assert "update_period_unverified" in m.energy[0].flags
    assert not m.energy[0].period_measured


def _keep(channel: Channel, period_s: float) -> None:
    timing = UpdateTiming(period_s, period_s, period_s / 2, period_s / 12**0.5)
    calibration = SensorCalibration(
        channel.path, 1000, 50, False, period_s, period_s, period_s, 1e-6, 1e-6, timing, 1.0
    )
    calibrations.keep([channel], [calibration])


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize("kept_s", [0.005, 0.2])
def test_a_window_that_shows_another_period_discards_the_entry(channel: Channel, kept_s: float) -> None:
    _keep(channel, kept_s)
    assert calibrations.known([channel])
    with _meter(channel) as meter:
        with meter.measure() as m:
            time.sleep(1.0)
        assert m.energy
        assert calibrations.known([channel]) == {}
        with meter.measure() as later:
            time.sleep(0.9)
    # Beside other work the counter's thread is late; what was kept is ten times that or a quarter.
    assert later.energy[0].update_period_s == pytest.approx(PERIOD_S, rel=0.7, abs=2 * PERIOD_S)


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize(
    "other", [{"scale": 1e-3}, {"update_period_s": 0.1}, {"wraps_at": 2**32}, {"source": FileSource("/elsewhere")}]
)
def test_an_entry_is_of_one_sensor_as_its_probe_describes_it(channel: Channel, other: dict[str, object]) -> None:
    _keep(channel, PERIOD_S)
    assert calibrations.known([replace(channel, **other)]) == {}  # type: ignore[arg-type]


def test_an_entry_is_of_one_boot_and_one_month(channel: Channel, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _keep(channel, PERIOD_S)
    assert calibrations.known([channel])
    with monkeypatch.context() as later:
        later.setattr(time, "time", lambda: 2e9 + 40 * 86400)
        assert calibrations.known([channel]) == {}
    other_boot = cache / "another-boot"
    other_boot.write_text("another")
    monkeypatch.setattr(calibrations, "_BOOT", other_boot)
    assert calibrations.known([channel]) == {}


@pytest.mark.usefixtures("cache")
def test_what_stood_still_or_does_not_measure_is_never_kept(channel: Channel) -> None:
    frozen = SensorCalibration(channel.path, 1000, 0, False, None, None, None, None, 1e-6, None, 1.0)
    calibrations.keep([channel], [frozen])
    assert calibrations.known([channel]) == {}
    simulated = replace(channel, provenance="simulated")
    _keep(simulated, PERIOD_S)
    assert calibrations.known([simulated]) == {}


@pytest.mark.parametrize("damage", ["", "[]", "{", '{"x": 1}'])
def test_a_damaged_cache_is_an_empty_one(channel: Channel, cache: Path, damage: str) -> None:
    _keep(channel, PERIOD_S)
    (file,) = cache.rglob("calibrations.json")
    entries = json.loads(file.read_text())
    file.write_text(damage)
    assert calibrations.known([channel]) == {}
    file.write_text(json.dumps({key: {**entry, "timing": 5} for key, entry in entries.items()}))
    assert calibrations.known([channel]) == {}


def test_ticks_that_come_late_are_no_contradiction() -> None:
    """A counter of 10 ms by ticks of 10 ms, of which some come up to 5 ms late."""
    spec = SensorSpec(1e-6, 0.01)
    times = [i * 10_000_000 + (i % 7 == 0) * 5_000_000 for i in range(100)]
    assert contradicting(spec, Trace(times, list(range(100)))) is None
    slow = Trace(times, [i // 5 for i in range(100)])
    timing = contradicting(spec, slow)
    assert timing is not None
    assert timing.period_s == pytest.approx(0.05, rel=0.2)
