"""Products with a quantized checkpoint's very own integers: onnxruntime's MatMulNBits.

The operator (onnxruntime, docs/ContribOperators.md) takes a matrix (outputs, inputs) as unsigned
integers of 4 or 8 bits in blocks of a row's neighbours, each with a scale. The zero point that it
has by default, 2^(bits - 1), makes symmetric integers of them. Scales are float32 here, which hold
the checkpoint's float16 exactly.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from joulebench_plugins.onnx.graphfile import CONTRIB, GraphFile
from joulebench_plugins.shared.tensors.arrays import Array
from joulebench_plugins.shared.tensors.integers import IntegerFile, Integers

#: Neighbours that share a scale; a checkpoint's larger groups repeat theirs.
BLOCK: Final = 32
#: What the operator may compute in, by its attribute ``accuracy_level``: as its input, or int8,
#: which rounds each token's activations in blocks as well.
ACTIVATIONS: Final[Mapping[str, int]] = {"float32": 0, "int8": 4}


@dataclass(frozen=True, slots=True)
class Packing:
    """The integers beside a checkpoint, and what their products are computed in."""

    integers: IntegerFile
    #: 4 or 8 bits, by the tensor's name.
    bits: Mapping[str, int]
    activations: str

    @classmethod
    def beside(cls, checkpoint: Path, activations: str) -> Self | None:
        """The packing of a checkpoint folder, ``None`` where it has no integers."""
        integers = IntegerFile.beside(checkpoint)
        return None if integers is None else cls(integers, integers.packable(BLOCK), activations)

    def product(self, graph: GraphFile, state: str, name: str, dense: Array, output: str) -> str:
        """``state`` times the transpose of the matrix ``name``, which is ``dense`` as float32."""
        matrix, bits = self.integers.matching(name, dense), self.bits[name]
        rows, columns = dense.shape
        stem = name.removesuffix(".weight")
        blocks = graph.weight(f"{stem}.integers", in_blocks(matrix, bits))
        scales = graph.weight(f"{stem}.scales", matrix.scales_of_blocks(BLOCK).astype("<f4").reshape(-1))
        return graph.node(
            "MatMulNBits",
            [state, blocks, scales],
            output,
            domain=CONTRIB,
            K=columns,
            N=rows,
            bits=bits,
            block_size=BLOCK,
            accuracy_level=ACTIVATIONS[self.activations],
        )


def in_blocks(matrix: Integers, bits: int) -> Array:
    """Unsigned integers, uint8, (rows, blocks, bytes of a block); the first of two lies low."""
    import numpy as np

    rows = len(matrix.integers)
    shifted = (matrix.integers.astype(np.int16) + 2 ** (bits - 1)).astype(np.uint8)
    blocks = shifted.reshape(rows, -1, BLOCK)
    if bits == 8:
        return blocks
    return blocks[..., 0::2] | (blocks[..., 1::2] << np.uint8(4))
