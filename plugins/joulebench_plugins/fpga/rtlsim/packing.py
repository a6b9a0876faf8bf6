"""Weights and activations as the engine's memory holds them: beat after beat, lane after lane."""

from __future__ import annotations

from dataclasses import dataclass

from joulebench_plugins.fpga.arithmetic import MAX_SHIFT, MULTIPLIER_BITS, Array, weight_range
from joulebench_plugins.fpga.law import Engine, gemv_cycles, row_beats


@dataclass(frozen=True, slots=True)
class PackedProduct:
    """One product, packed. ``weights`` and ``x`` are uint8, C-contiguous, whole beats."""

    rows: int
    row_beats: int
    group_beats: int
    #: Accumulators that a row gives.
    groups: int
    weights: Array
    x: Array
    #: uint16 and uint8, (rows,); ``None`` where nothing is requantized.
    multipliers: Array | None
    shifts: Array | None
    beats_num: int
    beats_den: int
    #: Cycles after which the simulation is given up: far more than the law asks for.
    limit_cycles: int


@dataclass(frozen=True, slots=True)
class Results:
    """Everything that the engine gave out, in order, and its counters."""

    accumulators: Array
    outputs: Array
    cycles: int
    stalls: int


def pack_job(
    engine: Engine,
    weights: Array,
    x: Array,
    multiplier: Array | int | None,
    shift: Array | int | None,
    beats_num: int,
    beats_den: int,
    group: int,
) -> PackedProduct:
    """A product in the engine's own form; raises as :meth:`GemvEngine.gemv` says."""
    _check_operands(engine, weights, x)
    rows, columns = weights.shape
    beats = row_beats(engine, columns, group)
    limits = gemv_cycles(engine, rows, columns, beats_num, beats_den, group)
    if group and (multiplier is not None or shift is not None):
        raise ValueError("accumulators of groups cannot be requantized one by one")
    multipliers, shifts = _per_row(multiplier, shift, rows)
    group_beats = -(-group // engine.lanes) if group else beats
    return PackedProduct(
        rows=rows,
        row_beats=beats,
        group_beats=min(group_beats, beats),
        groups=-(-columns // group) if group else 1,
        weights=_pack(engine.weight_bits, _padded(engine.lanes, weights, group)),
        x=_pack(8, _padded(engine.lanes, x[None], group)),
        multipliers=multipliers,
        shifts=shifts,
        beats_num=beats_num,
        beats_den=beats_den,
        limit_cycles=2 * limits + 1000,
    )


def _check_operands(engine: Engine, weights: Array, x: Array) -> None:
    import numpy as np

    if weights.ndim != 2 or x.shape != weights.shape[1:]:
        raise ValueError(f"weights {weights.shape} and a vector {x.shape} do not fit together")
    if weights.dtype != np.int8 or x.dtype != np.int8:
        raise ValueError(f"weights of {weights.dtype} and activations of {x.dtype}, not int8")
    low, high = weight_range(engine.weight_bits)
    if engine.weight_bits < 8 and weights.size and (weights.min() < low or weights.max() > high):
        raise ValueError(f"weights of {engine.weight_bits} bits are {low} … {high}")


def _per_row(multiplier: Array | int | None, shift: Array | int | None, rows: int) -> tuple[Array | None, Array | None]:
    """Both as arrays with one entry for each row, or neither."""
    import numpy as np

    if multiplier is None and shift is None:
        return None, None
    if multiplier is None or shift is None:
        raise ValueError("a multiplier needs a shift, and a shift a multiplier")
    factor, places = np.asarray(multiplier, np.int64), np.asarray(shift, np.int64)
    if factor.min() < 0 or factor.max() >= 1 << MULTIPLIER_BITS:
        raise ValueError(f"a multiplier must be 0 … {(1 << MULTIPLIER_BITS) - 1}")
    if places.min() < 1 or places.max() > MAX_SHIFT:
        raise ValueError(f"a shift must be 1 … {MAX_SHIFT}")
    return (
        np.ascontiguousarray(np.broadcast_to(factor, (rows,)), np.uint16),
        np.ascontiguousarray(np.broadcast_to(places, (rows,)), np.uint8),
    )


def _padded(lanes: int, matrix: Array, group: int) -> Array:
    """Each row, and each group of it, filled up with zeros to whole beats."""
    import numpy as np

    rows, columns = matrix.shape
    width = group or columns
    whole, rest = divmod(columns, width)
    padded = -(-width // lanes) * lanes
    if padded == width and not rest:
        return np.ascontiguousarray(matrix)
    tail = -(-rest // lanes) * lanes
    out = np.zeros((rows, whole * padded + tail), np.int8)
    body = out[:, : whole * padded].reshape(rows, whole, padded)
    body[:, :, :width] = matrix[:, : whole * width].reshape(rows, whole, width)
    out[:, whole * padded : whole * padded + rest] = matrix[:, whole * width :]
    return out


def _pack(bits: int, matrix: Array) -> Array:
    """int8 as bytes; 4-bit codes two to a byte, the lower lane in the lower half."""
    import numpy as np

    flat = matrix.reshape(-1).view(np.uint8)
    if bits == 8:
        return flat
    return (flat[::2] & 15) | (flat[1::2] << 4)
