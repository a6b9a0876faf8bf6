"""Symmetric grids: integers of a few bits with one float16 scale for each group of a row.

Zero is an integer of every grid, so a weight that is 0 stays 0. Scales are numbers that float16
holds, chosen before the integers are: what is packed later has the same scales.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch

from joulebench_plugins.shared.tensors.integers import Integers

#: Shares of the full scale that are tried where a scale is searched.
_SHARES: Final = tuple(1 - step / 40 for step in range(17))  # 1.0 … 0.6
_LARGEST_FLOAT16: Final = 65504.0


@dataclass(frozen=True, slots=True)
class Grid:
    """``bits`` of each integer; ``group`` neighbours in a row share a scale, 0: the whole row.

    ``search`` looks for the scale with the least squared error, which may clip large weights;
    without it the largest weight of a group is hit exactly.
    """

    bits: int
    group: int
    search: bool = False

    @property
    def highest(self) -> int:
        """The largest integer."""
        return int(2 ** (self.bits - 1) - 1)

    @property
    def lowest(self) -> int:
        """The smallest integer: -127 for 8 bits, as in GGUF's Q8_0; else all are used."""
        return -self.highest - (self.bits < 8)

    def width(self, columns: int) -> int:
        """Columns of a group in a matrix of so many."""
        return self.group or columns

    def scales(self, weight: torch.Tensor, gram: torch.Tensor | None = None) -> torch.Tensor:
        """A scale for each group of a float32 matrix: (rows, groups), float16.

        Of 8 bits the largest magnitude becomes ±127; of fewer the weight that has it becomes the
        lowest integer, whose side of zero has one more: the scale takes its sign (as GGUF's Q4_0
        does). With ``search`` the error is weighted by ``gram``, XᵀX of the matrix's inputs, where
        that is given.
        """
        rows, columns = weight.shape
        groups = weight.reshape(rows, -1, self.width(columns))
        place = groups.abs().argmax(-1, keepdim=True)
        largest = groups.gather(-1, place)
        full = largest.abs() / self.highest if self.bits == 8 else largest / self.lowest
        if not self.search:
            return _as_float16(full)[..., 0]
        blocks = None if gram is None else _diagonal_blocks(gram, groups.shape[2])
        best = torch.full(groups.shape[:2], float("inf"))
        scales = torch.zeros(groups.shape[:2], dtype=torch.float16)
        for share in _SHARES:
            scale = _as_float16(full * share)
            error = _squared_error(groups - self._rounded(groups, scale), blocks)
            better = error < best
            best = torch.where(better, error, best)
            scales = torch.where(better, scale[..., 0], scales)
        return scales

    def nearest(self, weight: torch.Tensor, scale: torch.Tensor) -> tuple[torch.Tensor, int]:
        """(nearest integers as float32, how many lay beyond the ends), scales of equal shape."""
        steps = _steps(weight, scale)
        clipped = int(((steps < self.lowest) | (steps > self.highest)).sum())
        return steps.clamp(self.lowest, self.highest), clipped

    def _rounded(self, groups: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        wide = scale.float()
        return _steps(groups, wide).clamp(self.lowest, self.highest) * wide


@dataclass(frozen=True, slots=True)
class Rounded:
    """A matrix on a grid: ``integers`` int8 (rows, columns), ``scales`` float16 (rows, groups)."""

    bits: int
    integers: torch.Tensor
    scales: torch.Tensor
    #: Share of the weights beyond the ends of their grid.
    clipped: float
    #: Σ (rounded − exact)² and Σ exact², of the matrix that was rounded.
    squared_error: float
    squares: float

    @classmethod
    def of(cls, exact: torch.Tensor, bits: int, steps: torch.Tensor, scales: torch.Tensor, clipped: int) -> Rounded:
        """From the matrix as it was and the integers it was rounded to."""
        integers = steps.to(torch.int8)
        error = dequantized(integers, scales) - exact
        sums = [float(part.square().sum(dtype=torch.float64)) for part in (error, exact)]
        return cls(bits, integers, scales, clipped / exact.numel(), *sums)

    def dense(self) -> torch.Tensor:
        """The numbers that the integers stand for, float32 and exact."""
        return dequantized(self.integers, self.scales)

    def stored(self) -> Integers:
        """The same as numpy arrays, for the file."""
        return Integers(self.bits, self.integers.numpy(), self.scales.numpy())


def joined(matrices: Sequence[Rounded]) -> Rounded:
    """The rows of several matrices as one: of experts that lie in one tensor."""
    if len(matrices) == 1:
        return matrices[0]
    weights = sum(matrix.integers.numel() for matrix in matrices)
    return Rounded(
        matrices[0].bits,
        torch.cat([matrix.integers for matrix in matrices]),
        torch.cat([matrix.scales for matrix in matrices]),
        sum(matrix.clipped * matrix.integers.numel() for matrix in matrices) / weights,
        sum(matrix.squared_error for matrix in matrices),
        sum(matrix.squares for matrix in matrices),
    )


def round_to_nearest(weight: torch.Tensor, grid: Grid, gram: torch.Tensor | None = None) -> Rounded:
    """Each weight of a float32 matrix to the nearest number of its group's grid."""
    scales = grid.scales(weight, gram)
    steps, clipped = grid.nearest(weight, spread(scales, weight.shape[1]))
    return Rounded.of(weight, grid.bits, steps, scales, clipped)


def dequantized(integers: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    """Integer × scale in float32, which holds the product of 8 and 11 bits exactly."""
    return integers.float() * spread(scales, integers.shape[1])


def spread(scales: torch.Tensor, columns: int) -> torch.Tensor:
    """The scale of each column, float32, (rows, columns)."""
    return scales.float().repeat_interleave(columns // scales.shape[1], dim=1)


def _steps(weight: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Weights in units of their scale, rounded; 0 where the scale is 0."""
    return torch.where(scale == 0, 0.0, weight / scale).round()


def _as_float16(scale: torch.Tensor) -> torch.Tensor:
    return scale.clamp(-_LARGEST_FLOAT16, _LARGEST_FLOAT16).to(torch.float16)


def _diagonal_blocks(gram: torch.Tensor, width: int) -> torch.Tensor:
    """XᵀX of each group's inputs alone, (groups, width, width)."""
    count = gram.shape[0] // width
    parts = gram.reshape(count, width, count, width)
    return torch.stack([parts[index, :, index] for index in range(count)])


def _squared_error(error: torch.Tensor, blocks: torch.Tensor | None) -> torch.Tensor:
    """Of each group: of the weights, or of their products with the inputs behind ``blocks``."""
    if blocks is None:
        return error.square().sum(-1)
    weighed = torch.einsum("rgi,gij->rgj", error, blocks)
    return (weighed * error).sum(-1)
