"""From some layers of a model to all of them.

A decoder's layers are alike, so what its tokens cost is a fixed part (embedding, head, the runtime)
and an equal part for each layer: y(n) = a + b·n. Two depths k₁ < k₂ of the same width give
b = (y₂ - y₁)/(k₂ - k₁), and the whole of N layers is y(N) = y₂ + (N - k₂)·b, which is the weighted sum
(1 - w)·y₁ + w·y₂ with w = (N - k₁)/(k₂ - k₁).

The interval of the sum is by MOVER (:mod:`joulebench.meter.bounded`). The two depths count as
independent; where they took turns and drifted alike, their errors cancel in part and the interval is wider
than need be. That y is a straight line is a model as well: caches and memory behave otherwise when a model
is larger. Its error is stated as a share of what was added beyond the deeper measurement and goes into the
interval in quadrature. No layer costs less than nothing, so neither does an interval say so: the whole is no
less than the lower bound of the deeper measurement.

All functions are pure.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from joulebench.meter.bounded import Bounded, weighted_sum

#: Half-width at 95 % of the model's error, as a share of what lies beyond the deeper measurement.
MODEL_ERROR: Final = 0.10


@dataclass(frozen=True, slots=True)
class Line:
    """What two depths say of the whole.

    ``whole`` is extrapolated, ``layer`` the cost of one layer and ``fixed`` what is left without any.
    """

    whole: Bounded
    layer: Bounded
    fixed: float


def extrapolated(
    shallow: Bounded, deep: Bounded, depths: tuple[int, int], whole: int, model_error: float = MODEL_ERROR
) -> Line | None:
    """The line through ``shallow`` and ``deep``, of ``depths`` layers, at ``whole`` layers.

    ``None`` where a layer costs nothing or less than nothing: noise hides what layers cost. Raises
    ``ValueError`` for depths that are not in order.
    """
    few, more = depths
    if not 0 < few < more <= whole:
        raise ValueError(f"depths {few} and {more} of {whole} layers are not in order")
    slope = (deep.value - shallow.value) / (more - few)
    if slope <= 0:
        return None
    weight = (whole - few) / (more - few)
    beyond = (whole - more) * slope
    value = deep.value + beyond
    layer = weighted_sum((-1 / (more - few), shallow), (1 / (more - few), deep), 0.0)
    total = weighted_sum((1 - weight, shallow), (weight, deep), model_error * beyond, value)
    return Line(_at_least(total, deep.low), _at_least(layer, 0.0), value - whole * slope)


def _at_least(bounded: Bounded, least: float | None) -> Bounded:
    if bounded.low is None or least is None:
        return bounded
    return replace(bounded, low=max(bounded.low, least))
