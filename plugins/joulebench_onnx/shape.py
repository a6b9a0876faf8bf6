"""What ``config.json`` says of a llama-type model, as far as its ONNX graph needs to know it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from joulebench_checkpointkit.rotary import Rope

#: ``config.json`` names of the model classes whose graph is known.
ARCHITECTURES: Final = ("LlamaForCausalLM",)
#: Kinds of rotary positions whose angles can be put into a table beforehand.
ROPE_TYPES: Final = ("default", "linear", "llama3")
#: onnxruntime's GroupQueryAttention rotates heads of such a multiple only: others fail at the first
#: token (onnxruntime/contrib_ops/cpu/bert/group_query_attention_helper.h).
HEAD_SIZE_MULTIPLE: Final = 16


class UnfitConfigError(Exception):
    """Why a model of this configuration has no ONNX graph here, in a few words."""


@dataclass(frozen=True, slots=True)
class LlamaShape:
    """The sizes of a llama-type model, under the names that transformers gives them."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    max_position_embeddings: int
    rms_norm_eps: float
    tie_word_embeddings: bool
    attention_bias: bool
    mlp_bias: bool
    rope: Rope

    @classmethod
    def of(cls, config: Mapping[str, object]) -> LlamaShape:
        """Read a ``config.json``; absent keys have transformers' defaults for a llama.

        Raises :class:`UnfitConfigError` for what the graph cannot express.
        """
        hidden, heads = _count(config, "hidden_size"), _count(config, "num_attention_heads")
        activation = config.get("hidden_act", "silu")
        if activation not in ("silu", "swish"):
            raise UnfitConfigError(f"hidden_act '{activation}' is not known, only 'silu'")
        shape = cls(
            vocab_size=_count(config, "vocab_size"),
            hidden_size=hidden,
            intermediate_size=_count(config, "intermediate_size"),
            num_hidden_layers=_count(config, "num_hidden_layers"),
            num_attention_heads=heads,
            num_key_value_heads=_count(config, "num_key_value_heads", heads),
            head_dim=_count(config, "head_dim", hidden // heads),
            max_position_embeddings=_count(config, "max_position_embeddings", 2048),
            rms_norm_eps=_number(config, "rms_norm_eps", 1e-6),
            tie_word_embeddings=config.get("tie_word_embeddings", False) is True,
            attention_bias=config.get("attention_bias", False) is True,
            mlp_bias=config.get("mlp_bias", False) is True,
            rope=_rope(config),
        )
        if shape.num_attention_heads % shape.num_key_value_heads:
            raise UnfitConfigError(
                f"{shape.num_attention_heads} heads cannot share {shape.num_key_value_heads} "
                "key/value heads evenly"
            )
        if shape.head_dim % HEAD_SIZE_MULTIPLE:
            raise UnfitConfigError(
                f"head_dim {shape.head_dim} is no multiple of {HEAD_SIZE_MULTIPLE}, which "
                "onnxruntime's attention kernel asks for"
            )
        return shape

    @property
    def parameters(self) -> int:
        """Number of weights, a tied head's counted once; without the table of the rotation."""
        queries = self.num_attention_heads * self.head_dim
        keys = self.num_key_value_heads * self.head_dim
        hidden, wide = self.hidden_size, self.intermediate_size
        attention = 2 * hidden * (queries + keys)
        biases = self.attention_bias * (queries + 2 * keys + hidden)
        biases += self.mlp_bias * (2 * wide + hidden)
        layer = attention + 3 * hidden * wide + 2 * hidden + biases
        tables = (1 if self.tie_word_embeddings else 2) * self.vocab_size * hidden
        return tables + self.num_hidden_layers * layer + hidden


def unfit_reason(config: Mapping[str, object]) -> str | None:
    """Why a model of this ``config.json`` cannot be exported, or ``None``."""
    try:
        LlamaShape.of(config)
    except UnfitConfigError as error:
        return f"onnx-export: {error}"
    return None


def _rope(config: Mapping[str, object]) -> Rope:
    """``rope_parameters`` (transformers 5), or ``rope_theta`` and ``rope_scaling`` before it."""
    given = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if not isinstance(given, Mapping):
        raise UnfitConfigError("the settings of its rotary positions are no table")
    kind = str(given.get("rope_type", given.get("type", "default")))
    if kind not in ROPE_TYPES:
        raise UnfitConfigError(
            f"rotary positions of type '{kind}' are not known, only {', '.join(ROPE_TYPES)}"
        )
    if _number(given, "partial_rotary_factor", 1.0) != 1.0:
        raise UnfitConfigError("rotary positions on a part of each head are not known")
    names = {
        "default": (),
        "linear": ("factor",),
        "llama3": (
            "factor",
            "low_freq_factor",
            "high_freq_factor",
            "original_max_position_embeddings",
        ),
    }[kind]
    theta = given if "rope_theta" in given else config
    return Rope(
        kind, _number(theta, "rope_theta", 10000.0), {name: _number(given, name) for name in names}
    )


def _count(config: Mapping[str, object], key: str, default: int | None = None) -> int:
    value = config.get(key)
    value = default if value is None else value
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise UnfitConfigError(f"config.json has no usable '{key}' ({value!r})")
    return value


def _number(config: Mapping[str, object], key: str, default: float | None = None) -> float:
    value = config.get(key)
    value = default if value is None else value
    if not isinstance(value, (int, float)) or isinstance(value, bool) or value <= 0:
        raise UnfitConfigError(f"config.json has no usable '{key}' ({value!r})")
    return float(value)
