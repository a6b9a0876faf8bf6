"""Integers of a quantized checkpoint as GGUF's blocks, the very same integers and scales.

Both types have a float16 scale d for each 32 neighbours of a row (ggml, src/ggml-common.h and
src/ggml-quants.c): Q4_0 keeps q + 8 of two integers in a byte, the first half of the block in the
low bits, and stands for d · q, q from -8 to 7; Q8_0 keeps int8.
"""

from __future__ import annotations

from typing import Final

from joulebench_plugins.gguf.numbertypes import Array
from joulebench_plugins.shared.tensors.integers import Integers

BLOCK: Final = 32
#: The type for integers of so many bits.
TYPES: Final = {4: "Q4_0", 8: "Q8_0"}
#: Bytes of a block.
BYTES: Final = {"Q4_0": 2 + BLOCK // 2, "Q8_0": 2 + BLOCK}


def in_blocks(matrix: Integers, kind: str) -> Array:
    """The matrix as bytes, uint8, (rows, bytes of a row); its groups are multiples of 32."""
    import numpy as np

    rows = len(matrix.integers)
    blocks = np.ascontiguousarray(matrix.integers).reshape(rows, -1, BLOCK)
    scales = matrix.scales_of_blocks(BLOCK).astype("<f2")[..., None].view(np.uint8)
    if kind == "Q4_0":
        half = BLOCK // 2
        nibbles = (blocks + np.int8(8)).astype(np.uint8)
        numbers = nibbles[..., :half] | (nibbles[..., half:] << np.uint8(4))
    else:
        numbers = blocks.view(np.uint8)
    return np.concatenate([scales, numbers], axis=2).reshape(rows, -1)
