"""The tensors of a llama-type model: GGUF's and transformers' names, sizes, rotated rows."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from joulebench_plugins.shared.llama.shape import LlamaShape

#: GGUF's names of what stands outside and inside a layer, and transformers'.
_OUTER: Final = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
_INNER: Final = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_ATTENTION: Final = ("attn_q", "attn_k", "attn_v", "attn_output")
_MLP: Final = ("ffn_gate", "ffn_up", "ffn_down")
_LAYER_TENSOR: Final = re.compile(r"blk\.(\d+)\.(\w+)\.(weight|bias)")


def tensor_names(shape: LlamaShape) -> dict[str, str]:
    """Transformers' name of each tensor that a model of this shape has, by GGUF's name."""
    names = dict(_OUTER)
    if shape.tie_word_embeddings:
        del names["output.weight"]
    biased = (_ATTENTION if shape.attention_bias else ()) + (_MLP if shape.mlp_bias else ())
    for layer in range(shape.num_hidden_layers):
        for short, long in _INNER.items():
            kinds = ("weight", "bias") if short in biased else ("weight",)
            for kind in kinds:
                names[f"blk.{layer}.{short}.{kind}"] = f"model.layers.{layer}.{long}.{kind}"
    return names


def tensor_sizes(shape: LlamaShape) -> dict[str, tuple[int, ...]]:
    """Rows and columns of each of these tensors, by GGUF's name."""
    hidden, wide = shape.hidden_size, shape.intermediate_size
    queries, keys = shape.query_width, shape.kv_width
    inner: dict[str, tuple[int, ...]] = {
        "attn_norm": (hidden,),
        "attn_q": (queries, hidden),
        "attn_k": (keys, hidden),
        "attn_v": (keys, hidden),
        "attn_output": (hidden, queries),
        "ffn_norm": (hidden,),
        "ffn_gate": (wide, hidden),
        "ffn_up": (wide, hidden),
        "ffn_down": (hidden, wide),
    }
    outer: dict[str, tuple[int, ...]] = {
        "token_embd.weight": (shape.vocab_size, hidden),
        "output_norm.weight": (hidden,),
        "output.weight": (shape.vocab_size, hidden),
    }
    sizes: dict[str, tuple[int, ...]] = {}
    for name in tensor_names(shape):
        match = _LAYER_TENSOR.fullmatch(name)
        size = outer[name] if match is None else inner[match[2]]
        sizes[name] = size[:1] if match is not None and match[3] == "bias" else size
    return sizes


def rotated_heads(shape: LlamaShape, name: str) -> int | None:
    """Heads in a tensor whose rows a position rotates, by GGUF's name; ``None`` for others."""
    match = _LAYER_TENSOR.fullmatch(name)
    if match is None or match[2] not in ("attn_q", "attn_k"):
        return None
    return shape.num_attention_heads if match[2] == "attn_q" else shape.num_key_value_heads


def listed(what: str, names: Sequence[str]) -> str:
    """``what`` with the first of ``names`` and the number of the others."""
    shown = ", ".join(names[:3])
    return f"{what}: {shown}" + (f" and {len(names) - 3} more" if len(names) > 3 else "")
