"""From some layers to all of them: exact on a line, and intervals that hold."""

from __future__ import annotations

import random

import pytest

from joulebench.meter.bounded import Bounded
from joulebench.meter.extrapolation import extrapolated


def test_a_straight_line_is_met_exactly() -> None:
    line = extrapolated(Bounded(1 + 8 * 0.5), Bounded(1 + 16 * 0.5), (8, 16), 30)
    assert line is not None
    assert line.whole.value == pytest.approx(16.0)
    assert line.layer.value == pytest.approx(0.5)
    assert line.fixed == pytest.approx(1.0)
    assert line.whole.low is None


def test_without_noise_the_interval_is_that_of_the_line_itself() -> None:
    line = extrapolated(Bounded(5, 5, 5), Bounded(9, 9, 9), (8, 16), 30, model_error=0.1)
    assert line is not None
    beyond = 14 * 0.5
    assert line.whole.high == pytest.approx(line.whole.value + 0.1 * beyond)
    assert line.layer.high == pytest.approx(line.layer.value)


def test_all_layers_measured_is_the_measured() -> None:
    line = extrapolated(Bounded(5, 4.9, 5.1), Bounded(9, 8.8, 9.3), (8, 16), 16)
    assert line is not None
    assert (line.whole.value, line.whole.low, line.whole.high) == pytest.approx((9, 8.8, 9.3))


def test_layers_that_cost_nothing_are_not_extrapolated() -> None:
    assert extrapolated(Bounded(5), Bounded(5), (8, 16), 30) is None
    assert extrapolated(Bounded(5), Bounded(4.9), (8, 16), 30) is None


@pytest.mark.parametrize(("depths", "whole"), [((16, 8), 30), ((8, 8), 30), ((0, 8), 30), ((8, 16), 15)])
def test_depths_out_of_order_are_refused(depths: tuple[int, int], whole: int) -> None:
    with pytest.raises(ValueError, match="not in order"):
        extrapolated(Bounded(1), Bounded(2), depths, whole)


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    rng = random.Random(1)
    held, count = 0, 4000
    for _ in range(count):
        pair = [rng.gauss(2 + 0.5 * layers, 0.1) for layers in (8, 16)]
        few, more = (Bounded(value, value - 0.196, value + 0.196) for value in pair)
        line = extrapolated(few, more, (8, 16), 96, model_error=0.0)
        assert line is not None
        assert line.whole.low is not None
        assert line.whole.high is not None
        held += line.whole.low <= 2 + 0.5 * 96 <= line.whole.high
    assert held / count == pytest.approx(0.95, abs=0.015)


def test_no_interval_says_that_layers_cost_less_than_nothing() -> None:
    line = extrapolated(Bounded(5, 3, 7), Bounded(5.1, 4, 7), (8, 16), 96)
    assert line is not None
    assert (line.whole.low, line.layer.low) == (4, 0)
    assert (line.whole.high or 0) > 7


def test_uneven_intervals_stay_uneven_and_change_sides_with_the_weight() -> None:
    line = extrapolated(Bounded(5, 4, 5), Bounded(9, 9, 9), (8, 16), 24, model_error=0.0)
    assert line is not None
    # The shallow cell's weight is -1: less of it is more of the whole.
    assert (line.whole.low, line.whole.high) == pytest.approx((13.0, 14.0))
