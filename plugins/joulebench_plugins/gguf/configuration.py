"""What a checkpoint's JSON files say about a llama-type model that becomes a GGUF file."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from joulebench.checkpoint import read_json
from joulebench.errors import ArtifactError, ModelError
from joulebench_plugins.gguf.metadata import SpecialIds
from joulebench_plugins.shared.llama.configuration import UnfitModelError
from joulebench_plugins.shared.llama.shape import LlamaShape
from joulebench_plugins.shared.tensors.arrays import Checkpoint


def shape_of(checkpoint: Checkpoint) -> LlamaShape:
    """The shape, refusing (:class:`ArtifactError`) what GGUF's llama graph cannot express."""
    where = str(checkpoint.folder / "config.json")
    kind = checkpoint.config.get("model_type")
    if kind != "llama":
        raise ArtifactError(f"model type '{kind}' is not exported; 'llama' is", where=where)
    try:
        return LlamaShape.of(checkpoint.config)
    except UnfitModelError as error:
        raise ArtifactError(str(error), where=where) from None


def special_ids(checkpoint: Checkpoint, tokens: int) -> SpecialIds:
    """The ids; ``generation_config.json`` knows more ends than ``config.json`` where it exists.

    Raises :class:`ModelError` for an id beyond the model's ``tokens``.
    """
    config = checkpoint.config
    generation = read_optional(checkpoint.folder / "generation_config.json")
    ids = SpecialIds(
        _first_id(config.get("bos_token_id")),
        _ids(generation.get("eos_token_id", config.get("eos_token_id"))),
        _first_id(config.get("pad_token_id")),
    )
    for token in (ids.bos, *ids.ends, ids.pad):
        if token is not None and not 0 <= token < tokens:
            raise ModelError(
                f"its configuration names the token {token}; it has {tokens:,}", where=str(checkpoint.folder)
            )
    return ids


def read_optional(file: Path) -> dict[str, Any]:
    """A JSON object; empty where the file does not exist. Raises ModelError for a damaged one."""
    return read_json(file) if file.exists() else {}


def frequency_factors(shape: LlamaShape) -> list[float] | None:
    """Divisors of the rotation frequencies for rope type ``llama3``, else ``None``.

    Llama 3.1's rule: long waves are divided by the factor, short ones kept, those between
    interpolated (transformers, modeling_rope_utils.py, ``_compute_llama3_parameters``).
    """
    if shape.rope.kind != "llama3":
        return None
    scaling = shape.rope.scaling
    factor, low, high = (scaling[key] for key in ("factor", "low_freq_factor", "high_freq_factor"))
    original = scaling["original_max_position_embeddings"]
    divisors: list[float] = []
    for pair in range(0, shape.head_dim, 2):
        wavelength = 2 * math.pi * shape.rope.theta ** (pair / shape.head_dim)
        if wavelength < original / high:
            divisors.append(1.0)
        elif wavelength > original / low:
            divisors.append(factor)
        else:
            smooth = (original / wavelength - low) / (high - low)
            divisors.append(1 / ((1 - smooth) / factor + smooth))
    return divisors


def _ids(value: object) -> tuple[int, ...]:
    listed = value if isinstance(value, list) else [value]
    return tuple(token for token in listed if type(token) is int)


def _first_id(value: object) -> int | None:
    return next(iter(_ids(value)), None)
