"""What ``config.json`` says of a llama-type model, as far as the engine needs to know it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from joulebench_checkpointkit.rotary import Rope

#: ``config.json`` names of the model classes that the functional model computes.
ARCHITECTURES: Final = ("LlamaForCausalLM",)
#: Kinds of rotary positions, with the numbers that each needs.
ROPE_KINDS: Final[Mapping[str, tuple[str, ...]]] = {
    "default": (),
    "linear": ("factor",),
    "llama3": (
        "factor",
        "low_freq_factor",
        "high_freq_factor",
        "original_max_position_embeddings",
    ),
}


class UnfitModelError(Exception):
    """Why a model of this configuration does not run here, in a few words."""


@dataclass(frozen=True, slots=True)
class LlamaShape:
    """The sizes of a llama-type model."""

    vocabulary: int
    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    max_positions: int
    norm_epsilon: float
    tied: bool
    rope: Rope

    @classmethod
    def of(cls, config: Mapping[str, object]) -> LlamaShape:
        """Read a ``config.json``; absent keys have transformers' defaults for a llama.

        Raises :class:`UnfitModelError` for a layer that the engine's model does not have.
        """
        _refuse_other_layers(config)
        hidden, heads = _count(config, "hidden_size"), _count(config, "num_attention_heads")
        shape = cls(
            vocabulary=_count(config, "vocab_size"),
            hidden=hidden,
            intermediate=_count(config, "intermediate_size"),
            layers=_count(config, "num_hidden_layers"),
            heads=heads,
            kv_heads=_count(config, "num_key_value_heads", heads),
            head_dim=_count(config, "head_dim", max(1, hidden // heads)),
            max_positions=_count(config, "max_position_embeddings", 2048),
            norm_epsilon=_number(config, "rms_norm_eps", 1e-6),
            tied=config.get("tie_word_embeddings", False) is True,
            rope=_rope(config),
        )
        if shape.heads % shape.kv_heads:
            raise UnfitModelError(
                f"{shape.heads} heads cannot share {shape.kv_heads} key/value heads evenly"
            )
        if shape.head_dim % 2:
            raise UnfitModelError(f"head_dim {shape.head_dim} is odd and cannot be rotated")
        return shape

    @property
    def query_width(self) -> int:
        """Columns of all query heads together."""
        return self.heads * self.head_dim

    @property
    def kv_width(self) -> int:
        """Columns of all key (or value) heads together."""
        return self.kv_heads * self.head_dim

    @property
    def longest_row(self) -> int:
        """Most columns of a matrix of weights."""
        return max(self.hidden, self.intermediate, self.query_width)


def _refuse_other_layers(config: Mapping[str, object]) -> None:
    names = config.get("architectures")
    name = names[0] if isinstance(names, list) and names else None
    if name not in ARCHITECTURES:
        raise UnfitModelError(
            f"its layers are those of {name or 'an unnamed class'}; only "
            f"{', '.join(ARCHITECTURES)} is modelled"
        )
    for key in ("attention_bias", "mlp_bias"):
        if config.get(key, False):
            raise UnfitModelError(f"its layers have biases ({key}), which the engine does not add")
    activation = config.get("hidden_act", "silu")
    if activation not in ("silu", "swish"):
        raise UnfitModelError(f"hidden_act '{activation}' is not modelled, only 'silu'")
    if config.get("quantization_config"):
        raise UnfitModelError("its weights are stored quantized; give the checkpoint before that")


def _rope(config: Mapping[str, object]) -> Rope:
    """``rope_parameters`` (transformers 5), or ``rope_theta`` and ``rope_scaling`` before it."""
    given = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if not isinstance(given, Mapping):
        raise UnfitModelError("the settings of its rotary positions are no table")
    kind = str(given.get("rope_type", given.get("type", "default")))
    if kind not in ROPE_KINDS:
        raise UnfitModelError(
            f"rotary positions of type '{kind}' are not modelled, only {', '.join(ROPE_KINDS)}"
        )
    if _number(given, "partial_rotary_factor", 1.0) != 1.0:
        raise UnfitModelError("rotary positions on a part of each head are not modelled")
    theta = given if "rope_theta" in given else config
    scaling = {name: _number(given, name) for name in ROPE_KINDS[kind]}
    return Rope(kind, _number(theta, "rope_theta", 10000.0), scaling)


def _count(config: Mapping[str, object], key: str, default: int | None = None) -> int:
    value = config.get(key)
    value = default if value is None else value
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise UnfitModelError(f"config.json has no usable '{key}' ({value!r})")
    return value


def _number(config: Mapping[str, object], key: str, default: float | None = None) -> float:
    value = config.get(key)
    value = default if value is None else value
    if not isinstance(value, (int, float)) or isinstance(value, bool) or value <= 0:
        raise UnfitModelError(f"config.json has no usable '{key}' ({value!r})")
    return float(value)
