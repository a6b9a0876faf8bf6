"""One number of a report, with its unit, interval, provenance and, where it is unknown, the reason."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from joulebench.api import Provenance
from joulebench_reports.words.text import with_interval, with_range

#: Where a report's number comes from: as its energies, or computed from figures of smaller models.
FigureProvenance = Provenance | Literal["extrapolated"]


@dataclass(frozen=True, slots=True)
class Figure:
    """One number of a report. ``low`` and ``high`` bound its 95 % interval where there is one.

    ``n`` counts the blocks (or requests) behind it; ``reason_if_null`` says why ``value`` is
    ``None``.
    """

    value: float | None
    unit: str
    low: float | None = None
    high: float | None = None
    n: int = 0
    provenance: FigureProvenance | None = None
    method: str = ""
    flags: tuple[str, ...] = ()
    reason_if_null: str | None = None
    #: Whether ``low`` and ``high`` are the range that a model's inputs allow, not an interval.
    is_range: bool = False

    @property
    def text(self) -> str:
        """The value with its interval, or with its range, which is never shown by ±."""
        show = with_range if self.is_range else with_interval
        return show(self.value, self.low, self.high)

    @property
    def half_width(self) -> float | None:
        """Half of the interval's width, in ``unit``."""
        return None if self.low is None or self.high is None else (self.high - self.low) / 2

    def times(self, factor: float, unit: str) -> Figure:
        """The figure and its interval by ``factor``, in another unit."""
        scaled = (None if x is None else x * factor for x in (self.value, self.low, self.high))
        value, low, high = scaled
        return replace(self, value=value, low=low, high=high, unit=unit)
