"""How a cost grows: the exponent p of y = c·xᵖ, by a line through logarithms.

Over all points by ordinary least squares, with Student's t on n - 2 degrees: scatter and curvature are
both in the residuals, so a cost that is no power (linear plus quadratic) has a wide interval. The exponent
between two neighbours says what it tends to. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from joulebench.meter.bounded import Bounded, weighted_sum
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

    It is a weighted sum of their logarithms (:func:`joulebench.meter.bounded.weighted_sum`).
    """
    span = math.log(xs[1] / xs[0])
    return weighted_sum((-1 / span, _logarithm(first)), (1 / span, _logarithm(second)))


def _logarithm(of: Bounded) -> Bounded:
    """Its logarithm; a bound that is not positive has none."""
    low, high = (math.log(bound) if bound is not None and bound > 0 else None for bound in (of.low, of.high))
    return Bounded(math.log(of.value), low, high)
