"""Where a token's time and energy go: a model's operators, and their sum beside the whole token."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from joulebench_reports.reading.limits import ComputePlace, find_limits, place_of
from joulebench_reports.values.figure import Figure
from joulebench_reports.values.figures import CellSummary

#: The operator that is all of them, as one token uses them.
ALL: Final = "all"
#: An operator that moves less than this share of a token's bytes has no weights to speak of.
_WEIGHTY: Final = 0.01


@dataclass(frozen=True, slots=True)
class OperatorLine:
    """One operator: seconds of a call, how often a token does it, and of a token all of them.

    ``flattered``: run alone it is served from a cache that does not hold a whole token's bytes.
    """

    name: str
    label: str
    call_s: Figure
    per_token: int
    token_s: Figure
    token_j: Figure
    bandwidth_gb_s: float | None
    bandwidth_share: float | None
    flattered: bool


@dataclass(frozen=True, slots=True)
class OperatorTable:
    """The operators of one model in one setting; ``whole_…`` are of the decode cell beside them.

    ``together`` is the cell that ran all operators in one call.
    """

    title: str
    context: int | None
    lines: tuple[OperatorLine, ...]
    sum_s: Figure
    sum_j: Figure
    together: OperatorLine | None
    whole_label: str | None
    whole_context: float | None
    whole_s: Figure | None
    whole_j: Figure | None


def operator_tables(cells: Sequence[CellSummary]) -> list[OperatorTable]:
    """A table for each setting whose operators were measured."""
    groups: dict[tuple[object, ...], list[CellSummary]] = {}
    for cell in cells:
        if cell.kernel is not None and cell.kernel.per_token and cell.rate.value:
            groups.setdefault((*_setting(cell), cell.kernel.context), []).append(cell)
    limits = find_limits(cells)
    return [_table(group, cells, _bandwidth(group[0], limits.bandwidth)) for group in groups.values()]


def _setting(cell: CellSummary) -> tuple[object, ...]:
    """What must be equal for cells to be of the same model in the same setting."""
    return (cell.model, cell.technique, cell.backend, cell.device, cell.backend_settings)


def _bandwidth(cell: CellSummary, known: Mapping[ComputePlace, CellSummary]) -> float | None:
    place = place_of(cell)
    limit = None if place is None else known.get(place)
    return None if limit is None else limit.limit.value


def _table(group: Sequence[CellSummary], cells: Sequence[CellSummary], bandwidth: float | None) -> OperatorTable:
    first = group[0]
    context = first.kernel.context if first.kernel is not None else None
    moved = math.fsum(_token_bytes(cell) for cell in group if _name(cell) != ALL)
    lines = [_line(cell, bandwidth, moved) for cell in group]
    single = tuple(line for line in lines if line.name != ALL)
    whole = _whole(first, context, cells)
    rate = whole.speed.decode_tok_s if whole is not None else None
    parts = [
        first.model,
        *([first.technique] if first.technique != "none" else []),
        first.backend,
        str(place_of(first) or first.device),
        first.dtype,
    ]
    return OperatorTable(
        title=" · ".join(part for part in parts if part),
        context=context,
        lines=single,
        sum_s=total([line.token_s for line in single], "s"),
        sum_j=total([line.token_j for line in single], "J"),
        together=next((line for line in lines if line.name == ALL), None),
        whole_label=None if whole is None else whole.label,
        whole_context=None if whole is None else whole.token.decode_context,
        whole_s=None if rate is None else inverse(rate, "s"),
        whole_j=None if whole is None else _decode_energy(whole),
    )


def _name(cell: CellSummary) -> str:
    return "" if cell.kernel is None else cell.kernel.name


def _token_bytes(cell: CellSummary) -> float:
    kernel = cell.kernel
    return 0.0 if kernel is None else (kernel.moved_bytes or 0.0) * (kernel.per_token or 0)


def _flattered(cell: CellSummary, whole_bytes: float) -> bool:
    """Small operators work on activations alone, which lie in a cache within a token as well."""
    cache_bytes = cell.kernel.cache_bytes if cell.kernel is not None else None
    own = _token_bytes(cell)
    if cache_bytes is None or own < _WEIGHTY * whole_bytes:
        return False
    return own <= cache_bytes < whole_bytes


def _line(cell: CellSummary, bandwidth: float | None, whole_bytes: float) -> OperatorLine:
    kernel = cell.kernel
    assert kernel is not None  # noqa: S101
    times = kernel.per_token or 0
    call_s = inverse(cell.rate, "s")
    reached = None
    if kernel.moved_bytes is not None and call_s.value:
        reached = kernel.moved_bytes / call_s.value / 1e9
    return OperatorLine(
        name=kernel.name,
        label=cell.label,
        call_s=call_s,
        per_token=times,
        token_s=call_s.times(times, "s"),
        # The headline is in mJ for a call.
        token_j=cell.headline.times(times * 1e-3, "J"),
        bandwidth_gb_s=reached,
        bandwidth_share=None if reached is None or not bandwidth else reached / bandwidth,
        flattered=kernel.name != ALL and _flattered(cell, whole_bytes),
    )


def _whole(first: CellSummary, context: int | None, cells: Sequence[CellSummary]) -> CellSummary | None:
    """The cell of the same setting that decodes with the nearest context."""
    whole = [
        cell
        for cell in cells
        if cell.kernel is None
        and _setting(cell) == _setting(first)
        and cell.speed.decode_tok_s.value is not None
        and cell.token.decode_context is not None
    ]
    return min(whole, key=lambda cell: abs((cell.token.decode_context or 0.0) - (context or 0)), default=None)


def _decode_energy(cell: CellSummary) -> Figure | None:
    """Energy of a decoded token: of the decode phase, where the cell has another as well."""
    for summary in cell.energy:
        decode = dict(summary.phases).get("decode")
        if summary.gross.value is not None:
            prefills = cell.speed.prefill_tok_s.value is not None
            return decode if prefills else summary.gross
    return None


def inverse(rate: Figure, unit: str) -> Figure:
    """Of a rate, the time of one, with the same relative interval turned round."""
    if not rate.value:
        return replace(rate, value=None, unit=unit)
    low = 1 / rate.high if rate.high else None
    high = 1 / rate.low if rate.low and rate.low > 0 else None
    bounded = low is not None and high is not None
    return replace(rate, value=1 / rate.value, unit=unit, low=low if bounded else None, high=high if bounded else None)


def total(parts: Iterable[Figure], unit: str) -> Figure:
    """The sum, its half-width by squares; null where a part is, or where provenances differ."""
    figures = list(parts)
    provenances = {figure.provenance for figure in figures}
    if not figures or len(provenances) > 1:
        return Figure(None, unit, reason_if_null="the parts are of different provenance")
    if any(figure.value is None for figure in figures):
        return Figure(None, unit, reason_if_null="a part is unknown")
    value = math.fsum(figure.value or 0.0 for figure in figures)
    halves = [figure.half_width for figure in figures]
    low = high = None
    if all(half is not None for half in halves):
        half = math.sqrt(math.fsum((halve or 0.0) ** 2 for halve in halves))
        low, high = value - half, value + half
    return Figure(value, unit, low, high, min(figure.n for figure in figures), provenances.pop(), "sum of operators")
