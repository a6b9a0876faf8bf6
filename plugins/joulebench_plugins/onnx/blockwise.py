"""Matrices in 4 or 8 bits by blocks: the operators MatMulNBits and GatherBlockQuantized.

Layout (onnxruntime, docs/ContribOperators.md): for each output a row of blocks along the inputs,
each block packed with the first weight in the low bits; a float32 scale for each block, and a zero
point, 2^(bits - 1) where none is stored. The rounding is onnxruntime's own (``quantize_matmul_…``
of its library, which its tool calls as well).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from joulebench.errors import UnavailableError
from joulebench_plugins.onnx.graphfile import CONTRIB
from joulebench_plugins.onnx.inventory import N_BITS_LOOKUP, N_BITS_PRODUCT
from joulebench_plugins.onnx.rewriting import Copy, MatrixProduct, rewrite

#: As many bits as float32 has: left as it is.
FULL_BITS: Final = 32


@dataclass(frozen=True, slots=True)
class Blockwise:
    """How matrices are packed; 32 bits leave them as they are."""

    bits: int
    block: int
    symmetric: bool
    accuracy_level: int
    head_bits: int
    embedding_bits: int


@dataclass(frozen=True, slots=True)
class PackedMatrix:
    """A matrix of N outputs and K inputs: (N, blocks, bytes), (N, blocks), (N, …) or ``None``."""

    data: Any
    scales: Any
    zero_points: Any | None


def quantize_in_blocks(source: Path, output: Path, scheme: Blockwise) -> None:
    """Write the model in ``source`` with packed matrices into ``output``."""

    def change(copy: Copy, node: Any) -> bool:
        product = copy.source.product(node)
        if product is not None:
            done = _product(copy, node, product, scheme)
        else:
            done = node.op_type == "Gather" and _lookup(copy, node, scheme)
        if not done:
            copy.keep(node)
        return done

    rewrite(source, output, change)


def pack(matrix: Any, bits: int, block: int, *, symmetric: bool) -> PackedMatrix:
    """Pack a float32 matrix (inputs, outputs) in one piece of memory."""
    inputs, outputs = matrix.shape
    blocks = -(-inputs // block)
    per_byte = 8 // bits
    if inputs % block:  # the last block is filled up
        matrix = np.pad(matrix, ((0, blocks * block - inputs), (0, 0)))
    data = np.zeros((outputs, blocks, block // per_byte), np.uint8)
    scales = np.zeros((outputs, blocks), np.float32)
    zero_points = np.zeros((outputs, -(-blocks // per_byte)), np.uint8)
    _kernel(bits)(data, matrix, scales, zero_points, block, outputs, inputs, symmetric)
    return PackedMatrix(data, scales, None if symmetric else zero_points)


def unpack(packed: PackedMatrix, bits: int, inputs: int) -> Any:
    """The float32 matrix that is meant, as (outputs, inputs)."""
    outputs, blocks, _ = packed.data.shape
    numbers = _numbers(packed.data, bits)  # (outputs, blocks, block)
    if packed.zero_points is None:
        zeros: Any = np.float32(2 ** (bits - 1))
    else:
        zeros = _numbers(packed.zero_points, bits)[:, :blocks, None]
    scaled = (numbers - zeros) * packed.scales.reshape(outputs, blocks, 1)
    return scaled.reshape(outputs, -1)[:, :inputs]


def _numbers(data: Any, bits: int) -> Any:
    if bits == 8:
        return data.astype(np.float32)
    halves = np.stack([data & 15, data >> 4], axis=-1)
    return halves.reshape(*data.shape[:-1], -1).astype(np.float32)


def _product(copy: Copy, node: Any, product: MatrixProduct, scheme: Blockwise) -> bool:
    bits = scheme.head_bits if product.is_head else scheme.bits
    if bits == FULL_BITS:
        return False
    matrix = copy.source.matrix(product)
    inputs, outputs = matrix.shape
    packed = pack(matrix, bits, scheme.block, symmetric=scheme.symmetric)
    # The attribute is left out where it says nothing.
    level = {"accuracy_level": scheme.accuracy_level} if scheme.accuracy_level else {}
    copy.graph.node(
        N_BITS_PRODUCT,
        [node.input[0], *_store(copy, product.weight, packed, bits)],
        node.output[0],
        domain=CONTRIB,
        K=inputs,
        N=outputs,
        bits=bits,
        block_size=scheme.block,
        **level,
    )
    return True


def _lookup(copy: Copy, node: Any, scheme: Blockwise) -> bool:
    """The embedding: rows of a table that is stored (tokens, hidden)."""
    bits, name = scheme.embedding_bits, node.input[0]
    if bits == FULL_BITS or name not in copy.source.inventory.tensors:
        return False
    table = np.ascontiguousarray(copy.source.array(name).T)
    packed = pack(table, bits, scheme.block, symmetric=scheme.symmetric)
    flat = PackedMatrix(packed.data.reshape(len(packed.data), -1), packed.scales, packed.zero_points)
    data, *rest = _store(copy, f"{name}.rows", flat, bits)
    copy.graph.node(
        N_BITS_LOOKUP,
        [data, node.input[1], *rest],
        node.output[0],
        domain=CONTRIB,
        gather_axis=0,
        quantize_axis=1,
        block_size=scheme.block,
        bits=bits,
    )
    return True


def _store(copy: Copy, name: str, packed: PackedMatrix, bits: int) -> list[str]:
    stored = [copy.graph.weight(f"{name}_Q{bits}", packed.data), copy.graph.weight(f"{name}_scales", packed.scales)]
    if packed.zero_points is not None:
        stored.append(copy.graph.weight(f"{name}_zero_points", packed.zero_points))
    return stored


def _kernel(bits: int) -> Callable[..., None]:
    from onnxruntime.capi import _pybind_state as library

    kernel: Callable[..., None] | None = getattr(library, f"quantize_matmul_{bits}bits", None)
    if kernel is None:
        raise UnavailableError(
            f"the installed onnxruntime cannot pack matrices in {bits} bits",
            hint="install a newer onnxruntime, or set other bits",
        )
    return kernel
