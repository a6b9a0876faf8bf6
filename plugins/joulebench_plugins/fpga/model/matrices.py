"""Matrices of integers with float scales, ready for exact products by numpy."""

from __future__ import annotations

from typing import Final, Literal

from joulebench_plugins.fpga.arithmetic import INT8_MAX, Array, weight_range

#: Columns that a float32 product of int8 numbers may sum up: every partial sum is an integer of at
#: most 1,024 · 2^14 = 2^24, which float32 holds exactly, whatever the order of the additions.
EXACT_COLUMNS: Final = 1024


class Matrix:
    """Integers of 8 or 4 bits in rows, with a scale for each row or each group of columns.

    They are kept as float32, in slices of columns that are short enough for exact sums.
    """

    def __init__(self, name: str, integers: Array, scales: Array, bits: Literal[8, 4], group: int) -> None:
        import numpy as np

        self.name = name
        self.rows, self.columns = integers.shape
        self.bits = bits
        self.group = group
        #: float32, (rows,) or (groups, rows).
        self.scales = scales
        width = group or EXACT_COLUMNS
        self._slices = [
            np.ascontiguousarray(integers[:, start : start + width], np.float32)
            for start in range(0, self.columns, width)
        ]

    def integers(self, first: int = 0, count: int | None = None) -> Array:
        """Rows ``first`` … as int8, (rows, columns)."""
        import numpy as np

        rows = slice(first, None if count is None else first + count)
        return np.concatenate([piece[rows].astype(np.int8) for piece in self._slices], axis=1)

    def products(self, x: Array) -> Array:
        """Exact accumulators as int32 of ``x`` (tokens, columns), int8.

        Shaped (tokens, rows), or (groups, tokens, rows) where groups have scales.
        """
        import numpy as np

        wide = np.asarray(x, np.float32)
        parts: list[Array] = []
        start = 0
        for piece in self._slices:
            stop = start + piece.shape[1]
            parts.append((wide[:, start:stop] @ piece.T).astype(np.int32))
            start = stop
        if self.group:
            return np.stack(parts)
        total = parts[0]
        for piece in parts[1:]:
            total += piece
        return total

    def scaled(self, accumulators: Array, x_scales: Array) -> Array:
        """What accumulators mean: float32, (tokens, rows). ``x_scales`` is (tokens, 1)."""
        import numpy as np

        values = accumulators.astype(np.float32)
        if self.group:
            values = (values * self.scales[:, None, :]).sum(axis=0, dtype=np.float32)
            return values * x_scales
        return values * (self.scales * x_scales)

    def looked_up(self, rows: Array) -> Array:
        """Rows as float32 numbers, for an embedding (a scale for each row)."""
        import numpy as np

        parts = [piece[rows] for piece in self._slices]
        return np.concatenate(parts, axis=1) * self.scales[rows][:, None]


def quantized_rows(name: str, weights: Array) -> Matrix:
    """int8, symmetric, a scale for each row: its largest magnitude becomes 127."""
    import numpy as np

    scales = _scales(np.abs(weights).max(axis=1), INT8_MAX)
    integers = np.rint(weights / scales[:, None])
    return Matrix(name, np.clip(integers, -INT8_MAX, INT8_MAX), scales, 8, 0)


def quantized_groups(name: str, weights: Array, group: int) -> Matrix:
    """int4, symmetric, a float16 scale for each ``group`` columns of a row.

    The number of largest magnitude becomes -8 with its sign in the scale, so that all 16 codes are
    used (as ggml's Q4_0 does).
    """
    import numpy as np

    rows, columns = weights.shape
    low, high = weight_range(4)
    count = -(-columns // group)
    padded = np.zeros((rows, count * group), np.float32)
    padded[:, :columns] = weights
    parts = padded.reshape(rows, count, group)
    largest = np.take_along_axis(parts, np.abs(parts).argmax(axis=2)[..., None], axis=2)[..., 0]
    scales = (largest / low).astype(np.float16).astype(np.float32)
    safe = np.where(scales == 0, np.float32(1), scales)
    integers = np.clip(np.rint(parts / safe[..., None]), low, high).reshape(rows, -1)
    return Matrix(name, integers[:, :columns], np.ascontiguousarray(scales.T), 4, group)


def quantized_activations(x: Array) -> tuple[Array, Array]:
    """int8 and a float32 scale for each vector along the last axis: (…, n) and (…, 1)."""
    import numpy as np

    scales = _scales(np.abs(x).max(axis=-1, keepdims=True), INT8_MAX)
    return np.rint(x / scales).astype(np.int8), scales


def _scales(largest: Array, most: int) -> Array:
    import numpy as np

    scales = (largest / np.float32(most)).astype(np.float32)
    return np.where(scales == 0, np.float32(1), scales)
