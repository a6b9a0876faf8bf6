"""SparseGPT on one matrix: choose weights to drop, and correct the others for what is lost."""

from __future__ import annotations

from typing import Final

import torch

from joulebench_plugins.pruning.masks import keep_in_matrix, keep_pattern
from joulebench_plugins.pruning.options import Pattern
from joulebench_plugins.shared.calibration.hessian import inverse_factor

#: Columns whose mask is chosen at once and whose corrections are applied lazily (the paper's B and
#: Bₛ). A multiple of every pattern's group.
_BLOCK: Final = 128


def prune_and_correct(
    weight: torch.Tensor, gram: torch.Tensor, sparsity: float, pattern: Pattern, damping: float
) -> torch.Tensor:
    """The pruned matrix that gives nearly the same products with the inputs behind ``gram``.

    ``weight`` is float32, (outputs, inputs); ``gram`` is XᵀX over all tokens, (inputs, inputs).
    Algorithm 1 of arXiv 2301.00774. Raises :class:`~joulebench.errors.ArtifactError` where the
    Hessian has no inverse in float32.
    """
    rest = weight.clone()
    rest[:, gram.diagonal() == 0] = 0  # what no input reaches
    factor = inverse_factor(gram, damping)
    for start in range(0, rest.shape[1], _BLOCK):
        end = min(start + _BLOCK, rest.shape[1])
        errors = _prune_block(rest[:, start:end], factor[start:end, start:end], sparsity, pattern)
        rest[:, end:] -= errors @ factor[start:end, end:]
    return rest


def _prune_block(block: torch.Tensor, factor: torch.Tensor, sparsity: float, pattern: Pattern) -> torch.Tensor:
    """Prune columns in place, from left to right; returns the errors that later columns make good.

    The score of a weight is w² / d², d the factor's diagonal: the loss that dropping it causes.
    """
    scale = factor.diagonal()
    errors = torch.empty_like(block)
    keep = keep_in_matrix((block / scale).square(), sparsity)
    for column in range(block.shape[1]):
        if pattern is not None and column % pattern[1] == 0:
            part = slice(column, column + pattern[1])
            keep[:, part] = keep_pattern((block[:, part] / scale[part]).square(), pattern)
        pruned = block[:, column] * keep[:, column]
        errors[:, column] = (block[:, column] - pruned) / scale[column]
        block[:, column:] -= errors[:, column, None] * factor[column, column:]
        block[:, column] = pruned
    return errors
