"""When a source changes, from the times between its changes.

A value read at a random moment is as old as the age of a renewal process: with gaps g its mean age is
E[g²]/2E[g] and its mean square age E[g³]/3E[g] (Cox, "Renewal Theory", 1962, section 5.4). For a constant
period T that is T/2 and T²/3; jitter and skipped updates make it older than half the mean gap.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from joulebench.meter.uncertainty import quantile

#: Fewer gaps than this tell no period.
FEWEST_GAPS: Final = 5
_SLOW_SHARE: Final = 0.95


@dataclass(frozen=True, slots=True)
class UpdateTiming:
    """The times between changes of a source, in s.

    ``period_s`` is their 95th percentile, ``longest_s`` the longest that was seen. ``lateness_s`` and
    ``lateness_u_s`` are mean and standard deviation of how old a shown value is at a random moment.
    """

    period_s: float
    longest_s: float
    lateness_s: float
    lateness_u_s: float

    @classmethod
    def of_gaps(cls, gaps_s: Sequence[float]) -> UpdateTiming | None:
        """From observed gaps; ``None`` where there are too few."""
        period_s = quantile(gaps_s, _SLOW_SHARE)
        total = math.fsum(gaps_s)
        if period_s is None or len(gaps_s) < FEWEST_GAPS or total <= 0:
            return None
        mean = math.fsum(gap**2 for gap in gaps_s) / total / 2
        square = math.fsum(gap**3 for gap in gaps_s) / total / 3
        return cls(period_s, max(gaps_s), mean, math.sqrt(max(0.0, square - mean * mean)))
