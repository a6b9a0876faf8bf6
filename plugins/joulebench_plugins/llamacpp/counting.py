"""What a token costs in bytes and operations, counted from a file's tensors and the KV types."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from joulebench.api import Scalar, Traffic
from joulebench.weightkit import bits_per_weight, counted, shares
from joulebench_plugins.llamacpp.kernels import computed_in, input_types
from joulebench_plugins.llamacpp.log import PRINTED_BYTES, Allocations
from joulebench_plugins.shared.tensors.gguf import TYPES, GgufTensor

_EMBEDDING: Final = "token_embd.weight"
_HEAD: Final = "output.weight"
#: What the rest of joulebench calls the types that are no quantization.
_NAMES: Final = {"f32": "float32", "f16": "float16", "bf16": "bfloat16"}


def matrix_type(tensors: Sequence[GgufTensor]) -> str:
    """Types of the matrices, in alphabetical order: ``float32`` if all of them are."""
    kinds = {_NAMES.get(tensor.type, tensor.type) for tensor in tensors if _is_matrix(tensor)}
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
            if _is_matrix(tensor) and (tied or tensor.name != _EMBEDDING)  # else only looked up
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


def traffic_of(tensors: Sequence[GgufTensor], allocated: Allocations) -> Traffic:
    """What one token moves and computes; ``None`` for weights of which it uses a part only."""
    position = kv_position_bytes(tensors, allocated)
    if any("_exps" in tensor.name for tensor in tensors):  # experts: a token goes through some
        return Traffic(kv_position_bytes=position)
    tied = all(tensor.name != _HEAD for tensor in tensors)
    head = _EMBEDDING if tied else _HEAD
    size = operations = head_operations = 0
    for tensor in tensors:
        if tensor.name == _EMBEDDING and not tied:
            size += tensor.size_bytes // tensor.sizes[1]
            continue
        size += tensor.size_bytes
        if _is_matrix(tensor):
            operations += 2 * tensor.count
        if tensor.name == head:
            head_operations = 2 * tensor.count
    return Traffic(size, position, operations, head_operations)


def kv_position_bytes(tensors: Sequence[GgufTensor], allocated: Allocations) -> int | None:
    """Bytes of keys and values of one position; ``None`` where the tensors do not tell.

    The width of a layer's keys is the number of rows of the matrix that makes them. Of several
    caches (layers that see a window only have one of their own) a position has no one size.
    """
    if allocated.kv_cells is None:
        return None
    total = 0
    for suffix, kind in (("attn_k", allocated.kv_type_k), ("attn_v", allocated.kv_type_v)):
        rows = [
            tensor.sizes[1] for tensor in tensors if tensor.name.endswith(f".{suffix}.weight") and _is_matrix(tensor)
        ]
        if not rows or kind is None or kind not in TYPES:
            return None
        block, block_bytes = TYPES[kind]
        total += sum(width // block * block_bytes for width in rows)
    return total


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


def _is_matrix(tensor: GgufTensor) -> bool:
    return len(tensor.sizes) == 2
