"""Which llama-type models the engine's functional model computes."""

from __future__ import annotations

from collections.abc import Mapping

from joulebench_plugins.shared.llama.configuration import UnfitModelError
from joulebench_plugins.shared.llama.shape import ARCHITECTURES, LlamaShape, foreign_architecture


def engine_shape(config: Mapping[str, object]) -> LlamaShape:
    """The model's sizes. Raises :class:`UnfitModelError` for a layer that is not modelled."""
    if (name := foreign_architecture(config)) is not None:
        raise UnfitModelError(f"its layers are those of {name}; only {', '.join(ARCHITECTURES)} is modelled")
    for key in ("attention_bias", "mlp_bias"):
        if config.get(key, False):
            raise UnfitModelError(f"its layers have biases ({key}), which the engine does not add")
    return LlamaShape.of(config)


def longest_row(shape: LlamaShape) -> int:
    """Most columns of a matrix of weights."""
    return max(shape.hidden_size, shape.intermediate_size, shape.query_width)
