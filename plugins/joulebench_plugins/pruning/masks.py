"""Which weights stay: masks from scores. Of equal scores the first go."""

from __future__ import annotations

import torch


def keep_in_matrix(scores: torch.Tensor, sparsity: float) -> torch.Tensor:
    """False for the ``sparsity`` share of least scores over the whole matrix, rounded to one."""
    return _keep_largest(scores.reshape(1, -1), sparsity).view_as(scores)


def keep_in_rows(scores: torch.Tensor, sparsity: float) -> torch.Tensor:
    """False for the ``sparsity`` share of least scores in each row, rounded to one weight."""
    return _keep_largest(scores, sparsity)


def keep_pattern(scores: torch.Tensor, pattern: tuple[int, int]) -> torch.Tensor:
    """True for the N largest of each M neighbours in a row; M divides the columns."""
    kept, group = pattern
    return _keep_largest(scores.reshape(-1, group), 1 - kept / group).view_as(scores)


def _keep_largest(scores: torch.Tensor, sparsity: float) -> torch.Tensor:
    dropped = round(sparsity * scores.shape[1])
    if dropped == 0:
        return torch.ones_like(scores, dtype=torch.bool)
    # Selection and not sorting: a matrix has millions of weights.
    limit = scores.kthvalue(dropped, dim=1, keepdim=True).values
    below, level = scores < limit, scores == limit
    room = dropped - below.sum(1, keepdim=True)
    return ~(below | (level & (level.cumsum(1) <= room)))
