"""What a checkpoint's ``config.json`` says about a llama-type model's shape."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final, cast

from joulebench.errors import ArtifactError
from joulebench_gguf.checkpoint import Checkpoint, read_json
from joulebench_gguf.metadata import DEFAULT_ROPE_THETA, LlamaShape

_NEEDED: Final = (
    "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size",
    "max_position_embeddings", "rms_norm_eps",
)  # fmt: skip
#: Rope types that the llama graph of GGUF has keys or a tensor for, and what each one needs.
_ROPE_TYPES: Final[Mapping[str, tuple[str, ...]]] = {
    "default": (),
    "linear": ("factor",),
    "llama3": (
        "factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings",
    ),
}  # fmt: skip


def shape_of(checkpoint: Checkpoint) -> LlamaShape:
    """The shape, refusing (:class:`ArtifactError`) what GGUF's llama graph cannot express."""
    config = checkpoint.config
    where = str(checkpoint.folder / "config.json")
    if config.get("model_type") != "llama":
        raise ArtifactError(
            f"model type '{config.get('model_type')}' is not exported; 'llama' is", where=where
        )
    missing = [key for key in _NEEDED if not isinstance(config.get(key), int | float)]
    if missing:
        raise ArtifactError(f"lacks {', '.join(missing)}", where=where)
    if config.get("hidden_act", "silu") not in ("silu", "swish"):
        raise ArtifactError(f"activation '{config['hidden_act']}' is not exported", where=where)
    rope = _rope(config)
    kind = _rope_type(rope)
    if kind not in _ROPE_TYPES:
        raise ArtifactError(
            f"rope scaling '{kind}' is not exported", where=where,
            hint=f"exported are: {', '.join(_ROPE_TYPES)}",
        )  # fmt: skip
    lacking = [key for key in _ROPE_TYPES[kind] if not isinstance(rope.get(key), int | float)]
    if lacking:
        raise ArtifactError(f"rope scaling '{kind}' lacks {', '.join(lacking)}", where=where)
    if rope.get("partial_rotary_factor", config.get("partial_rotary_factor", 1.0)) != 1.0:
        raise ArtifactError("rotation of a part of each head is not exported", where=where)
    heads = int(config["num_attention_heads"])
    generation = read_json(checkpoint.folder / "generation_config.json")
    return LlamaShape(
        hidden_size=int(config["hidden_size"]),
        intermediate_size=int(config["intermediate_size"]),
        num_hidden_layers=int(config["num_hidden_layers"]),
        num_attention_heads=heads,
        num_key_value_heads=int(config.get("num_key_value_heads") or heads),
        head_dim=int(config.get("head_dim") or int(config["hidden_size"]) // heads),
        vocab_size=int(config["vocab_size"]),
        max_position_embeddings=int(config["max_position_embeddings"]),
        rms_norm_eps=float(config["rms_norm_eps"]),
        rope_theta=float(rope.get("rope_theta") or config.get("rope_theta") or DEFAULT_ROPE_THETA),
        rope_factor=float(rope["factor"]) if kind == "linear" else None,
        tie_word_embeddings=bool(config.get("tie_word_embeddings", False)),
        attention_bias=bool(config.get("attention_bias", False)),
        mlp_bias=bool(config.get("mlp_bias", False)),
        bos_token_id=_first_id(config.get("bos_token_id")),
        eos_token_ids=_ids(generation.get("eos_token_id", config.get("eos_token_id"))),
        pad_token_id=_first_id(config.get("pad_token_id")),
    )


def frequency_factors(config: Mapping[str, Any], shape: LlamaShape) -> list[float] | None:
    """Divisors of the rotation frequencies for rope type ``llama3``, else ``None``.

    Llama 3.1's rule: long waves are divided by the factor, short ones kept, those between
    interpolated (transformers, modeling_rope_utils.py, ``_compute_llama3_parameters``).
    """
    rope = _rope(config)
    if _rope_type(rope) != "llama3":
        return None
    factor, low, high = (
        float(rope[key]) for key in ("factor", "low_freq_factor", "high_freq_factor")
    )
    original = float(rope["original_max_position_embeddings"])
    divisors: list[float] = []
    for pair in range(0, shape.head_dim, 2):
        wavelength = 2 * math.pi * shape.rope_theta ** (pair / shape.head_dim)
        if wavelength < original / high:
            divisors.append(1.0)
        elif wavelength > original / low:
            divisors.append(factor)
        else:
            smooth = (original / wavelength - low) / (high - low)
            divisors.append(1 / ((1 - smooth) / factor + smooth))
    return divisors


def _rope(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Rope settings under transformers 5's name or the older one."""
    found = config.get("rope_parameters") or config.get("rope_scaling")
    return cast("Mapping[str, Any]", found) if isinstance(found, dict) else {}


def _rope_type(rope: Mapping[str, Any]) -> str:
    return str(rope.get("rope_type") or rope.get("type") or "default")


def _ids(value: object) -> tuple[int, ...]:
    listed = value if isinstance(value, list) else [value]
    return tuple(each for each in listed if isinstance(each, int))


def _first_id(value: object) -> int | None:
    return next(iter(_ids(value)), None)
