"""The weights of a checkpoint as float32 numpy arrays, read without any model library."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

from joulebench.errors import ModelError

#: A numpy array (numpy is imported where it is used).
Array: TypeAlias = Any

#: Number types of safetensors that a float32 holds exactly, and numpy's name of their storage.
_STORED: Final = {"F32": "<f4", "F16": "<f2", "BF16": "<u2"}


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a tensor lies."""

    file: Path
    dtype: str
    shape: tuple[int, ...]
    offset: int


class Checkpoint:
    """``config.json`` and the tensors of all safetensors files of a folder.

    Raises :class:`ModelError` for a folder that is no whole checkpoint.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = _read_config(folder / "config.json")
        files = sorted(folder.glob("*.safetensors"))
        if not files:
            raise ModelError("has no weights (no .safetensors file)", where=str(folder))
        self._places: dict[str, _Place] = {}
        for file in files:
            self._places |= _read_places(file)

    def names(self) -> frozenset[str]:
        """Names of all tensors."""
        return frozenset(self._places)

    def tensor(self, name: str, shape: tuple[int, ...]) -> Array:
        """The tensor as float32; a missing one or one of another shape raises ModelError."""
        import numpy as np

        place = self._places.get(name)
        if place is None:
            raise ModelError(f"lacks the tensor '{name}'", where=str(self.folder))
        if place.shape != shape:
            raise ModelError(
                f"tensor '{name}' is {place.shape}; config.json says {shape}",
                where=str(place.file),
            )
        stored = _STORED.get(place.dtype)
        if stored is None:
            raise ModelError(
                f"tensor '{name}' is of type {place.dtype}, not one of {', '.join(_STORED)}",
                where=str(place.file),
            )
        values = np.memmap(place.file, stored, "r", place.offset, place.shape)
        if place.dtype == "BF16":  # the upper half of a float32
            return (values.astype("<u4") << np.uint32(16)).view("<f4")
        return values.astype("<f4")


def _read_config(file: Path) -> dict[str, Any]:
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"cannot be read: {error}", where=str(file)) from None
    if not isinstance(config, dict):
        raise ModelError("is not a JSON object", where=str(file))
    return config


def _read_places(file: Path) -> dict[str, _Place]:
    """The header: 8 bytes of its length (little-endian), JSON, then the numbers.

    Format: https://github.com/huggingface/safetensors#format
    """
    size = file.stat().st_size
    places: dict[str, _Place] = {}
    try:
        with file.open("rb") as source:
            (length,) = struct.unpack("<Q", source.read(8))
            if 8 + length > size:
                raise ValueError("its header does not end")
            header = json.loads(source.read(length))
        for name, info in header.items():
            if name != "__metadata__":
                start, end = (8 + length + int(each) for each in info["data_offsets"])
                if not start <= end <= size:
                    raise ValueError(f"'{name}' does not end in the file")
                shape = tuple(int(each) for each in info["shape"])
                places[name] = _Place(file, str(info["dtype"]), shape, start)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, struct.error) as error:
        raise ModelError(
            f"is no whole safetensors file: {error}",
            where=str(file),
            hint="fetch or copy the file again",
        ) from None
    return places
