"""Probes that fail, hang or contradict each other cost themselves alone."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest
from toyrun import EXAMPLE_PLUGIN

from joulebench.api import Availability, Channel, FileSource, Option, Probe, Settings
from joulebench.errors import ProfileError
from joulebench.profile.reading import Profile, parse_profile
from joulebench.registry.loading import Registry
from joulebench.sensors import probing
from joulebench.sensors.probing import ProbeChoices, Sensors, inspect_probes


class Steady(Probe):
    name: ClassVar[str] = "steady"
    options: ClassVar[tuple[Option, ...]] = (Option("label", "str", "one", "name of its channel"),)

    def inspect(self, settings: Settings) -> Availability:
        return Availability.yes()

    def channels(self, settings: Settings) -> tuple[Channel, ...]:
        source = FileSource("none")
        return (
            Channel(
                f"steady/{settings['label']}",
                "energy",
                "J",
                "counter",
                source,
                1.0,
                "simulated",
                "machine",
                rate_hz=100.0,
            ),
            Channel("steady/memory", "memory", "bytes", "gauge", source, 1.0, "simulated", "machine"),
        )


class Plugins:
    """Offers the steady probe beside the example plugin's."""

    JOULEBENCH_API = 1

    def joulebench_probes(self) -> list[type[Probe]]:
        return [Steady]


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    monkeypatch.syspath_prepend(str(EXAMPLE_PLUGIN))
    import joulebench_toy

    made = Registry()
    made.add(Plugins(), "steady")
    made.add(joulebench_toy, "toy")
    yield made
    for name in [name for name in sys.modules if name.startswith("joulebench_toy")]:
        del sys.modules[name]


def _profile(more: str) -> Profile:
    text = 'version = 1\n[model.m]\nsource = "x"\n[backend.b]\n[workload.w]\n' + more
    return parse_profile(text, "test.toml", Path())


def _inspected(registry: Registry, profile: Profile) -> Sensors:
    return inspect_probes(registry, ProbeChoices.of_profile(profile))


def _asked(registry: Registry, mode: str) -> tuple[Sensors, str]:
    sensors = _inspected(registry, _profile(f'[probe.toymeter]\nmode = "{mode}"\n'))
    return sensors, sensors.missing().get("toymeter", "")


def _paths(sensors: Sensors) -> list[str]:
    return [channel.path for channel in sensors.channels]


@pytest.mark.parametrize(
    ("mode", "reason"),
    [
        ("raise", "the toy meter is on fire"),
        ("garbage", "must give Channel objects"),
        ("twins", "'toymeter/board'"),
        ("off", "switched off"),
    ],
)
def test_a_probe_that_fails_is_left_out_with_its_reason(registry: Registry, mode: str, reason: str) -> None:
    sensors, said = _asked(registry, mode)
    assert reason in said
    assert _paths(sensors) == ["steady/one", "steady/memory"]


def test_a_probe_that_never_answers_is_left_out(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing, "ANSWER_S", 0.2)
    start = time.monotonic()
    sensors, said = _asked(registry, "hang")
    assert "no answer" in said
    assert time.monotonic() - start < 30.0  # it would hang for a minute
    assert _paths(sensors) == ["steady/one", "steady/memory"]


def test_a_probe_that_works_adds_its_channels(registry: Registry) -> None:
    sensors, _ = _asked(registry, "gauge")
    assert _paths(sensors) == ["steady/one", "steady/memory", "toymeter/board"]
    assert [channel.path for channel in sensors.energy_and_power()] == ["steady/one", "toymeter/board"]


def test_a_probe_is_switched_off_in_the_profile(registry: Registry) -> None:
    sensors = _inspected(registry, _profile("[probe.steady]\nenabled = false\n"))
    assert _paths(sensors) == []
    assert "switched off" in sensors.missing()["steady"]


def test_enabled_must_be_true_or_false(registry: Registry) -> None:
    with pytest.raises(ProfileError, match="true or false"):
        _inspected(registry, _profile('[probe.steady]\nenabled = "no"\n'))


def test_settings_of_a_probe_reach_it_and_wrong_ones_are_refused(registry: Registry) -> None:
    sensors = _inspected(registry, _profile('[probe.steady]\nlabel = "two"\n'))
    assert "steady/two" in _paths(sensors)
    with pytest.raises(ProfileError, match="lable"):
        _inspected(registry, _profile('[probe.steady]\nlable = "two"\n'))


def test_the_profiles_rates_go_before_those_of_the_probes(registry: Registry) -> None:
    sensors = _inspected(registry, _profile("[sampler]\nenergy_hz = 25\nslow_hz = 2\n"))
    assert [channel.rate_hz for channel in sensors.channels] == [25.0, 2.0]
    unchanged = _inspected(registry, _profile(""))
    assert [channel.rate_hz for channel in unchanged.channels] == [100.0, 10.0]
