"""A Hugging Face checkpoint opened for reading: JSON files, and tensors one at a time."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from joulebench.errors import ArtifactError, ModelError
from joulebench_gguf.numbertypes import Array, float32_of_bfloat16

#: numpy's types for the names that safetensors uses.
_NUMPY_TYPES: Final = {"F32": "<f4", "F16": "<f2", "BF16": "<u2"}


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a tensor's numbers lie."""

    file: Path
    dtype: str
    shape: tuple[int, ...]
    offset: int
    size_bytes: int


class Checkpoint:
    """The files of a checkpoint folder. Headers are read at once, numbers when asked for.

    Raises :class:`ModelError` for what is missing or damaged.
    Format: https://github.com/huggingface/safetensors#format.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = read_json(folder / "config.json")
        if not self.config:
            raise ModelError("has no config.json that can be read", where=str(folder))
        self._places: dict[str, _Place] = {}
        for file in _weight_files(folder):
            self._places.update(_read_header(file))

    @property
    def tensor_names(self) -> list[str]:
        """Names of all tensors, as transformers has them."""
        return list(self._places)

    def tensor_shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor, rows first."""
        return self._places[name].shape

    def tensor(self, name: str) -> Array:
        """The tensor's values as a float32 numpy array."""
        import numpy as np

        place = self._places[name]
        if place.dtype not in _NUMPY_TYPES:
            raise ArtifactError(
                f"tensor '{name}' is {place.dtype}; float32, bfloat16 and float16 are exported",
                where=str(place.file),
            )
        kind = np.dtype(_NUMPY_TYPES[place.dtype])
        count = place.size_bytes // kind.itemsize
        values = np.fromfile(place.file, kind, count, offset=place.offset)
        if values.size != count or count != int(np.prod(place.shape)):
            raise ModelError(f"tensor '{name}' is not whole", where=str(place.file))
        if place.dtype == "BF16":
            values = float32_of_bfloat16(values)
        return values.astype("<f4", copy=False).reshape(place.shape)


def read_json(file: Path) -> Mapping[str, Any]:
    """A JSON object; empty where the file does not exist."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"cannot be read: {error}", where=str(file)) from error
    if not isinstance(content, dict):
        raise ModelError("is no JSON object", where=str(file))
    return content


def _weight_files(folder: Path) -> list[Path]:
    """The safetensors files, by the index where there is one: others may lie beside them."""
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        found = sorted(folder.glob("*.safetensors"))
        if not found:
            raise ModelError("has no .safetensors file", where=str(folder))
        return found
    weight_map = read_json(index).get("weight_map")
    names = sorted(set(weight_map.values())) if isinstance(weight_map, dict) else []
    for name in names:
        if not isinstance(name, str) or Path(name).name != name:
            raise ModelError(f"names a file outside the folder: {name!r}", where=str(index))
    if not names:
        raise ModelError("names no file of weights", where=str(index))
    return [folder / name for name in names]


def _read_header(file: Path) -> dict[str, _Place]:
    try:
        with file.open("rb") as source:
            length = int.from_bytes(source.read(8), "little")
            if length > file.stat().st_size:
                raise ValueError("its header is longer than the file")
            header = json.loads(source.read(length))
        header.pop("__metadata__", None)
        return {name: _place(file, entry, 8 + length) for name, entry in header.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"is no whole safetensors file ({error})", where=str(file)) from error


def _place(file: Path, entry: Mapping[str, Any], numbers_at: int) -> _Place:
    begin, end = map(int, entry["data_offsets"])
    if not 0 <= begin <= end:
        raise ValueError("an offset is negative")
    shape = tuple(map(int, entry["shape"]))
    return _Place(file, str(entry["dtype"]), shape, numbers_at + begin, end - begin)
