"""Integers of a quantized checkpoint of any architecture in place of the numbers that they stand for.

Converters rename, join, part and reorder matrices as an architecture needs it, but they leave the order of a
row's numbers as it is. So a matrix is packed where each of its rows is, bit for bit, a row that integers stand for.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from joulebench_plugins.gguf.blocks import BLOCK, TYPES, in_blocks
from joulebench_plugins.gguf.numbertypes import Array
from joulebench_plugins.shared.tensors.arrays import Checkpoint
from joulebench_plugins.shared.tensors.integers import IntegerFile, Integers

_KEY_BYTES: Final = 16


class Packing:
    """The rows of the integers beside a checkpoint. Raises ModelError where its weights are others."""

    def __init__(self, source: Path, integers: IntegerFile) -> None:
        checkpoint = Checkpoint(source)
        self._integers = integers
        #: The place of each row, by the bits of its blocks and a hash of its numbers.
        self._places: dict[tuple[int, bytes], tuple[str, int]] = {}
        #: Matrices that were packed, by the type of their blocks.
        self.packed: Counter[str] = Counter()
        for name, bits in integers.packable(BLOCK).items():
            values = checkpoint.tensor(name, checkpoint.shape(name))
            if integers.matrices[name].get("transposed"):
                values = values.swapaxes(-1, -2)
            matrix = integers.matching(name, values.reshape(-1, values.shape[-1]))
            for row, key in enumerate(_keys(matrix.dense())):
                self._places.setdefault((bits, key), (name, row))

    def blocks(self, values: Array) -> tuple[Array, str] | None:
        """The float32 tensor as bytes of blocks and their type; ``None`` where it is not of integers."""
        if values.ndim not in (2, 3) or values.shape[-1] % BLOCK:
            return None
        keys = list(_keys(values.reshape(-1, values.shape[-1])))
        for bits, kind in TYPES.items():
            if all((bits, key) in self._places for key in keys):
                self.packed[kind] += 1
                rows = self._rows([self._places[bits, key] for key in keys], bits)
                packed = in_blocks(rows, kind)
                return packed.reshape(*values.shape[:-1], packed.shape[-1]), kind
        return None

    def _rows(self, places: list[tuple[str, int]], bits: int) -> Integers:
        """These rows, of one matrix or of several, with a scale for each block."""
        import numpy as np

        matrices = {name: self._integers.matrix(name) for name in dict.fromkeys(name for name, _ in places)}
        scales = {name: matrix.scales_of_blocks(BLOCK) for name, matrix in matrices.items()}
        return Integers(
            bits,
            np.stack([matrices[name].integers[row] for name, row in places]),
            np.stack([scales[name][row] for name, row in places]),
        )


def pack_while_writing(model: Any, packing: Packing, gguf: Any) -> None:
    """Let upstream's ``model`` write blocks where its tensors are rows of integers."""
    writer, add, describe = model.gguf_writer, model.gguf_writer.add_tensor, model.prepare_metadata

    def add_tensor(name: str, tensor: Any, raw_shape: Any = None, raw_dtype: Any = None, **named: Any) -> None:
        made = None
        if raw_dtype == gguf.GGMLQuantizationType.F32 and raw_shape is None:
            made = packing.blocks(gguf.LazyNumpyTensor.to_eager(tensor))
        if made is None:
            add(name, tensor, raw_shape, raw_dtype, **named)
        else:
            add(name, made[0], None, gguf.GGMLQuantizationType[made[1]], **named)

    def prepare_metadata(*arguments: Any, **named: Any) -> Any:
        if packing.packed:  # what the file is called by: the type of most of its matrices
            model.ftype = gguf.LlamaFileType[f"MOSTLY_{packing.packed.most_common(1)[0][0]}"]
        return describe(*arguments, **named)

    writer.add_tensor, model.prepare_metadata = add_tensor, prepare_metadata


def _keys(matrix: Array) -> Iterator[bytes]:
    """A hash of each row's bytes."""
    import numpy as np

    for row in np.ascontiguousarray(matrix, dtype="<f4"):
        yield hashlib.blake2b(row.tobytes(), digest_size=_KEY_BYTES).digest()
