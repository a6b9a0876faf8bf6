"""The probe ``rail``: a scenario as a sensor in real time, always simulated."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from probe_reading import imported_alone, read, settings

import joulebench_plugins.rail
from joulebench.meter.live.sampling import Sampler
from joulebench.rail.files import parse_scenario, shipped_scenarios
from joulebench.rail.power import Counter, Gauge, Noise, Rail
from joulebench.rail.scenarios import GRID_STEPS, Wander
from joulebench_plugins.rail.reader import RailReader

MIXED = """version = 1
[[segment]]
kind = "ramp"
end_s = 5.0
from_w = 10.0
to_w = 20.0
[[segment]]
kind = "constant"
start_s = 5.0
power_w = 12.0
[[segment]]
kind = "pulses"
power_w = 30.0
period_s = 0.5
on_s = 0.2
phase_s = 0.1
[[segment]]
kind = "drift"
w_per_s = 0.3
start_s = 2.0
[[segment]]
kind = "noise"
sd_w = 0.5
correlation_s = 0.2
[sensor]
period_s = 0.02
jitter = 0.5
stale_share = 0.1
"""
PROBE = joulebench_plugins.rail.RailProbe()


def write(folder: Path, text: str) -> str:
    file = folder / "mine.toml"
    file.write_text(text, encoding="utf-8")
    return str(file)


@pytest.mark.parametrize(
    "sensor", ["quantum_j = 0.001\n", "wraps_at_j = 40.0\n", 'kind = "gauge"\nsampling_s = 0.01\n']
)
def test_the_reader_shows_what_the_virtual_rail_shows(sensor: str) -> None:
    scenario = parse_scenario(MIXED + sensor, "x.toml")
    reader = RailReader(joulebench_plugins.rail.reader_argument(scenario, 3, 0))
    wander = next(channel for channel in scenario.machine if isinstance(channel, Wander))
    noise = Noise(wander.sd_w, wander.correlation_s, wander.correlation_s / GRID_STEPS, 3)
    rail = Rail([*scenario.certain_parts(), noise])
    facts = scenario.sensor
    own: Counter | Gauge = (
        Gauge(
            rail,
            period_s=facts.period_s,
            averaging_s=facts.averaging_s,
            jitter=facts.jitter,
            stale_share=facts.stale_share,
            seed=3,
        )
        if facts.kind == "gauge"
        else Counter(
            rail,
            period_s=facts.period_s,
            quantum_counts=round(facts.quantum_j * 1e6),
            wraps_at=facts.wraps_at,
            jitter=facts.jitter,
            stale_share=facts.stale_share,
            seed=3,
        )
    )
    step = 1 if facts.kind == "gauge" else round(facts.quantum_j * 1e6)
    times = [0.013 * i for i in range(1, 1200)]
    differences = [abs(reader.at(t) - own.read(round(t * 1e9))) for t in times]
    # The two sum in another order: at an update's very edge or a quantum's they may part by one.
    assert max(differences) <= step
    assert differences.count(0) > 1180
    assert len({reader.at(t) for t in times}) > 500


def test_without_a_scenario_nothing_is_simulated() -> None:
    report = PROBE.inspect(settings(PROBE.options))
    assert not report.ok
    assert "scenario" in (report.cure or "")


def test_a_faulty_scenario_is_the_reason_for_no_sensor(tmp_path: Path) -> None:
    file = write(tmp_path, MIXED.replace("jitter", "jittr"))
    report = PROBE.inspect(settings(PROBE.options, scenario=file))
    assert not report.ok
    assert "unknown key 'jittr'" in (report.reason or "")
    assert not PROBE.inspect(settings(PROBE.options, scenario="no-such")).ok


@pytest.mark.parametrize("scenario", [scenario.name for scenario in shipped_scenarios()])
def test_every_channel_is_simulated_whatever_the_scenario(scenario: str) -> None:
    given = settings(PROBE.options, scenario=scenario)
    assert PROBE.inspect(given).ok
    (channel,) = PROBE.channels(given)
    assert channel.provenance == "simulated"
    assert channel.path.startswith("rail/")
    assert channel.note.startswith("simulated")
    assert isinstance(read([channel])[channel.path], int)


def test_two_readers_agree_and_the_power_is_the_scenarios() -> None:
    (channel,) = PROBE.channels(settings(PROBE.options, scenario="constant"))
    reader = RailReader(channel.source.argument)  # type: ignore[union-attr]
    other = RailReader(channel.source.argument)  # type: ignore[union-attr]
    other.at(3.0)
    assert reader.at(100.0) == other.at(100.0)
    joules = (reader.at(200.0) - reader.at(100.0)) * channel.scale
    assert joules == pytest.approx(20.0 * 100.0, rel=0.01)


def test_the_reader_imports_nothing_but_the_standard_library() -> None:
    assert imported_alone("joulebench_plugins.rail.reader") == set()


def test_the_sampler_process_sees_what_a_reader_here_computes() -> None:
    """As the sampler loads it: by its file, in ``python -I -S``."""
    (channel,) = PROBE.channels(settings(PROBE.options, scenario="constant"))
    with Sampler([channel], None) as sampler:
        sampler.await_tick()
        sampler.await_tick()
        trace = sampler.drain().traces()[0]
    argument = channel.source.argument  # type: ignore[union-attr]
    reader, zero_ns = RailReader(argument), json.loads(argument)["zero_ns"]
    # Stamp and read lie a moment apart: the count is of that moment, at most a second later.
    for t_ns, raw in zip(trace.t_ns, trace.raw, strict=True):
        since_s = (t_ns - zero_ns) * 1e-9
        assert reader.at(since_s) <= raw <= reader.at(since_s + 1.0)
    assert len(trace.raw) >= 2
