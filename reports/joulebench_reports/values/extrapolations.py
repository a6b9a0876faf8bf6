"""A whole model that was not measured, by cells of some of its layers."""

from __future__ import annotations

from dataclasses import dataclass

from joulebench_reports.values.figure import Figure


@dataclass(frozen=True, slots=True)
class ExtrapolatedQuantity:
    """One quantity of the whole model, extrapolated, and what it is made of.

    ``measured`` is the whole where the session has measured it too, ``error`` the extrapolated over
    that, minus one. ``fixed`` is what no layer costs. Where noise hides what a layer costs, all three are
    null with the reason.
    """

    name: str
    whole: Figure
    layer: Figure
    fixed: Figure
    measured: Figure | None = None
    error: float | None = None

    @property
    def holds(self) -> bool | None:
        """Whether the measured whole lies in the extrapolated interval; ``None`` where one is lacking."""
        if self.measured is None or self.measured.value is None or self.whole.low is None or self.whole.high is None:
            return None
        return self.whole.low <= self.measured.value <= self.whole.high


@dataclass(frozen=True, slots=True)
class Extrapolation:
    """A shape on one backend with one workload: from cells of fewer layers to all of them.

    ``shallow`` and ``deep`` are the labels of the cells of ``depths``.
    """

    shape: str
    layers: int
    depths: tuple[int, int]
    label: str
    shallow: str
    deep: str
    quantities: tuple[ExtrapolatedQuantity, ...]
