"""Sizes, constants and rotation of a llama-type model, from its ``config.json``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from joulebench_plugins.shared.llama.configuration import UnfitModelError, count, even_groups, number, refuse_quantized
from joulebench_plugins.shared.llama.rotary import ROPE_KINDS, Rope

#: ``config.json`` names of the model classes whose layers are the ones described here.
ARCHITECTURES: Final = ("LlamaForCausalLM",)


@dataclass(frozen=True, slots=True)
class LayerShape:
    """The sizes of decoder layers, under the names that transformers gives them."""

    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int

    @property
    def group(self) -> int:
        """Query heads that share one key/value head."""
        return self.num_attention_heads // self.num_key_value_heads

    @property
    def query_width(self) -> int:
        """Columns of all query heads together."""
        return self.num_attention_heads * self.head_dim

    @property
    def kv_width(self) -> int:
        """Columns of all key (or value) heads together."""
        return self.num_key_value_heads * self.head_dim

    @property
    def input_widths(self) -> frozenset[int]:
        """Columns that the matrices have."""
        return frozenset({self.hidden_size, self.query_width, self.intermediate_size})


def _layer_sizes(config: Mapping[str, object]) -> dict[str, int]:
    """The fields of :class:`LayerShape`, of weights that are not quantized."""
    refuse_quantized(config)
    hidden, heads = count(config, "hidden_size"), count(config, "num_attention_heads")
    kv_heads = count(config, "num_key_value_heads", heads)
    even_groups(heads, kv_heads)
    return {
        "hidden_size": hidden,
        "intermediate_size": count(config, "intermediate_size"),
        "num_hidden_layers": count(config, "num_hidden_layers"),
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": count(config, "head_dim", hidden // heads),
    }


@dataclass(frozen=True, slots=True)
class LlamaShape(LayerShape):
    """Sizes and constants of a whole llama-type model."""

    vocab_size: int
    max_position_embeddings: int
    rms_norm_eps: float
    tie_word_embeddings: bool
    attention_bias: bool
    mlp_bias: bool
    rope: Rope

    @classmethod
    def of(cls, config: Mapping[str, object]) -> LlamaShape:
        """Read a ``config.json``; absent keys have transformers' defaults for a llama.

        Raises :class:`UnfitModelError` for layers that are none of a plain llama's.
        """
        activation = config.get("hidden_act", "silu")
        if activation not in ("silu", "swish"):
            raise UnfitModelError(f"hidden_act '{activation}' is not known, only 'silu'")
        shape = cls(
            **_layer_sizes(config),
            vocab_size=count(config, "vocab_size"),
            max_position_embeddings=count(config, "max_position_embeddings", 2048),
            rms_norm_eps=number(config, "rms_norm_eps", 1e-6),
            tie_word_embeddings=config.get("tie_word_embeddings", False) is True,
            attention_bias=config.get("attention_bias", False) is True,
            mlp_bias=config.get("mlp_bias", False) is True,
            rope=_rope(config),
        )
        if shape.head_dim % 2:
            raise UnfitModelError(f"head_dim {shape.head_dim} is odd and cannot be rotated")
        return shape

    @property
    def parameters(self) -> int:
        """Number of weights, a tied head's counted once; without the table of the rotation."""
        queries, keys = self.query_width, self.kv_width
        hidden, wide = self.hidden_size, self.intermediate_size
        attention = 2 * hidden * (queries + keys)
        biases = self.attention_bias * (queries + 2 * keys + hidden)
        biases += self.mlp_bias * (2 * wide + hidden)
        layer = attention + 3 * hidden * wide + 2 * hidden + biases
        tables = (1 if self.tie_word_embeddings else 2) * self.vocab_size * hidden
        return tables + self.num_hidden_layers * layer + hidden


def foreign_architecture(config: Mapping[str, object]) -> str | None:
    """The name of the model's class where its layers are not known to be a llama's."""
    names = config.get("architectures")
    name = names[0] if isinstance(names, list) and names else None
    return None if name in ARCHITECTURES else str(name or "an unnamed class")


def _rope(config: Mapping[str, object]) -> Rope:
    """``rope_parameters`` (transformers 5), or ``rope_theta`` and ``rope_scaling`` before it."""
    rotary = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if not isinstance(rotary, Mapping):
        raise UnfitModelError("the settings of its rotary positions are no table")
    kind = str(rotary.get("rope_type") or rotary.get("type") or "default")
    if kind not in ROPE_KINDS:
        raise UnfitModelError(f"rotary positions of type '{kind}' are not known, only {', '.join(ROPE_KINDS)}")
    if any(number(table, "partial_rotary_factor", 1.0) != 1.0 for table in (rotary, config)):
        raise UnfitModelError("rotary positions on a part of each head are not known")
    theta = rotary if "rope_theta" in rotary else config
    scaling = {name: number(rotary, name) for name in ROPE_KINDS[kind]}
    return Rope(kind, number(theta, "rope_theta", 10000.0), scaling)
