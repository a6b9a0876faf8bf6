"""Dequantized weights, written to a safetensors file one tensor at a time."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeAlias

from joulebench.errors import ArtifactError, ModelError
from joulebench_gguf.metadata import LlamaShape
from joulebench_gguf.reading import GgufFile

#: A numpy array (numpy is imported where it is used).
Array: TypeAlias = Any

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
_BIASED: Final = ("attn_q", "attn_k", "attn_v", "attn_output")
_LAYER_TENSOR: Final = re.compile(r"blk\.(\d+)\.(\w+)\.(weight|bias)")

#: safetensors' name and the bytes per number of each option.
_DTYPES: Final = {"bfloat16": ("BF16", 2), "float32": ("F32", 4), "float16": ("F16", 2)}


def write_weights(file: GgufFile, shape: LlamaShape, path: Path, dtype: str) -> None:
    """Write all tensors under transformers' names; memory holds one tensor at a time.

    Format: an 8-byte little-endian header length, a JSON header, the numbers
    (https://github.com/huggingface/safetensors#format).
    """
    names = _target_names(file, shape)
    _check_sizes(file, shape, names)
    code, width = _DTYPES[dtype]
    encode = _encoder(dtype)
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for source, target in names.items():
        size = width
        for length in file.tensor_shape(source):
            size *= length
        header[target] = {
            "dtype": code,
            "shape": list(file.tensor_shape(source)),
            "data_offsets": [offset, offset + size],
        }
        offset += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # numbers start on a multiple of 8
    with path.open("wb") as out:
        out.write(len(text).to_bytes(8, "little"))
        out.write(text)
        for source, target in names.items():
            try:
                out.write(encode(_restored(file, shape, source)).tobytes())
            except OverflowError as error:
                raise ArtifactError(
                    f"{target}: {error}",
                    where=str(file.path),
                    hint="set dtype to bfloat16 or float32",
                ) from error


def _target_names(file: GgufFile, shape: LlamaShape) -> dict[str, str]:
    """Transformers' name of each tensor; refuses what is missing or not known."""
    expected = dict(_OUTER)
    if shape.tie_word_embeddings:
        del expected["output.weight"]
    for layer in range(shape.num_hidden_layers):
        for short, long in _INNER.items():
            kinds = ("weight", "bias") if shape.attention_bias and short in _BIASED else ("weight",)
            for kind in kinds:
                expected[f"blk.{layer}.{short}.{kind}"] = f"model.layers.{layer}.{long}.{kind}"
    present = set(file.tensor_names)
    missing = [name for name in expected if name not in present]
    if missing:
        raise ModelError(_listed("lacks tensors", missing), where=str(file.path))
    unknown = [name for name in file.tensor_names if name not in expected]
    if unknown:
        raise ArtifactError(
            _listed("has tensors that a llama model has not", unknown),
            where=str(file.path),
            hint="use the model's original safetensors instead",
        )
    return expected


def _check_sizes(file: GgufFile, shape: LlamaShape, names: dict[str, str]) -> None:
    """Refuse tensors whose sizes contradict the metadata, before anything is written."""
    hidden, wide = shape.hidden_size, shape.intermediate_size
    queries = shape.num_attention_heads * shape.head_dim
    keys = shape.num_key_value_heads * shape.head_dim
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
    for name in names:
        match = _LAYER_TENSOR.fullmatch(name)
        expected = outer[name] if match is None else inner[match[2]]
        if match is not None and match[3] == "bias":
            expected = expected[:1]
        if file.tensor_shape(name) != expected:
            raise ModelError(
                f"tensor '{name}' is {file.tensor_shape(name)}; the metadata says {expected}",
                where=str(file.path),
            )


def _listed(what: str, names: list[str]) -> str:
    shown = ", ".join(names[:3])
    return f"{what}: {shown}" + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _restored(file: GgufFile, shape: LlamaShape, name: str) -> Array:
    """The tensor with the rows of a head in transformers' order.

    GGUF interleaves the two halves that a rotation pairs (row 2i with 2i + 1), transformers
    keeps the halves apart (row i with i + head_dim / 2).
    """
    values = file.tensor(name)
    match = _LAYER_TENSOR.fullmatch(name)
    if match is None or match[2] not in ("attn_q", "attn_k"):
        return values
    heads = shape.num_attention_heads if match[2] == "attn_q" else shape.num_key_value_heads
    paired = values.reshape(heads, shape.head_dim // 2, 2, *values.shape[1:])
    return paired.swapaxes(1, 2).reshape(values.shape)


def _encoder(dtype: str) -> Callable[[Array], Array]:
    return {"bfloat16": _as_bfloat16, "float32": _as_float32, "float16": _as_float16}[dtype]


def _as_float32(values: Array) -> Array:
    return values.astype("<f4", copy=False)


def _as_float16(values: Array) -> Array:
    import numpy as np

    with np.errstate(over="ignore"):
        narrow = values.astype("<f2")
    if np.isinf(narrow).any() and not np.isinf(values).any():
        raise OverflowError("a value is beyond float16's range")
    return narrow


def _as_bfloat16(values: Array) -> Array:
    """The upper halves of the float32, rounded to nearest, ties to even."""
    import numpy as np

    bits = np.ascontiguousarray(values, dtype="<f4").view("<u4")
    rounded = bits + (np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1)))
    # A NaN with low payload bits would round to an infinity: keep it a quiet NaN.
    rounded = np.where(np.isnan(values), bits | np.uint32(0x00400000), rounded)
    return (rounded >> np.uint32(16)).astype("<u2")
