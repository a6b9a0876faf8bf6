"""What the files say: zeros counted, patterns checked, parameters and bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from joulebench.api import Scalar
from joulebench_plugins.pruning.options import Pattern, divides
from joulebench_plugins.pruning.target import NEEDED
from joulebench_plugins.shared.decoder.model import Decoder
from joulebench_plugins.shared.decoder.roles import layer_shape, roles_of
from joulebench_plugins.shared.tensors.weights import Weights, left_alone, parameters, sizes


@dataclass(slots=True)
class _Zeros:
    """Weights of some matrices, and how many of them are 0."""

    matrices: int = 0
    weights: int = 0
    before: int = 0
    after: int = 0

    @property
    def share(self) -> float:
        return self.after / self.weights


def zeros(before: Path, after: Path, pattern: Pattern) -> Mapping[str, Scalar]:
    """Zeros in the pruned matrices, by block and in all; the pattern in every group of them."""
    old, new = Weights(before), Weights(after)
    decoder = Decoder(after, new.files)
    blocks: dict[int, _Zeros] = {}
    groups = broken = 0
    reached: set[str] = set()
    for linear in decoder.linears:
        if not divides(pattern, linear.columns(new.shape(linear.tensor))):
            continue
        reached.add(linear.tensor)
        matrix = linear.of(new.tensor(linear.tensor))
        block = blocks.setdefault(linear.block, _Zeros())
        block.matrices += 1
        block.weights += matrix.numel()
        block.before += int((linear.of(old.tensor(linear.tensor)) == 0).sum())
        block.after += int((matrix == 0).sum())
        if pattern is not None:
            checked, many = _groups(matrix, pattern)
            groups, broken = groups + checked, broken + many
    weights = sum(block.weights for block in blocks.values())
    evidence: dict[str, Scalar] = {
        "pruned_matrices": sum(block.matrices for block in blocks.values()),
        "pruned_share": weights / parameters(new),
        "left_alone": left_alone(new, reached),
        "zero_fraction": sum(block.after for block in blocks.values()) / weights,
        "zero_fraction_before": sum(block.before for block in blocks.values()) / weights,
        "layer_zero_fraction_min": min(block.share for block in blocks.values()),
        "layer_zero_fraction_max": max(block.share for block in blocks.values()),
    }
    if pattern is not None:
        evidence |= {"pattern_groups": groups, "pattern_holds": not broken}
    return evidence | sizes(old, new)


def shapes(before: Path, after: Path) -> Mapping[str, Scalar]:
    """Parameters and bytes, and the sizes that the tensors have."""
    old, new = Weights(before), Weights(after)
    evidence = sizes(old, new)
    for word, weights in (("before", old), ("after", new)):
        roles, shape = roles_of(weights.config, NEEDED), layer_shape(weights.config)
        decoder = Decoder(weights.folder, weights.files)
        evidence[f"layers_{word}"] = len({linear.block for linear in decoder.linears})
        widths = {
            linear.module: linear.columns(weights.shape(linear.tensor))
            for linear in decoder.linears
            if linear.module in (roles.output, roles.down)
        }
        if roles.output in widths:
            # A head's size is in no tensor's shape, nor how many share their keys.
            heads = widths[roles.output] // shape.head_dim
            evidence |= {f"heads_{word}": heads, f"kv_heads_{word}": heads // shape.group}
        if roles.down in widths:
            evidence[f"mlp_width_{word}"] = widths[roles.down]
    return evidence


def _groups(matrix: torch.Tensor, pattern: tuple[int, int]) -> tuple[int, int]:
    """(groups checked, groups with more non-zero weights than the pattern allows)."""
    kept, group = pattern
    held = (matrix.reshape(-1, group) != 0).sum(1)
    return len(held), int((held > kept).sum())
