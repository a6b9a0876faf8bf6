"""Which llama-type models have a graph that ONNX Runtime runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from joulebench.checkpoint import architecture_of
from joulebench_plugins.shared.llama.configuration import UnfitModelError
from joulebench_plugins.shared.llama.shape import ARCHITECTURES, LlamaShape

_TYPE: Final = "llama"
#: onnxruntime's GroupQueryAttention rotates heads of such a multiple only: others fail at the first
#: token (onnxruntime/contrib_ops/cpu/bert/group_query_attention_helper.h).
HEAD_SIZE_MULTIPLE: Final = 16


#: Counts the changes of the written graph, for what the cache keeps: 2 has a free batch.
LLAMA_GRAPH: Final = "2"


def graph_shape(config: Mapping[str, object]) -> LlamaShape:
    """The sizes of the graph. Raises :class:`UnfitModelError` for what it cannot express.

    Other architectures have a llama's keys in ``config.json`` and other layers.
    """
    name, kind = architecture_of(config), config.get("model_type", _TYPE)
    if name not in (None, *ARCHITECTURES) or kind != _TYPE:
        raise UnfitModelError(f"its layers are those of '{name or kind}', none of a plain llama's")
    shape = LlamaShape.of(config)
    if shape.head_dim % HEAD_SIZE_MULTIPLE:
        raise UnfitModelError(
            f"head_dim {shape.head_dim} is no multiple of {HEAD_SIZE_MULTIPLE}, which "
            "onnxruntime's attention kernel asks for"
        )
    return shape


def unfit_reason(config: Mapping[str, object]) -> str | None:
    """Why a model of this ``config.json`` cannot be exported, or ``None``."""
    try:
        graph_shape(config)
    except UnfitModelError as error:
        return f"onnx-export: {error}"
    return None
