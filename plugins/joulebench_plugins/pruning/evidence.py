"""What the files say: zeros counted, patterns checked, parameters and bytes."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from pathlib import Path

from joulebench.api import Scalar
from joulebench_plugins.pruning.masks import Pattern
from joulebench_plugins.shared.llama.matrices import INPUT_SHARED_WITH, matrix_name
from joulebench_plugins.shared.llama.shape import layer_shape
from joulebench_plugins.shared.tensors.weights import Weights, sizes


def zeros(before: Path, after: Path, pattern: Pattern) -> Mapping[str, Scalar]:
    """Zeros in the pruned matrices, by layer and in all; the pattern in every group of them."""
    old, new = Weights(before), Weights(after)
    names = _matrices(new)
    were = sum(_zeros_of(old, name) for layer in names for name in layer)
    shares: list[float] = []
    zero_weights = total = 0
    for layer in names:
        size = sum(prod(new.shape(name)) for name in layer)
        count = sum(_zeros_of(new, name) for name in layer)
        shares.append(count / size)
        zero_weights, total = zero_weights + count, total + size
    evidence: dict[str, Scalar] = {
        "pruned_matrices": sum(len(layer) for layer in names),
        "zero_fraction": zero_weights / total,
        "zero_fraction_before": were / total,
        "layer_zero_fraction_min": min(shares),
        "layer_zero_fraction_max": max(shares),
    }
    if pattern is not None:
        groups = [_groups(new, name, pattern) for layer in names for name in layer]
        evidence["pattern_groups"] = sum(checked for checked, _ in groups)
        evidence["pattern_holds"] = not any(broken for _, broken in groups)
    return evidence | sizes(old, new)


def shapes(before: Path, after: Path) -> Mapping[str, Scalar]:
    """Parameters and bytes, and the sizes that the tensors have."""
    old, new = Weights(before), Weights(after)
    evidence = sizes(old, new)
    for word, weights in (("before", old), ("after", new)):
        # A head's size is in no tensor's shape.
        size = layer_shape(weights.config).head_dim
        evidence |= {
            f"layers_{word}": sum(name.endswith(".mlp.up_proj.weight") for name in weights.files),
            f"heads_{word}": weights.shape(matrix_name(0, "self_attn.q_proj"))[0] // size,
            f"kv_heads_{word}": weights.shape(matrix_name(0, "self_attn.k_proj"))[0] // size,
            f"mlp_width_{word}": weights.shape(matrix_name(0, "mlp.up_proj"))[0],
        }
    return evidence


def _matrices(weights: Weights) -> list[list[str]]:
    """Names of the pruned matrices of each layer."""
    layers = range(layer_shape(weights.config).num_hidden_layers)
    return [[matrix_name(layer, module) for module in INPUT_SHARED_WITH] for layer in layers]


def _zeros_of(weights: Weights, name: str) -> int:
    return int((weights.tensor(name) == 0).sum())


def _groups(weights: Weights, name: str, pattern: tuple[int, int]) -> tuple[int, int]:
    """(groups checked, groups with more non-zero weights than the pattern allows)."""
    kept, group = pattern
    held = (weights.tensor(name).reshape(-1, group) != 0).sum(1)
    return len(held), int((held > kept).sum())
