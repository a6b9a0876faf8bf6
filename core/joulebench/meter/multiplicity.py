"""Several cells against one baseline: decisions and intervals that hold for all of them together."""

from __future__ import annotations

from collections.abc import Sequence

from joulebench.meter.comparison import CellComparison, at_level
from joulebench.meter.uncertainty import DEFAULT_LEVEL


def holm_adjusted(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values (Holm 1979), in the order given."""
    m = len(p_values)
    adjusted = [0.0] * m
    highest = 0.0
    for rank, index in enumerate(sorted(range(m), key=lambda i: p_values[i])):
        highest = max(highest, min(1.0, (m - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted


def corrected_for_many(comparisons: Sequence[CellComparison], level: float = DEFAULT_LEVEL) -> list[CellComparison]:
    """Several cells against one baseline: Holm's decisions, and intervals that hold together.

    A verdict of a difference is Holm's, by his adjusted p-value. The intervals are Bonferroni's,
    at 1 - (1 - ``level``)/m each; where Holm decides and Bonferroni's interval still holds 1, it
    ends there (Guilbaud 2008, "Simultaneous confidence regions corresponding to Holm's step-down
    procedure", Biometrical J. 50): so all of them hold together, whatever was decided.
    """
    known = [i for i, c in enumerate(comparisons) if c.p_value is not None]
    m = len(known)
    result = [c._replace(compared_with=max(m, 1)) for c in comparisons]
    adjusted = holm_adjusted([comparisons[i].p_value or 0.0 for i in known])
    for index, p_value in zip(known, adjusted, strict=True):
        alone = comparisons[index]
        wide = at_level(alone, 1 - (1 - level) / m)
        decided = wide.verdict
        if p_value < 1 - level:
            decided = alone.verdict if alone.level == level else at_level(alone, level).verdict
        if decided == "lower":
            wide = wide._replace(high=min(wide.high or 1.0, 1.0))
        elif decided == "higher":
            wide = wide._replace(low=max(wide.low or 1.0, 1.0))
        result[index] = wide._replace(verdict=decided, p_value=p_value, compared_with=m)
    return result
