"""What a quantized ONNX model holds, and what its rounding cost, read from its files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np

from joulebench.api import Scalar
from joulebench.weightkit import counted, joined, relative_error, sampled, shares, source_evidence, tally
from joulebench_plugins.onnx.blockwise import PackedMatrix, unpack
from joulebench_plugins.onnx.inventory import INT8_PRODUCTS, N_BITS_LOOKUP, N_BITS_PRODUCT, Inventory
from joulebench_plugins.onnx.llamagraph import LOGIT_POSITIONS
from joulebench_plugins.onnx.numbertypes import model_bits, model_weights, product_type, type_facts
from joulebench_plugins.onnx.rewriting import SourceModel

#: Endings that onnxruntime's tool gives to names.
_HEAD_SUFFIX: Final = "_Transposed"
_INT8_SUFFIX: Final = "_quantized"


def type_evidence(before: Path, after: Path) -> dict[str, Scalar]:
    """Operators, types, bits and bytes; what became of embedding and head."""
    old, new = SourceModel(before), SourceModel(after)
    facts = type_facts(new.inventory, prepacking=True)
    weights = model_weights(old.inventory)
    return {
        "operators": tally(node.operator for node in new.inventory.nodes),
        "stored_types": shares(counted((tensor.dtype, tensor.size_bytes) for tensor in new.inventory.tensors.values())),
        "weight_types": facts["weight_types"],
        "compute": facts["compute"],
        "bits_per_weight": model_bits(new.inventory),
        "bits_per_weight_before": model_bits(old.inventory),
        "weights_bytes": new.inventory.weights_bytes,
        "weights_bytes_before": old.inventory.weights_bytes,
        "embedding_type": _embedding_type(new.inventory),
        "head_type": _head_type(new.inventory),
        "relative_error": relative_error(_rows_of_both(old, new)),
        **source_evidence(_matrices(old), weights),
    }


def _embedding_type(inventory: Inventory) -> str | None:
    for node in inventory.nodes:
        if node.operator == N_BITS_LOOKUP:
            return f"int{node.integers['bits']}"
        if node.operator == "Gather" and node.inputs[0] in inventory.tensors:
            return inventory.tensors[node.inputs[0]].dtype
    return None


def _head_type(inventory: Inventory) -> str | None:
    """Type of the matrices behind the choice of positions: the head's."""
    reached, kinds = {LOGIT_POSITIONS}, []
    for node in inventory.nodes:
        if reached.intersection(node.inputs):
            reached.update(node.outputs)
            kind = product_type(node, inventory)
            if kind is not None:
                kinds.append(kind)
    return joined(kinds) or None


def _matrices(model: SourceModel) -> Iterator[tuple[int, Any]]:
    """Weights and sampled rows, as (outputs, inputs), of each matrix that is multiplied with."""
    for node in model.graph.node:
        product = model.product(node)
        if product is not None:
            rows = _rows(model, product.weight, product.transposed)
            yield int(np.prod(model.inventory.tensors[product.weight].shape)), rows


def _rows(model: SourceModel, name: str, transposed: bool) -> Any:
    stored = model.array(name)
    return np.asarray(sampled(stored if transposed else stored.T), np.float32)


def _rows_of_both(old: SourceModel, new: SourceModel) -> Iterator[tuple[Any, Any]]:
    """The same outputs of each quantized matrix, before and as dequantized."""
    before = {}
    for node in old.graph.node:
        product = old.product(node)
        if product is not None:
            before[product.weight] = product
    for node in new.inventory.nodes:
        if node.operator == N_BITS_PRODUCT:
            bits = node.integers["bits"]
            names = node.inputs[1:]
            product = before[names[0].removesuffix(f"_Q{bits}")]
            parts = [sampled(new.array(name)) for name in names if name]
            packed = PackedMatrix(parts[0], parts[1], parts[2] if len(parts) > 2 else None)
            after = unpack(packed, bits, node.integers["K"])
        elif node.operator in INT8_PRODUCTS:
            stem = node.inputs[1].removesuffix(_INT8_SUFFIX)
            product = before[stem.removesuffix(_HEAD_SUFFIX)]
            after = _int8_rows(new, stem)
        else:
            continue
        yield _rows(old, product.weight, product.transposed), after


def _int8_rows(model: SourceModel, stem: str) -> Any:
    """(number − zero point) × scale of some outputs, by the names that the tool gives."""
    numbers = sampled(model.array(f"{stem}{_INT8_SUFFIX}").T).astype(np.float32)
    outputs = model.array(f"{stem}{_INT8_SUFFIX}").shape[1]
    scale, zero = (
        sampled(np.broadcast_to(model.array(f"{stem}_{word}").reshape(-1, 1), (outputs, 1)))
        for word in ("scale", "zero_point")
    )
    return (numbers - zero.astype(np.float32)) * scale
