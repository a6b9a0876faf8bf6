"""What the machine can do, as the session's own kernels measured it, and each cell's share of it.

MBU, model bandwidth utilisation, is what a decoded token must move × tokens a second ÷ the
bandwidth of reading. MFU, model FLOPs utilisation (A. Chowdhery et al., "PaLM: Scaling Language
Modeling with Pathways", 2022, appendix B), is what a prompt's matrices must compute × tokens a
second ÷ the rate of a matrix product; attention is left out of both numerators' operations. A limit
is what a kernel reaches at its best, the 90 % quantile of its blocks: slow blocks are no limit.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from joulebench_reports.values.figure import Figure
from joulebench_reports.values.figures import CellSummary

#: Devices whose speed does not hang on the host's threads have other names.
_HOST: Final = "cpu"
#: STREAM's rule for the size of an array, in last-level caches.
_CACHES: Final = 4
_MBU: Final = "bytes of a token × tok/s ÷ bandwidth of reading"
_MFU: Final = "operations of a prompt's matrices × tok/s ÷ rate of matmul"


_ELSEWHERE: Final = "the limits that were measured are this machine's, not the simulated device's"

#: Of a cell that has none, such as one that measures a limit itself.
NO_SHARE: Final = Figure(None, "1", reason_if_null="the cell is no model at work")


@dataclass(frozen=True, slots=True)
class ComputePlace:
    """Where a cell computes: limits count for cells in the same place."""

    device: str
    threads: int | None

    def __str__(self) -> str:
        if self.threads is None:
            return self.device
        return f"{self.device}, {self.threads} thread{'' if self.threads == 1 else 's'}"


def place_of(cell: CellSummary) -> ComputePlace | None:
    """The cell's place; ``None`` where it is the host and its threads are unknown."""
    if cell.device != _HOST:
        return ComputePlace(cell.device, None)
    return None if cell.threads is None else ComputePlace(cell.device, cell.threads)


@dataclass(frozen=True, slots=True)
class Limits:
    """The fastest cell of each kind: reading by place, matmul by place and number type."""

    bandwidth: dict[ComputePlace, CellSummary]
    compute: dict[tuple[ComputePlace, str], CellSummary]


def find_limits(cells: Sequence[CellSummary]) -> Limits:
    """The limits that the session has measured."""
    limits = Limits({}, {})
    for cell in cells:
        place = place_of(cell)
        if cell.kernel is None or place is None or cell.limit.value is None:
            continue
        if cell.kernel.name == "read":
            limits.bandwidth[place] = _faster(limits.bandwidth.get(place), cell)
        elif cell.kernel.name == "matmul" and cell.dtype is not None:
            key = (place, cell.dtype)
            limits.compute[key] = _faster(limits.compute.get(key), cell)
    return limits


def _faster(known: CellSummary | None, cell: CellSummary) -> CellSummary:
    if known is None or (known.limit.value or 0.0) < (cell.limit.value or 0.0):
        return cell
    return known


def with_shares(cells: Sequence[CellSummary]) -> tuple[CellSummary, ...]:
    """The cells with their MBU and MFU, null with the reason where there is none."""
    limits = find_limits(cells)
    return tuple(
        replace(cell, mbu=_mbu(cell, limits), mfu=_mfu(cell, limits)) if cell.kernel is None else cell for cell in cells
    )


def _mbu(cell: CellSummary, limits: Limits) -> Figure:
    if cell.simulated:
        return _none(_ELSEWHERE)
    rate, moved, place = cell.speed.decode_tok_s, cell.token.decode_bytes, place_of(cell)
    if rate.value is None:
        return _none("no decode phase")
    if moved is None:
        return _none("the backend does not tell what a token has to move")
    if place is None:
        return _none("the number of threads is unknown")
    limit = limits.bandwidth.get(place)
    if limit is None:
        return _none(f"the session has no bandwidth cell that reads on {place}")
    return _share(rate, moved, limit.limit, _MBU)


def _mfu(cell: CellSummary, limits: Limits) -> Figure:
    if cell.simulated:
        return _none(_ELSEWHERE)
    rate, computed, place = cell.speed.prefill_tok_s, cell.token.prefill_operations, place_of(cell)
    if rate.value is None:
        return _none("no prefill phase")
    if computed is None or cell.token.prompt is None:
        return _none("the backend does not tell what a token has to compute")
    if place is None or cell.dtype is None:
        return _none("the number of threads or the number type is unknown")
    limit = limits.compute.get((place, cell.dtype))
    if limit is None:
        return _none(f"the session has no matmul cell in {cell.dtype} on {place}")
    return _share(rate, computed / cell.token.prompt, limit.limit, _MFU)


def _share(rate: Figure, amount: float, limit: Figure, method: str) -> Figure:
    """amount × rate ÷ limit; the two half-widths of the logarithms add in squares.

    The limit is a cell's own figure in giga-units a second.
    """
    assert rate.value is not None  # noqa: S101
    assert limit.value is not None  # noqa: S101
    value = amount * rate.value / (limit.value * 1e9)
    low = high = None
    halves = [_log_half(figure) for figure in (rate, limit)]
    if halves[0] is not None and halves[1] is not None:
        factor = math.exp(math.hypot(halves[0], halves[1]))
        low, high = value / factor, value * factor
    return Figure(value, "1", low, high, min(rate.n, limit.n), method=method)


def _log_half(figure: Figure) -> float | None:
    if not figure.low or not figure.high:
        return None
    return math.log(figure.high / figure.low) / 2


def _none(reason: str) -> Figure:
    return Figure(None, "1", reason_if_null=reason)


def limit_notes(cells: Sequence[CellSummary]) -> list[tuple[str, str]]:
    """Term and text of what makes a limit or a share doubtful; equal texts about cells once."""
    doubts: dict[str, list[str]] = {}
    for cell in cells:
        for text in _doubts(cell):
            doubts.setdefault(text, []).append(cell.label)
    return [(", ".join(labels), text) for text, labels in doubts.items()]


def _doubts(cell: CellSummary) -> Iterator[str]:
    kernel = cell.kernel
    if kernel is not None and kernel.array_bytes is not None:
        if kernel.cache_bytes is None:
            yield "the size of the caches is unknown, so the array may lie in them"
        elif kernel.array_bytes < _CACHES * kernel.cache_bytes:
            times = kernel.array_bytes / kernel.cache_bytes
            yield (
                f"the array is {times:.2g} times the last-level cache of "
                f"{kernel.cache_bytes / 2**20:,.0f} MiB; below {_CACHES} times, the cache serves "
                "a part of the traffic"
            )
    for name, share in (("MBU", cell.mbu), ("MFU", cell.mfu)):
        if share.value is not None and share.value > 1:
            yield (
                f"{name} is over 100 %: the weights of a token lie in a cache, or the limit was "
                "measured in a worse moment"
            )
