"""Models too large to be run whole: cells of k and more of their layers, and what those say of the whole."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from joulebench.meter.bounded import Bounded
from joulebench.meter.extrapolation import MODEL_ERROR, Line, extrapolated
from joulebench_reports.reading.operators import inverse
from joulebench_reports.values.extrapolations import ExtrapolatedQuantity, Extrapolation
from joulebench_reports.values.figure import Figure
from joulebench_reports.values.figures import CellSummary

#: What makes two cells the same but for the number of layers, by the plan's entry.
_SAME: Final = ("technique", "backend", "device", "backend_settings", "workload", "workload_settings")
#: Those of them that a label names.
_NAMED: Final = ("technique", "backend", "workload")

_Depths = dict[int, CellSummary]


def extrapolations(entries: Sequence[Mapping[str, object]], cells: Sequence[CellSummary]) -> tuple[Extrapolation, ...]:
    """What cells of fewer layers say of the whole, for each shape, backend and workload.

    ``entries`` are the plan's cells, which say how many layers of how many each has. The two deepest
    below the whole count.
    """
    shown = {cell.id: cell for cell in cells}
    groups: dict[str, _Depths] = {}
    about: dict[str, tuple[str, int, str]] = {}
    for entry in entries:
        depth, cell = entry.get("depth"), shown.get(str(entry.get("id")))
        if not isinstance(depth, Mapping) or cell is None:
            continue
        shape, layers, whole = depth.get("shape"), depth.get("layers"), depth.get("whole")
        if not isinstance(layers, int) or not isinstance(whole, int):
            continue
        key = json.dumps([shape, whole, *(entry.get(name) for name in _SAME)], sort_keys=True)
        groups.setdefault(key, {})[layers] = cell
        named = [str(entry.get(name)) for name in _NAMED if entry.get(name) != "none"]
        about[key] = (str(shape), whole, " ".join(named))
    return tuple(made for key, depths in groups.items() for made in _extrapolation(*about[key], depths))


def _extrapolation(shape: str, whole: int, label: str, depths: _Depths) -> Iterator[Extrapolation]:
    below = sorted(layers for layers in depths if layers < whole)
    if len(below) < 2:
        return
    few, more = below[-2:]
    shallow, deep = depths[few], depths[more]
    quantities = tuple(_quantities(shallow, deep, (few, more), whole, depths.get(whole)))
    yield Extrapolation(shape, whole, (few, more), label, shallow.label, deep.label, quantities)


def _quantities(
    shallow: CellSummary, deep: CellSummary, depths: tuple[int, int], whole: int, measured: CellSummary | None
) -> Iterator[ExtrapolatedQuantity]:
    for name, figure_of in _figures(shallow):
        few, more = figure_of(shallow), figure_of(deep)
        if few is None or more is None or few.value is None or more.value is None:
            continue  # the cells' own figures say why
        line = extrapolated(
            Bounded(few.value, few.low, few.high), Bounded(more.value, more.low, more.high), depths, whole
        )
        quantity = _unknown(name, few, depths) if line is None else _quantity(name, few, more, depths, whole, line)
        yield quantity if measured is None else _against(quantity, figure_of(measured))


def _unknown(name: str, few: Figure, depths: tuple[int, int]) -> ExtrapolatedQuantity:
    """A quantity of which noise hides what a layer costs."""
    reason = f"{depths[1]} layers cost no more than {depths[0]} within their noise: measure longer"
    null = Figure(None, few.unit, reason_if_null=reason)
    return ExtrapolatedQuantity(name, null, null, null)


def _quantity(
    name: str, few: Figure, more: Figure, depths: tuple[int, int], whole: int, line: Line
) -> ExtrapolatedQuantity:
    basis = f" of {few.provenance} energy" if few.provenance else ""
    interval = (
        "no interval: a depth has none"
        if line.whole.low is None
        else f"the interval has {MODEL_ERROR:.0%} of what lies beyond for the line itself"
    )
    method = f"a straight line through {depths[0]} and {depths[1]} of {whole} layers{basis}; {interval}"

    def figure(value: Bounded) -> Figure:
        return Figure(
            value.value, few.unit, value.low, value.high, min(few.n, more.n), "extrapolated", method, _flags(few, more)
        )

    return ExtrapolatedQuantity(name, figure(line.whole), figure(line.layer), figure(Bounded(line.fixed)))


def _flags(few: Figure, more: Figure) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*few.flags, *more.flags)))


def _against(quantity: ExtrapolatedQuantity, measured: Figure | None) -> ExtrapolatedQuantity:
    """With the whole that was measured, where it was."""
    if measured is None or measured.value is None:
        return quantity
    value = quantity.whole.value
    error = None if value is None or not measured.value else value / measured.value - 1
    return replace(quantity, measured=measured, error=error)


_FigureOf = Callable[[CellSummary], Figure | None]


def _figures(cell: CellSummary) -> Iterator[tuple[str, _FigureOf]]:
    """The quantities that add up layer by layer: joules and seconds, no rates."""
    for energy in cell.energy:
        provenance = energy.provenance
        suffix = "" if len(cell.energy) == 1 else f", {provenance}"

        def gross(of: CellSummary, name: str = provenance) -> Figure | None:
            return next((own.gross for own in of.energy if own.provenance == name), None)

        def net(of: CellSummary, name: str = provenance) -> Figure | None:
            return next((own.net for own in of.energy if own.provenance == name), None)

        yield f"energy{suffix}", gross
        yield f"net energy{suffix}", net
    yield "time", seconds_for_a_unit
    yield "time to first token", lambda of: of.speed.ttft_median_s
    yield "time per output token", lambda of: of.speed.tpot_s


def seconds_for_a_unit(cell: CellSummary) -> Figure:
    """Seconds for a unit of work; unknown where the rate may be 0."""
    rate, unit = cell.speed.units_s, f"s/{cell.unit}"
    if rate.low is not None and rate.low <= 0:
        return replace(rate, value=None, unit=unit)
    return inverse(rate, unit)
