"""Number types of a model's weights, and those that its products are computed in."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

from joulebench.api import Scalar
from joulebench.weightkit import bits_per_weight, counted, joined, shares
from joulebench_plugins.onnx.inventory import (
    INT8_PRODUCTS,
    N_BITS_LOOKUP,
    N_BITS_PRODUCT,
    PRODUCTS,
    Inventory,
    Node,
    StoredTensor,
)

#: MatMulNBits' attribute accuracy_level: inputs are rounded to int8 (docs/ContribOperators.md).
_INT8_INPUTS: Final = 4
_DEFAULT_BITS: Final = 4
_EMBEDDING: Final = "model.embed_tokens.weight"
#: Tables of the rotation, which belong to the shape and are no weights.
_TABLES: Final = ("cos_cache", "sin_cache")
#: What quantized matrices have beside them.
_OF_MATRICES: Final = ("_scale", "_scales", "_zero_point", "_zero_points")


def type_facts(inventory: Inventory, *, prepacking: bool) -> dict[str, Scalar]:
    """Types of the matrices that are multiplied with, of all weights, and of the arithmetic."""
    return {
        "dtype": joined(kind for kind, _ in _products(inventory)),
        "compute": joined(_computed_in(inventory, prepacking)),
        "weight_types": shares(weights_by_type(inventory)),
        "bits_per_weight": model_bits(inventory),
    }


def weights_by_type(inventory: Inventory) -> dict[str, int]:
    """How many weights there are of each type; a matrix of two uses counts once for each type."""
    sizes: dict[tuple[str, str], int] = {}
    for node in inventory.nodes:
        for name, kind, count in _weights_of(node, inventory):
            sizes[name, kind] = count
    return counted((kind, count) for (_, kind), count in sizes.items())


def model_bits(inventory: Inventory) -> float | None:
    """Bits of storage for each of the model's weights, scales among them."""
    stored = sum(tensor.size_bytes for name, tensor in inventory.tensors.items() if name not in _TABLES)
    return bits_per_weight(stored, model_weights(inventory))


def model_weights(inventory: Inventory) -> int:
    """The model's own number of weights: a head apart from a tied embedding adds none."""
    total = sum(weights_by_type(inventory).values())
    looked_up = {node.inputs[0] for node in inventory.nodes if node.operator.startswith("Gather")}
    for node in inventory.nodes:
        if product_type(node, inventory) is None or node.inputs[1] in looked_up:
            continue
        if node.inputs[1].startswith(_EMBEDDING):  # named after the table that it was taken from
            total -= sum(count for _, _, count in _weights_of(node, inventory))
    return total


def product_type(node: Node, inventory: Inventory) -> str | None:
    """Type of the stored matrix that a node multiplies with, ``None`` for other nodes."""
    if node.operator == N_BITS_PRODUCT:
        return f"int{node.integers.get('bits', _DEFAULT_BITS)}"
    if node.operator in PRODUCTS and len(node.inputs) > 1:
        tensor = inventory.tensors.get(node.inputs[1])
        return None if tensor is None else tensor.dtype
    return None


def _products(inventory: Inventory) -> Iterator[tuple[str, Node]]:
    for node in inventory.nodes:
        kind = product_type(node, inventory)
        if kind is not None:
            yield kind, node


def _computed_in(inventory: Inventory, prepacking: bool) -> Iterator[str]:
    """Types of the numbers that are multiplied.

    Without packed copies MatMulNBits dequantizes its matrix at each run and multiplies in float32
    (contrib_ops/cpu/quantization/matmul_nbits.cc).
    """
    for kind, node in _products(inventory):
        if node.operator in INT8_PRODUCTS:
            yield "int8"
        elif node.operator == N_BITS_PRODUCT:
            level = node.integers.get("accuracy_level", 0)
            yield "int8" if level == _INT8_INPUTS and prepacking else "float32"
        else:
            yield kind


def _weights_of(node: Node, inventory: Inventory) -> Iterator[tuple[str, str, int]]:
    """(name of the tensor, type, number of weights) of what a node holds of the model."""
    tensors = inventory.tensors
    if node.operator == N_BITS_PRODUCT:
        kind = product_type(node, inventory) or ""
        yield node.inputs[1], kind, node.integers["K"] * node.integers["N"]
        return
    if node.operator == N_BITS_LOOKUP:
        bits = node.integers.get("bits", _DEFAULT_BITS)
        table = tensors[node.inputs[0]]
        per_byte = 8 // bits if table.dtype == "uint8" else 1
        yield node.inputs[0], f"int{bits}", math.prod(table.shape) * per_byte
        return
    if node.operator in INT8_PRODUCTS:
        name = node.inputs[1]
        if name in tensors:
            yield name, tensors[name].dtype, math.prod(tensors[name].shape)
        return
    for name in node.inputs:
        tensor = tensors.get(name)
        if tensor is not None and tensor.shape and _is_weight(name, tensor):
            yield name, tensor.dtype, math.prod(tensor.shape)


def _is_weight(name: str, tensor: StoredTensor) -> bool:
    """Whether it is of the model: neither a table, nor a scale, nor an index."""
    return tensor.dtype.startswith(("float", "bfloat")) and name not in _TABLES and not name.endswith(_OF_MATRICES)


def quantized_type(inventory: Inventory) -> str | None:
    """The integer type of most weights; ``None`` where most are floating-point numbers."""
    counts = weights_by_type(inventory)
    most = max(counts, key=counts.__getitem__, default="")
    return most if most.startswith(("int", "uint")) else None
