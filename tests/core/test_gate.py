"""When a block may begin, when a warm-up is over, when a block was throttled."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from joulebench.api import Channel, FileSource
from joulebench.sensors.gate import ThermalGate, Thermometer, is_steady, throttled
from joulebench.sensors.load import MachineLoad
from joulebench.testing.hwmon import Celsius, Chip, FakeTemperatures, HwmonSensor

Tree = Callable[[Celsius], FakeTemperatures]


class Clock:
    """Virtual time: sleeping advances it, and the tree with it."""

    def __init__(self, tree: FakeTemperatures) -> None:
        self.now_s = 0.0
        self.tree = tree

    def __call__(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds
        self.tree.advance(seconds)


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Tree]:
    made: list[FakeTemperatures] = []

    def build(celsius: Celsius) -> FakeTemperatures:
        made.append(FakeTemperatures(tmp_path, [Chip("coretemp", [HwmonSensor("Package", celsius)])]))
        return made[-1]

    yield build
    for item in made:
        item.close()


def _channel(path: str, quantity: str, kind: str = "gauge", scale: float = 1e-3) -> Channel:
    unit = {"temperature": "degC", "frequency": "Hz"}.get(quantity, "count")
    return Channel(
        "t/" + path,
        quantity,
        unit,
        kind,
        FileSource(path),
        scale,  # type: ignore[arg-type]
        "simulated",
        "cpu",
    )


def _gate(made: FakeTemperatures, timeout_s: float = 180.0) -> ThermalGate:
    file = str(made.root / "hwmon" / "hwmon0" / "temp1_input")
    return ThermalGate(Thermometer([_channel(file, "temperature")]), 2.0, 0.5, timeout_s)


def test_the_first_block_sets_the_reference_and_does_not_wait(tree: Tree) -> None:
    made = tree(47.5)
    gate, clock = _gate(made), Clock(made)
    assert gate.wait(clock.sleep, clock) == (0.0, ())
    assert gate.reference_c == 47.5


def test_a_hot_machine_is_waited_for_until_it_is_near_and_steady(tree: Tree) -> None:
    """40, then 50 °C that cool by 0.2 °C a second: within 2 °C after 40 s, level after 50 s."""
    made = tree(lambda t: 40.0 if t < 1 else max(40.0, 50.0 - 0.2 * (t - 1)))
    gate, clock = _gate(made), Clock(made)
    gate.wait(clock.sleep, clock)
    made.advance(1.0)
    waited_s, flags = gate.wait(clock.sleep, clock)
    assert flags == ()
    assert 50.0 < waited_s < 65.0  # not at 40 s, where the temperature still falls


def test_a_machine_that_stays_hot_is_measured_after_the_timeout_with_a_flag(tree: Tree) -> None:
    made = tree(lambda t: 40.0 if t < 1 else 60.0)
    gate, clock = _gate(made, timeout_s=20.0), Clock(made)
    gate.wait(clock.sleep, clock)
    made.advance(1.0)
    assert gate.wait(clock.sleep, clock) == (20.0, ("thermal_gate_timeout",))


def test_a_machine_within_the_range_is_not_waited_for(tree: Tree) -> None:
    made = tree(lambda t: 40.0 if t < 1 else 41.5)
    gate, clock = _gate(made), Clock(made)
    gate.wait(clock.sleep, clock)
    made.advance(1.0)
    assert gate.wait(clock.sleep, clock) == (0.0, ())


def test_without_a_temperature_the_block_says_so() -> None:
    gate = ThermalGate(Thermometer([]), 2.0, 0.5, 180.0)
    assert gate.wait() == (0.0, ("no_thermal_gate",))


@pytest.mark.parametrize(
    ("durations", "least_s", "steady"),
    [
        ([1.0] * 4, 3.0, True),
        ([1.0] * 3, 3.0, False),
        ([1.0] * 4, 5.0, False),
        ([2.0, 1.5, 1.2, 1.1, 1.05], 3.0, False),
        ([9.0, 5.0, 1.0, 1.0, 1.01, 1.0], 4.0, True),
        ([0.001] * 100, 0.0, True),
        ([], 0.0, False),
    ],
)
def test_a_warm_up_is_over_when_its_latest_halves_agree(durations: list[float], least_s: float, steady: bool) -> None:
    assert is_steady(durations, least_s, 0.02) is steady


@pytest.mark.parametrize(
    ("quantity", "kind", "raw", "throttles"),
    [
        ("throttle", "counter", [5, 5, 5], False),
        ("throttle", "counter", [5, 5, 6], True),
        ("throttle", "gauge", [0, 0, 0], False),
        ("throttle", "gauge", [0, 4, 0], True),
        ("frequency", "gauge", [3000] * 9, False),
        ("frequency", "gauge", [3000] * 3 + [2900] * 3 + [2800] * 3, True),
        ("frequency", "gauge", [3000, 2000], False),
        ("temperature", "gauge", [40, 90], False),
    ],
)
def test_throttling_shows_in_counts_masks_and_falling_clocks(
    quantity: str, kind: str, raw: list[int], throttles: bool
) -> None:
    assert throttled([_channel("x", quantity, kind)], {0: raw}) is throttles


def test_the_machines_load_grows_by_what_a_process_burns() -> None:
    load = MachineLoad()
    before = load.busy_s()
    assert before is not None
    total = 0
    while (load.busy_s() or 0.0) < before + 0.05:
        total += sum(range(1000))
    assert total > 0
