"""GPTQ on one matrix: round column by column, and let later columns make the errors good."""

from __future__ import annotations

from typing import Final

import torch

from joulebench_plugins.quantization.grid import Grid, Rounded
from joulebench_plugins.shared.calibration.hessian import inverse_factor

#: Columns whose corrections are applied lazily (the paper's B); a multiple of all groups but rows.
_BLOCK: Final = 128


def round_and_correct(weight: torch.Tensor, gram: torch.Tensor, grid: Grid, damping: float, act_order: bool) -> Rounded:
    """The rounded matrix that gives nearly the same products with the inputs behind ``gram``.

    ``weight`` is float32, (outputs, inputs); ``gram`` is XᵀX over all tokens, (inputs, inputs).
    Algorithm 1 of arXiv 2210.17323. Weights that are 0 stay 0 and leave their correction to
    others, as in the joint form of SparseGPT (arXiv 2301.00774, section 3.5), so that what was
    pruned stays pruned. With ``act_order`` the columns with the largest inputs are rounded first,
    on scales of the uncorrected weights; without it a group's scales are chosen when its first
    column comes up. Raises :class:`~joulebench.errors.ArtifactError` where the Hessian has no
    inverse.
    """
    return _Rounding(weight, gram, grid, damping, act_order).run()


class _Rounding:
    """Works on the transpose, so that a column of the matrix lies in one piece."""

    def __init__(self, weight: torch.Tensor, gram: torch.Tensor, grid: Grid, damping: float, act_order: bool) -> None:
        columns = weight.shape[1]
        self._weight, self._grid = weight, grid
        self._width = grid.width(columns)
        self._whole_rows = Grid(grid.bits, 0, grid.search)
        order = torch.arange(columns)
        if act_order:
            order = gram.diagonal().argsort(descending=True, stable=True)
        self._order = order
        self._factor = inverse_factor(gram[order][:, order], damping)
        self._rest = weight.T[order].clone(memory_format=torch.contiguous_format)
        self._kept = self._rest != 0
        #: A row for each group.
        self._scales = torch.zeros(columns // self._width, len(weight), dtype=torch.float16)
        self._as_they_come = not act_order and self._width <= _BLOCK
        if not self._as_they_come:
            self._scales = grid.scales(weight).T.contiguous()
        self._steps = torch.empty_like(self._rest)
        self._clipped = 0

    def run(self) -> Rounded:
        """Block by block; what a block gets wrong is taken off the columns after it at once."""
        columns = len(self._rest)
        for start in range(0, columns, _BLOCK):
            end = min(start + _BLOCK, columns)
            errors = self._block(start, end)
            self._rest[end:] -= self._factor[start:end, end:].T @ errors
        steps = torch.empty_like(self._steps)
        steps[self._order] = self._steps
        return Rounded.of(
            self._weight, self._grid.bits, steps.T.contiguous(), self._scales.T.contiguous(), self._clipped
        )

    def _block(self, start: int, end: int) -> torch.Tensor:
        block, factor = self._rest[start:end], self._factor[start:end, start:end]
        errors = torch.empty_like(block)
        for place in range(end - start):
            column = start + place
            group = int(self._order[column]) // self._width
            if self._as_they_come and column % self._width == 0:
                ahead = block[place : place + self._width].T
                self._scales[group] = self._whole_rows.scales(ahead)[:, 0]
            scale = self._scales[group].float()
            steps, clipped = self._grid.nearest(block[place], scale)
            steps *= self._kept[column]
            self._clipped += clipped
            self._steps[column] = steps
            errors[place] = (block[place] - steps * scale) / factor[place, place]
            block[place:] -= factor[place, place:, None] * errors[place]
        return errors
