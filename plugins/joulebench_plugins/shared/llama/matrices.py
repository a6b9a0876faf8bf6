"""The names of a llama-type model's tensors, as transformers gives them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

#: The matrices of a layer, each with the one whose input it shares.
INPUT_SHARED_WITH: Final[Mapping[str, str]] = {
    "self_attn.q_proj": "self_attn.q_proj",
    "self_attn.k_proj": "self_attn.q_proj",
    "self_attn.v_proj": "self_attn.q_proj",
    "self_attn.o_proj": "self_attn.o_proj",
    "mlp.gate_proj": "mlp.gate_proj",
    "mlp.up_proj": "mlp.gate_proj",
    "mlp.down_proj": "mlp.down_proj",
}
LAYER_PREFIX: Final = "model.layers."
EMBEDDING: Final = "model.embed_tokens.weight"
HEAD: Final = "lm_head.weight"
FINAL_NORM: Final = "model.norm.weight"


def matrix_name(layer: int, module: str) -> str:
    """The tensor's name of one of a layer's matrices."""
    return f"{LAYER_PREFIX}{layer}.{module}.weight"
