"""The integers and scales of a quantized checkpoint, kept beside its dense weights.

A quantized checkpoint is an ordinary one: its matrices hold integer × scale as float32, and any
runtime runs it. The folder ``quantization`` beside them keeps the integers and scales themselves,
so that a converter can pack exactly these into a format's own blocks:

``scheme.json``
    ``{"version": 1, "technique": …, "matrices": {name: {"bits": b, …}}}``
``integers.safetensors``
    ``NAME.integers``, int8, (rows, columns), each within ``bits`` bits; and ``NAME.scales``,
    float16, (rows, groups): neighbours in a row share one, and zero is zero.

Whoever writes a checkpoint anew with other weights leaves the folder out. numpy only: converters
need no torch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

from joulebench.errors import ModelError

#: A numpy array (numpy is imported where it is used).
Array: TypeAlias = Any

FOLDER: Final = "quantization"
SCHEME_FILE: Final = "scheme.json"
INTEGERS_FILE: Final = "integers.safetensors"
VERSION: Final = 1
#: What a profile's option ``pack`` may say: blocks of integers where there are some, or floats.
PACK_CHOICES: Final = ("auto", "dense")


@dataclass(frozen=True, slots=True)
class Integers:
    """One matrix: ``integers`` int8 (rows, columns), ``scales`` float16 (rows, groups)."""

    bits: int
    integers: Array
    scales: Array

    @property
    def group(self) -> int:
        """Neighbours in a row that share a scale."""
        return int(self.integers.shape[1] // self.scales.shape[1])

    def dense(self) -> Array:
        """Integer × scale as float32, which holds the product of 8 and 11 bits exactly."""
        return self.integers.astype("<f4") * self.scales_of_blocks(1).astype("<f4")

    def scales_of_blocks(self, block: int) -> Array:
        """The scale of each ``block`` columns, which must divide the group: (rows, blocks)."""
        return self.scales.repeat(self.group // block, axis=1)


class IntegerFile:
    """The integers beside a checkpoint's weights. Raises :class:`ModelError` for damaged ones."""

    def __init__(self, checkpoint: Path) -> None:
        from safetensors import SafetensorError, safe_open

        self._folder = checkpoint / FOLDER
        self.scheme = _read_scheme(self._folder / SCHEME_FILE)
        try:
            self._file: Any = safe_open(self._folder / INTEGERS_FILE, framework="numpy")
        except (OSError, SafetensorError) as error:
            raise ModelError(
                f"is no whole safetensors file: {error}", where=str(self._folder / INTEGERS_FILE)
            ) from None

    @classmethod
    def beside(cls, checkpoint: Path) -> IntegerFile | None:
        """The integers of a checkpoint folder, ``None`` where it has none."""
        return cls(checkpoint) if (checkpoint / FOLDER / SCHEME_FILE).is_file() else None

    @property
    def matrices(self) -> Mapping[str, Mapping[str, Any]]:
        """What is noted of each matrix, by its tensor's name."""
        matrices: Mapping[str, Mapping[str, Any]] = self.scheme["matrices"]
        return matrices

    @property
    def size_bytes(self) -> int:
        """Size of the folder's files."""
        return sum(file.stat().st_size for file in self._folder.iterdir())

    def matrix(self, name: str) -> Integers:
        """The integers and scales of one matrix."""
        where = str(self._folder / INTEGERS_FILE)
        try:
            matrix = Integers(
                int(self.matrices[name]["bits"]),
                self._file.get_tensor(f"{name}.integers"),
                self._file.get_tensor(f"{name}.scales"),
            )
        except Exception as error:  # the library's and a table's
            raise ModelError(f"lacks what {SCHEME_FILE} names: {error}", where=where) from None
        if not _is_whole(matrix):
            raise ModelError(f"'{name}' is not {matrix.bits}-bit integers in groups", where=where)
        return matrix

    def packable(self, block: int) -> dict[str, int]:
        """Bits (4 or 8) of the blocks that hold each matrix whose groups are of whole blocks."""
        bits: dict[str, int] = {}
        for name, notes in self.matrices.items():
            try:
                _, columns = self._file.get_slice(f"{name}.integers").get_shape()
                _, groups = self._file.get_slice(f"{name}.scales").get_shape()
                whole = columns % (groups * block) == 0
            except Exception as error:  # the library's and arithmetic's
                raise ModelError(
                    f"lacks what {SCHEME_FILE} names: {error}", where=str(self._folder / INTEGERS_FILE)
                ) from None
            if whole:
                bits[name] = 4 if int(notes["bits"]) <= 4 else 8
        return bits

    def matching(self, name: str, dense: Array) -> Integers:
        """The integers of a matrix, if they give ``dense`` (float32) exactly, number for number.

        Raises :class:`ModelError` where the weights are others.
        """
        import numpy as np

        matrix = self.matrix(name)
        if not np.array_equal(matrix.dense(), dense):
            raise ModelError(
                f"the integers of '{name}' do not give its weights, which were changed afterwards",
                where=str(self._folder),
                hint=f"remove the folder '{FOLDER}', or quantize the checkpoint again",
            )
        return matrix


def write_integers(
    checkpoint: Path, technique: str, matrices: Mapping[str, Integers], notes: Mapping[str, Mapping[str, float]]
) -> None:
    """Write the folder beside the weights in ``checkpoint``; ``notes`` go beside each's bits."""
    from safetensors.numpy import save_file

    folder = checkpoint / FOLDER
    folder.mkdir()
    tensors: dict[str, Array] = {}
    for name, matrix in sorted(matrices.items()):
        tensors[f"{name}.integers"] = matrix.integers
        tensors[f"{name}.scales"] = matrix.scales
    save_file(tensors, folder / INTEGERS_FILE)
    scheme = {
        "version": VERSION,
        "technique": technique,
        "matrices": {name: {"bits": matrix.bits, **notes.get(name, {})} for name, matrix in sorted(matrices.items())},
    }
    (folder / SCHEME_FILE).write_text(json.dumps(scheme, indent=1) + "\n", encoding="utf-8")


def _read_scheme(file: Path) -> dict[str, Any]:
    try:
        scheme = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"cannot be read: {error}", where=str(file)) from None
    matrices = scheme.get("matrices") if isinstance(scheme, dict) else None
    if not isinstance(matrices, dict) or not all(
        isinstance(matrix, dict) and isinstance(matrix.get("bits"), int) for matrix in matrices.values()
    ):
        raise ModelError("does not say which matrices are integers", where=str(file))
    if scheme.get("version") != VERSION:
        raise ModelError(f"is of version {scheme.get('version')!r}; this joulebench reads {VERSION}", where=str(file))
    return {**scheme, "matrices": matrices}


def _is_whole(matrix: Integers) -> bool:
    """Whether types, shapes and the integers' range are what they must be."""
    integers, scales, bits = matrix.integers, matrix.scales, matrix.bits
    if (integers.dtype, scales.dtype) != ("int8", "float16") or not 2 <= bits <= 8:
        return False
    if integers.ndim != 2 or scales.ndim != 2 or not integers.size or not scales.size:
        return False
    if len(integers) != len(scales) or integers.shape[1] % scales.shape[1]:
        return False
    return bool(integers.min() >= -(2 ** (bits - 1)) and integers.max() < 2 ** (bits - 1))
