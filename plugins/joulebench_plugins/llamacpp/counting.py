"""What a token costs in bytes and operations, counted from a file's tensors and the KV types."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Final

from joulebench.api import Scalar, Traffic
from joulebench.weightkit import bits_per_weight, counted, shares
from joulebench_plugins.llamacpp.kernels import computed_in, input_types
from joulebench_plugins.llamacpp.log import PRINTED_BYTES, Allocations
from joulebench_plugins.shared.tensors.gguf import TYPES, GgufModel, GgufTensor

_EMBEDDING: Final = "token_embd.weight"
_HEAD: Final = "output.weight"
#: Tables of which a token reads a row (llama.cpp, src/llama-arch.cpp).
_LOOKED_UP: Final = frozenset({"position_embd.weight", "token_types.weight", "per_layer_token_embd.weight"})
#: In the name of the matrix that an attention ends with.
_OUTPUT: Final = "attn_output.weight"
#: In the names of the tensors that hold a layer's experts one behind the other.
_EXPERTS: Final = "_exps"
#: What the rest of joulebench calls the types that are no quantization.
_NAMES: Final = {"f32": "float32", "f16": "float16", "bf16": "bfloat16"}


def matrix_type(tensors: Sequence[GgufTensor]) -> str:
    """Types of the matrices, in alphabetical order: ``float32`` if all of them are."""
    kinds = {_NAMES.get(tensor.type, tensor.type) for tensor in tensors if is_matrix(tensor)}
    return ",".join(sorted(kinds))


def compute_facts(tensors: Sequence[GgufTensor], allocated: Allocations, device: str) -> dict[str, Scalar]:
    """What the weights are and in which numbers their products are computed on the CPU.

    ``products`` pairs each type of matrix with the type that its inputs are rounded to. Both are
    ``None`` on a GPU, whose kernels are its own, and where the library cannot be asked.
    """
    tied = all(tensor.name != _HEAD for tensor in tensors)
    kinds = sorted(
        {
            tensor.type
            for tensor in tensors
            if is_matrix(tensor) and tensor.name not in _LOOKED_UP and (tied or tensor.name != _EMBEDDING)
        }
    )
    inputs = input_types(kinds) if device == "cpu" else None
    return {
        "weight_types": shares(counted((tensor.type, tensor.count) for tensor in tensors)),
        "bits_per_weight": bits_per_weight(
            sum(tensor.size_bytes for tensor in tensors), sum(tensor.count for tensor in tensors)
        ),
        "compute": None if inputs is None else computed_in(inputs.values()),
        "products": None if inputs is None else ",".join(f"{kind}×{inputs[kind]}" for kind in kinds),
        "repacked_bytes": allocated.repacked_bytes,
    }


def traffic_of(model: GgufModel, allocated: Allocations) -> Traffic:
    """What one token moves and computes.

    Of a layer's experts it goes through as many as the file says; weights are ``None`` where it says
    none.
    """
    position = kv_position_bytes(model.tensors, allocated)
    share = _expert_share(model)
    if share is None:
        return Traffic(kv_position_bytes=position)
    tied = all(tensor.name != _HEAD for tensor in model.tensors)
    head = _EMBEDDING if tied else _HEAD
    size = operations = Fraction(0)
    head_operations = 0
    for tensor in model.tensors:
        if tensor.name in _LOOKED_UP or (tensor.name == _EMBEDDING and not tied):
            size += tensor.size_bytes // math.prod(tensor.sizes[1:])
            continue
        part = share if _EXPERTS in tensor.name else Fraction(1)
        size += part * tensor.size_bytes
        if is_matrix(tensor):
            operations += part * 2 * tensor.count
        if tensor.name == head:
            head_operations = 2 * tensor.count
    return Traffic(int(size), position, int(operations), head_operations)


def _expert_share(model: GgufModel) -> Fraction | None:
    """Which part of a layer's experts a token goes through; 1 for a model without experts."""
    if all(_EXPERTS not in tensor.name for tensor in model.tensors):
        return Fraction(1)
    used, count = model.size("expert_used_count"), model.size("expert_count")
    return Fraction(used, count) if used is not None and count is not None and used <= count else None


def kv_position_bytes(tensors: Sequence[GgufTensor], allocated: Allocations) -> int | None:
    """Bytes of keys and values of one position; ``None`` where the tensors do not tell.

    The width of a layer's keys is the number of rows of the matrix that makes them. There must be as
    many such layers as the library says that its cache has: of keys that are compressed (DeepSeek) or
    shared by layers (Gemma 3n) the rows tell nothing, and of layers that keep a window only a position
    has no one size. A model without attention has no keys and values.
    """
    if allocated.kv_layers == 0:
        return 0
    kinds = (allocated.kv_type_k, allocated.kv_type_v)
    if allocated.kv_cells is None or any(kind not in TYPES for kind in kinds):
        return None
    rows = {tensor.name: tensor.sizes[1] for tensor in tensors if tensor.name.endswith(".weight") and is_matrix(tensor)}
    widths = [_cached_widths(rows, tensor) for tensor in tensors if _OUTPUT in tensor.name]
    layers = [width for width in widths if width is not None]
    if len(layers) != allocated.kv_layers:
        return None
    total = 0
    for of_layer in layers:
        for width, kind in zip(of_layer, kinds, strict=True):
            block, block_bytes = TYPES[str(kind)]
            total += width // block * block_bytes
    return total


def _cached_widths(rows: Mapping[str, int], output: GgufTensor) -> tuple[int, int] | None:
    """Widths of the keys and values of the layer whose attention ends with the matrix ``output``.

    Where one matrix makes queries, keys and values, what is not queries is half keys and half values:
    there are as many queries as inputs of ``output``.
    """
    layer = output.name.partition(_OUTPUT)[0]
    fused, keys, values = (rows.get(f"{layer}{name}.weight") for name in ("attn_qkv", "attn_k", "attn_v"))
    if fused is not None:
        width = (fused - output.sizes[0]) // 2
        return (width, width) if width > 0 else None
    return None if keys is None or values is None else (keys, values)


def kv_allocated_bytes(position_bytes: int | None, allocated: Allocations) -> int | None:
    """Bytes of the KV cache: what its cells hold where that is what the library printed.

    The library prints hundredths of a MiB; where its figure rounds the counted one, the counted
    one is exact.
    """
    printed, cells = allocated.kv_bytes, allocated.kv_cells
    if printed is None or cells is None or position_bytes is None:
        return printed
    counted = cells * position_bytes
    return counted if abs(counted - printed) <= PRINTED_BYTES else printed


def is_matrix(tensor: GgufTensor) -> bool:
    """Whether it is a matrix, or a layer's experts: matrices one behind the other."""
    if _EXPERTS in tensor.name:
        return len(tensor.sizes) == 3
    return len(tensor.sizes) == 2
