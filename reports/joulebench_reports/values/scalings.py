"""How a cell's cost goes with a number of the profile: series of cells, and the exponents of their costs."""

from __future__ import annotations

from dataclasses import dataclass

from joulebench_reports.values.figure import Figure


@dataclass(frozen=True, slots=True)
class ScaledQuantity:
    """One cost: its exponent over the whole range, and between the two highest values of the axis."""

    name: str
    unit: str
    exponent: Figure
    at_end: Figure


@dataclass(frozen=True, slots=True)
class Scaling:
    """A series of cells that differ in ``axis`` alone: ``values`` of it, and how costs grow over them."""

    session: str
    model: str
    series: str
    workload: str
    axis: str
    values: tuple[float, ...]
    quantities: tuple[ScaledQuantity, ...]
