"""What one decoded token has to move and to compute, counted from a model's own tensors."""

from __future__ import annotations

from typing import Any, Final

import torch

from joulebench.api import Traffic
from joulebench_plugins.torch.weightcount import held_weights, only_looked_up

#: How configurations name the experts of which a token uses only some.
_EXPERTS: Final = ("num_local_experts", "num_experts", "n_routed_experts", "num_experts_per_tok")


def count_traffic(model: Any, cache_dtype: torch.dtype) -> Traffic:
    """Bytes and operations of one token of a dense decoder.

    Of a model in which a token uses only some experts, and of a cache in which not every layer
    keeps every position, the figure depends on the text: it is ``None``.
    """
    config = model.config.get_text_config(decoder=True)
    kv_bytes = _kv_position_bytes(config, cache_dtype)
    if any(getattr(config, name, None) for name in _EXPERTS):
        return Traffic(kv_position_bytes=kv_bytes)
    head = model.get_output_embeddings()
    weights_bytes = operations = 0
    for weight in held_weights(model):  # a tied matrix comes once
        if only_looked_up(weight, head):
            weights_bytes += weight.size_bytes // weight.shape[0]
            continue
        weights_bytes += weight.size_bytes
        if len(weight.shape) == 2:
            operations += 2 * weight.count
    return Traffic(
        weights_bytes=weights_bytes,
        kv_position_bytes=kv_bytes,
        operations=operations,
        head_operations=0 if head is None else 2 * _elements(head),
    )


def _elements(head: Any) -> int:
    """How many numbers an output head multiplies."""
    if hasattr(head, "in_features"):
        return int(head.in_features * head.out_features)
    return int(head.weight.numel())


def _kv_position_bytes(config: Any, dtype: torch.dtype) -> int | None:
    kinds = getattr(config, "layer_types", None) or ["full_attention"]
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    if any(kind != "full_attention" for kind in kinds) or getattr(config, "sliding_window", None):
        return None
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    keys_and_values = 2
    return int(config.num_hidden_layers * keys_and_values * heads * size * dtype.itemsize)
