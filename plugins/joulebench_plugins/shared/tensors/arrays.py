"""The weights of a checkpoint as float32 numpy arrays, read without any model library."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Final, TypeAlias

from joulebench.checkpoint import TensorInfo, read_config, read_header, refuse_claims, weight_files
from joulebench.errors import ModelError

#: A numpy array (numpy is imported where it is used).
Array: TypeAlias = Any

#: Number types of safetensors that a float32 holds exactly, and numpy's name of their storage.
_STORED: Final = {"F32": "<f4", "F16": "<f2", "BF16": "<u2"}


class Checkpoint:
    """``config.json`` and the tensors of all safetensors files of a folder.

    Headers are read at once, numbers when asked for. Raises :class:`ModelError` for a folder that
    is no whole checkpoint.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = read_config(folder)
        self._places: dict[str, tuple[Path, TensorInfo]] = {}
        for file in weight_files(folder):
            self._places |= {name: (file, info) for name, info in read_header(file).items()}
        parameters = sum(math.prod(info.shape) for _, info in self._places.values())
        refuse_claims(self.config, len(self._places), parameters, folder)

    def names(self) -> frozenset[str]:
        """Names of all tensors, as transformers has them."""
        return frozenset(self._places)

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor, rows first."""
        return self._places[name][1].shape

    def tensor(self, name: str, shape: tuple[int, ...]) -> Array:
        """The tensor as float32; a missing one or one of another shape raises ModelError."""
        import numpy as np

        if name not in self._places:
            raise ModelError(f"lacks the tensor '{name}'", where=str(self.folder))
        file, info = self._places[name]
        if info.shape != shape:
            raise ModelError(f"tensor '{name}' is {info.shape}; config.json says {shape}", where=str(file))
        stored = _STORED.get(info.dtype)
        if stored is None:
            raise ModelError(
                f"tensor '{name}' is of type {info.dtype}, not one of {', '.join(_STORED)}", where=str(file)
            )
        if info.size_bytes != math.prod(shape) * np.dtype(stored).itemsize:
            raise ModelError(f"tensor '{name}' is not whole", where=str(file))
        values = np.memmap(file, stored, "r", info.offset_bytes, shape)
        return float32_of_bfloat16(values) if info.dtype == "BF16" else values.astype("<f4")


def float32_of_bfloat16(bits: Array) -> Array:
    """The float32 values of bfloat16 numbers given as uint16: their bits are its upper half."""
    import numpy as np

    return (bits.astype("<u4") << np.uint32(16)).view("<f4")
