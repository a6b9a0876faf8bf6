"""Dequantized weights, written to a safetensors file one tensor at a time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from joulebench.errors import ArtifactError, ModelError
from joulebench_plugins.gguf.numbertypes import Array, encoder
from joulebench_plugins.gguf.reading import GgufFile
from joulebench_plugins.gguf.tensors import listed, rotated_heads, tensor_names, tensor_sizes
from joulebench_plugins.shared.llama.shape import LlamaShape

#: safetensors' name and the bytes per number of each option.
_DTYPES: Final = {"bfloat16": ("BF16", 2), "float32": ("F32", 4), "float16": ("F16", 2)}


def write_weights(file: GgufFile, shape: LlamaShape, path: Path, dtype: str) -> None:
    """Write all tensors under transformers' names; memory holds one tensor at a time.

    Format: an 8-byte little-endian header length, a JSON header, the numbers
    (https://github.com/huggingface/safetensors#format).
    """
    names = _target_names(file, shape)
    _check_sizes(file, shape)
    code, width = _DTYPES[dtype]
    encode = encoder(dtype)
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
                    f"{target}: {error}", where=str(file.path), hint="set dtype to bfloat16 or float32"
                ) from error


def _target_names(file: GgufFile, shape: LlamaShape) -> dict[str, str]:
    """Transformers' name of each tensor; refuses what is missing or not known."""
    expected = tensor_names(shape)
    present = set(file.tensor_names)
    missing = [name for name in expected if name not in present]
    if missing:
        raise ModelError(listed("lacks tensors", missing), where=str(file.path))
    unknown = [name for name in file.tensor_names if name not in expected]
    if unknown:
        raise ArtifactError(
            listed("has tensors that a llama model has not", unknown),
            where=str(file.path),
            hint="use the model's original safetensors instead",
        )
    return expected


def _check_sizes(file: GgufFile, shape: LlamaShape) -> None:
    """Refuse tensors whose sizes contradict the metadata, before anything is written."""
    for name, expected in tensor_sizes(shape).items():
        if file.tensor_shape(name) != expected:
            raise ModelError(
                f"tensor '{name}' is {file.tensor_shape(name)}; the metadata says {expected}", where=str(file.path)
            )


def _restored(file: GgufFile, shape: LlamaShape, name: str) -> Array:
    """The tensor with the rows of a head in transformers' order.

    GGUF interleaves the two halves that a rotation pairs (row 2i with 2i + 1), transformers
    keeps the halves apart (row i with i + head_dim / 2).
    """
    values = file.tensor(name)
    heads = rotated_heads(shape, name)
    if heads is None:
        return values
    paired = values.reshape(heads, shape.head_dim // 2, 2, *values.shape[1:])
    return paired.swapaxes(1, 2).reshape(values.shape)
