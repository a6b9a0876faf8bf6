"""What a meter declares of its accuracy is in the intervals, and what declares nothing says so."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace

import pytest
from toyrun import EXAMPLE_PLUGIN

from joulebench.api import Accuracy, Availability, Channel, Probe, ReaderSource, Settings
from joulebench.meter.energy import SensorSpec, Trace, with_accuracy
from joulebench.meter.gauges import gauge_energy
from joulebench.meter.idle import IdlePower, net_energy
from joulebench.meter.windows import TOTAL, Accountant, BlockWindows, Span
from joulebench.metering.meter import Meter
from joulebench.protocol import Edge
from joulebench.registry.loading import Registry
from joulebench.runs.rows import channel_row
from joulebench.sensors.probing import ProbeState, Sensors, inspect_probes

#: ±1 % of reading and ±0.5 % of 200 W: of 10 W the latter is ten times the former.
CLASS = Accuracy(of_reading=0.01, of_range=0.005, range_w=200.0, gain=1.003, calibrated_on="2026-03-01")
GAUGE = Channel(
    "toymeter/board",
    "power",
    "W",
    "gauge",
    ReaderSource("joulebench_toy.reader:Gauge", "10000"),
    1e-3,
    "measured",
    "board",
    rate_hz=50.0,
    update_period_s=0.02,
    accuracy=CLASS,
)
UNDECLARED = replace(GAUGE, accuracy=None)


@pytest.mark.parametrize(
    "faulty",
    [
        {},
        {"of_reading": 1.5},
        {"of_reading": -0.1},
        {"of_range": 0.01},
        {"of_range": 0.01, "range_w": 0.0},
        {"of_reading": 0.01, "calibrated_on": "last spring"},
    ],
)
def test_an_accuracy_that_says_nothing_sensible_is_refused(faulty: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"accuracy|isoformat"):
        Accuracy(**faulty)  # type: ignore[arg-type]


def _ten_watts(seconds: float) -> tuple[int, int, Trace]:
    ticks = range(int(seconds / 0.02) + 3)
    return (
        20_000_000,
        20_000_000 + round(seconds * 1e9),
        Trace([i * 20_000_000 for i in ticks], [10_000 for _ in ticks]),
    )


def test_scale_and_offset_are_in_the_interval_and_no_worst_case_is_left() -> None:
    start, end, trace = _ten_watts(4.0)
    edges = [Edge(t_ns, "", ()) for t_ns in (start, end)]
    windows = BlockWindows(start, end, {TOTAL: [Span(*edges)]})
    (total,) = Accountant([GAUGE], [], {}).block_energies(windows, {0: trace})
    assert total.energy.gross_j == pytest.approx(40.0)
    assert total.energy.systematic_u_j == pytest.approx(math.hypot(0.01 * 40.0, 0.005 * 200.0 * 4.0) / math.sqrt(3))
    assert "accuracy_undeclared" not in total.energy.flags


@pytest.mark.parametrize(("most_w", "saturated"), [(150.0, False), (199.0, False), (200.0, True), (207.0, True)])
def test_a_gauge_that_stood_at_its_full_scale_gives_a_lower_bound_and_says_so(most_w: float, saturated: bool) -> None:
    start, end, trace = _ten_watts(4.0)
    peak = replace(trace, raw=[round(1000 * most_w) if 60 < i < 70 else 10_000 for i in range(len(trace.raw))])
    window = gauge_energy(start, end, SensorSpec.of_channel(GAUGE), peak, 0.02)
    assert ("sensor_saturated" in window.flags) is saturated
    assert (window.gross_j or 0.0) > 40.0
    assert (window.worst_j is None) is saturated
    undeclared = gauge_energy(start, end, SensorSpec.of_channel(UNDECLARED), peak, 0.02)
    assert "sensor_saturated" not in undeclared.flags


def test_an_offset_cancels_where_idle_power_is_taken_off_and_a_scale_does_not() -> None:
    start, end, trace = _ten_watts(4.0)
    window = with_accuracy(gauge_energy(start, end, SensorSpec.of_channel(GAUGE), trace, 0.02), GAUGE)
    net = net_energy(window, IdlePower(4.0, 0.0))
    assert net.gross_j == pytest.approx(24.0)
    assert net.systematic_u_j == pytest.approx(0.01 * 24.0 / math.sqrt(3))


@pytest.fixture
def toy_readers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLE_PLUGIN))


@pytest.mark.usefixtures("toy_readers")
def test_measure_widens_its_interval_by_it() -> None:
    state = ProbeState("toymeter", Availability.yes(), (GAUGE,))
    with Meter(sensors=Sensors((state,), (GAUGE,)), calibrate_s=0) as meter, meter.measure() as m:
        time.sleep(0.6)
    (figure,) = m.energy
    assert figure.interval is not None
    assert figure.interval.u == pytest.approx(figure.gross.systematic_u_j, rel=0.5)
    assert figure.gross.systematic_u_j > 0.05 * (figure.gross_j or 0.0)
    assert figure.worst_j is None  # no bound holds for a scale
    assert f"{GAUGE.path}: {CLASS}, in its interval" in m.notes
    assert figure.as_json()["accuracy"] == str(CLASS)


@pytest.mark.usefixtures("toy_readers")
def test_a_measuring_reader_that_declares_no_accuracy_says_so() -> None:
    state = ProbeState("toymeter", Availability.yes(), (UNDECLARED,))
    with Meter(sensors=Sensors((state,), (UNDECLARED,)), calibrate_s=0) as meter, meter.measure() as m:
        time.sleep(0.6)
    assert "accuracy_undeclared" in m.energy[0].flags
    assert any("how far the sensor may be off is not declared" in note for note in m.notes)


@pytest.mark.parametrize(
    "silent", [replace(UNDECLARED, provenance="simulated"), replace(UNDECLARED, relative_uncertainty=0.03)]
)
def test_what_does_not_measure_or_states_its_uncertainty_needs_no_class(silent: Channel) -> None:
    start, end, trace = _ten_watts(4.0)
    window = gauge_energy(start, end, SensorSpec.of_channel(silent), trace, 0.02)
    assert with_accuracy(window, silent).flags == window.flags


class Board(Probe):
    """Two gauges, one of which declares its class."""

    name, summary = "board", "a board"

    def inspect(self, settings: Settings) -> Availability:
        """It is there."""
        return Availability.yes()

    def channels(self, settings: Settings) -> Sequence[Channel]:  # type: ignore[override]
        """Both."""
        return (replace(GAUGE, path="board/one"), replace(UNDECLARED, path="board/two", note="an old one"))


def test_the_note_of_a_channel_says_where_the_term_comes_from_in_every_session() -> None:
    class Plugin:
        JOULEBENCH_API = 1

        from joulebench.hookspecs import hookimpl

        @hookimpl
        def joulebench_probes(self) -> list[type[Probe]]:
            return [Board]

    registry = Registry()
    registry.add(Plugin(), "board")
    one, two = inspect_probes(registry).channels
    assert one.note == "accuracy ±(1 % of reading + 0.5 % of 200 W), gain 1.003, calibrated on 2026-03-01"
    assert two.note == "an old one; no accuracy is declared"
    row = channel_row(one, None)
    assert row.relative_uncertainty == pytest.approx(0.01 / math.sqrt(3))
    assert row.offset_u_w == pytest.approx(1.0 / math.sqrt(3))
