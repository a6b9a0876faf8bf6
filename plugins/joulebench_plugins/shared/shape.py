"""The sizes of a llama-type model, from its ``config.json``, and the names of its matrices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from joulebench_plugins.shared.configuration import UnfitModelError, count, even_groups, refuse_quantized

#: Types whose layers have the matrices below and nothing else that depends on their sizes.
MODEL_TYPES: Final = ("llama", "mistral", "qwen2")

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


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes under the names that transformers gives them."""

    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int

    @classmethod
    def of(cls, config: Mapping[str, object]) -> Shape:
        """Read a ``config.json``. Raises :class:`UnfitModelError`."""
        kind = config.get("model_type")
        if kind not in MODEL_TYPES:
            raise UnfitModelError(f"takes models of type {', '.join(MODEL_TYPES)}, not '{kind or 'unknown'}'")
        refuse_quantized(config)
        hidden, heads = count(config, "hidden_size"), count(config, "num_attention_heads")
        shape = cls(
            hidden_size=hidden,
            intermediate_size=count(config, "intermediate_size"),
            num_hidden_layers=count(config, "num_hidden_layers"),
            num_attention_heads=heads,
            num_key_value_heads=count(config, "num_key_value_heads", heads),
            head_dim=count(config, "head_dim", hidden // heads),
        )
        even_groups(heads, shape.num_key_value_heads)
        return shape

    @property
    def group(self) -> int:
        """Query heads that share one key/value head."""
        return self.num_attention_heads // self.num_key_value_heads

    @property
    def input_widths(self) -> frozenset[int]:
        """Columns that the matrices have."""
        return frozenset({self.hidden_size, self.num_attention_heads * self.head_dim, self.intermediate_size})
