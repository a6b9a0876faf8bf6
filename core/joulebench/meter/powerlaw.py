"""How a cost grows: the exponent p of y = c·xᵖ, by a line through logarithms.

Over all points by ordinary least squares, with Student's t on n - 2 degrees: scatter and curvature are
both in the residuals, so a cost that is no power (linear plus quadratic) has a wide interval. The exponent
between two neighbours says what it tends to. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from joulebench.meter.extrapolation import Bounded
from joulebench.meter.student import t_quantile
from joulebench.meter.uncertainty import DEFAULT_LEVEL


def exponent_over(xs: Sequence[float], ys: Sequence[float], level: float = DEFAULT_LEVEL) -> Bounded | None:
    """The exponent over positive points; ``None`` with fewer than two distinct ``xs``.

    Without an interval where there are just two points. Raises ``ValueError`` for what has no logarithm.
    """
    if len(xs) != len(ys) or min((*xs, *ys), default=1.0) <= 0:
        raise ValueError("as many positive numbers as positive places are needed")
    if len(set(xs)) < 2:
        return None
    places, values = [math.log(x) for x in xs], [math.log(y) for y in ys]
    n = len(places)
    middle, mean = math.fsum(places) / n, math.fsum(values) / n
    spread = math.fsum((place - middle) ** 2 for place in places)
    pairs = list(zip(places, values, strict=True))
    slope = math.fsum((place - middle) * (value - mean) for place, value in pairs) / spread
    if n < 3:
        return Bounded(slope)
    squares = math.fsum((value - mean - slope * (place - middle)) ** 2 for place, value in pairs)
    reach = t_quantile(0.5 + level / 2, n - 2) * math.sqrt(squares / (n - 2) / spread)
    return Bounded(slope, slope - reach, slope + reach)


def exponent_between(xs: tuple[float, float], first: Bounded, second: Bounded) -> Bounded:
    """The exponent between two points, with what their own intervals say of it.

    The distances of the bounds from the values add in quadrature on the logarithms (MOVER, as in
    :mod:`joulebench.meter.extrapolation`).
    """
    octaves = math.log(xs[1] / xs[0])
    slope = math.log(second.value / first.value) / octaves
    below = _reaches(first.high, first.value, second.value, second.low)
    above = _reaches(first.value, first.low, second.high, second.value)
    if below is None or above is None:
        return Bounded(slope)
    return Bounded(slope, slope - below / octaves, slope + above / octaves)


def _reaches(first: float | None, second: float | None, third: float | None, fourth: float | None) -> float | None:
    """√(ln²(first/second) + ln²(third/fourth)); ``None`` where a bound is unknown or not positive."""
    if any(value is None or value <= 0 for value in (first, second, third, fourth)):
        return None
    assert first is not None and second is not None and third is not None and fourth is not None  # noqa: S101, PT018
    return math.hypot(math.log(first / second), math.log(third / fourth))
