"""Values with the bounds of their intervals, and weighted sums of them.

The interval of a sum is by MOVER (Zou and Donner 2008, Statistics in Medicine 27: 1693-1702): the
distances of each bound from its mean, times the weight, add up in quadrature, the terms being independent. Pure.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Bounded:
    """A value with the bounds of its interval; ``None`` bounds where it has none."""

    value: float
    low: float | None = None
    high: float | None = None


def weighted_sum(
    first: tuple[float, Bounded], second: tuple[float, Bounded], extra: float = 0.0, value: float | None = None
) -> Bounded:
    """A weighted sum with its interval, and ``extra`` half-width of its own."""
    total = math.fsum(weight * term.value for weight, term in (first, second)) if value is None else value
    below = [_reach(weight, term, -1) for weight, term in (first, second)]
    above = [_reach(weight, term, 1) for weight, term in (first, second)]
    if None in below or None in above:
        return Bounded(total)
    return Bounded(
        total,
        total - math.hypot(*(reach for reach in below if reach is not None), extra),
        total + math.hypot(*(reach for reach in above if reach is not None), extra),
    )


def _reach(weight: float, term: Bounded, side: int) -> float | None:
    """How far a weighted term's bound lies from its value on one side of the sum."""
    bound = term.high if (weight > 0) == (side > 0) else term.low
    return None if bound is None else abs(weight * (bound - term.value))
