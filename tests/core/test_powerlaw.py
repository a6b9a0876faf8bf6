"""Exponents of costs: known powers, and what their intervals hold."""

from __future__ import annotations

import math
import random

import pytest

from joulebench.meter.bounded import Bounded
from joulebench.meter.powerlaw import exponent_between, exponent_over

PLACES = [128.0, 512.0, 2048.0, 8192.0]


@pytest.mark.parametrize("power", [-1.0, 0.0, 1.0, 2.0])
def test_a_power_is_seen_exactly(power: float) -> None:
    over = exponent_over(PLACES, [3.0 * x**power for x in PLACES])
    assert over is not None
    assert (over.value, over.low, over.high) == pytest.approx((power, power, power), abs=1e-9)


def test_the_interval_holds_the_power_as_often_as_it_says() -> None:
    source, held = random.Random(1), 0
    for _ in range(1000):
        over = exponent_over(PLACES, [x**1.5 * math.exp(source.gauss(0.0, 0.1)) for x in PLACES])
        assert over is not None
        assert over.low is not None
        assert over.high is not None
        held += over.low <= 1.5 <= over.high
    assert held / 1000 == pytest.approx(0.95, abs=0.02)


def test_a_sum_of_two_powers_has_a_wide_interval_and_its_end_tells_the_larger() -> None:
    costs = [x + x * x / 1000 for x in PLACES]
    over = exponent_over(PLACES, costs)
    end = exponent_between((PLACES[-2], PLACES[-1]), Bounded(costs[-2]), Bounded(costs[-1]))
    assert over is not None
    assert over.low is not None
    assert over.high is not None
    assert over.high - over.low > 0.5
    assert over.value < end.value < 2.0


def test_two_points_have_no_interval_and_one_has_no_exponent() -> None:
    assert exponent_over([1.0, 4.0], [1.0, 16.0]) == Bounded(pytest.approx(2.0))
    assert exponent_over([1.0, 1.0], [1.0, 2.0]) is None
    with pytest.raises(ValueError, match="positive"):
        exponent_over([1.0, 2.0], [0.0, 1.0])


def test_the_bounds_of_two_points_add_in_quadrature() -> None:
    both = exponent_between(
        (1.0, math.e),
        Bounded(1.0, math.exp(-0.3), math.exp(0.3)),
        Bounded(math.e, math.e / math.exp(0.4), math.e * math.exp(0.4)),
    )
    assert both.value == pytest.approx(1.0)
    assert (both.low, both.high) == (pytest.approx(0.5), pytest.approx(1.5))
    assert exponent_between((1.0, 2.0), Bounded(1.0, 0.0, 2.0), Bounded(2.0, 1.0, 3.0)).low is None
