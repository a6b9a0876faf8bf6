"""The exponents of costs over a number of the profile: what doubling the context does to a token's joules."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from joulebench.meter.bounded import Bounded
from joulebench.meter.powerlaw import exponent_between, exponent_over
from joulebench_reports.judging.extrapolation import seconds_for_a_unit
from joulebench_reports.values.figure import Figure, FigureProvenance
from joulebench_reports.values.figures import CellSummary
from joulebench_reports.values.scalings import ScaledQuantity, Scaling
from joulebench_reports.values.scalingseries import ScalingSeries, scaling_series

#: A narrower range of an axis says little of an exponent.
_LEAST_RANGE: Final = 4.0
_METHOD: Final = "a line through logarithms"
_METHOD_AT_END: Final = "between the two highest values"

_Cost = tuple[str, str, Callable[[CellSummary], Figure]]


def scalings(cells: Sequence[CellSummary]) -> tuple[Scaling, ...]:
    """Each series over a range of four or more, with the exponents of its energy, its time and its KV cache."""
    return tuple(_scaling(series) for series in scaling_series(cells) if _is_wide(series))


def _is_wide(series: ScalingSeries) -> bool:
    lowest, highest = series.points[0][0], series.points[-1][0]
    return lowest > 0 and highest >= _LEAST_RANGE * lowest


def _scaling(series: ScalingSeries) -> Scaling:
    unit = series.points[0][1].unit
    costs: tuple[_Cost, ...] = (
        ("energy", f"J/{unit}", lambda cell: cell.headline),
        ("time", f"s/{unit}", seconds_for_a_unit),
        ("KV cache or state", "B", _kept),
    )
    return Scaling(
        series.session,
        series.model,
        series.series,
        series.workload,
        series.axis,
        tuple(dict.fromkeys(value for value, _ in series.points)),
        tuple(quantity for cost in costs for quantity in _quantity(series, *cost)),
    )


def _quantity(
    series: ScalingSeries, name: str, unit: str, cost: Callable[[CellSummary], Figure]
) -> Iterator[ScaledQuantity]:
    points = [(value, cost(cell)) for value, cell in series.points]
    known = [(x, figure.value, figure) for x, figure in points if figure.value is not None and figure.value > 0]
    if len(known) < len(points):
        return  # an exponent over some of the points would be of another range
    exponent = exponent_over([x for x, _, _ in known], [y for _, y, _ in known])
    (x1, y1, first), (x2, y2, second) = known[-2:]
    if exponent is None or x1 == x2:
        return
    at_end = exponent_between((x1, x2), Bounded(y1, first.low, first.high), Bounded(y2, second.low, second.high))
    flags = tuple(dict.fromkeys(flag for _, _, figure in known for flag in figure.flags))
    provenance = known[0][2].provenance
    yield ScaledQuantity(
        name, unit, _figure(exponent, provenance, flags, len(known), _METHOD), _figure(at_end, provenance, flags, 2)
    )


def _figure(
    value: Bounded, provenance: FigureProvenance | None, flags: tuple[str, ...], n: int, method: str = _METHOD_AT_END
) -> Figure:
    return Figure(value.value, "1", value.low, value.high, n, provenance, method, flags)


def _kept(cell: CellSummary) -> Figure:
    used = cell.memory.kv_used_bytes
    return Figure(None if used is None else float(used), "B")
