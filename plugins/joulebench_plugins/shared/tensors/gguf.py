"""The tensors that a GGUF file holds, read from its header alone and checked against its size.

The gguf package would make Python objects of every token of the vocabulary, tens of MiB that
would be counted as the model's. Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO, Final

from joulebench.errors import ModelError

#: ggml.h, enum ggml_type, with ggml-common.h: name, numbers in a block, bytes of a block.
_TYPES: Final = {
    0: ("f32", 1, 4),
    1: ("f16", 1, 2),
    2: ("q4_0", 32, 18),
    3: ("q4_1", 32, 20),
    6: ("q5_0", 32, 22),
    7: ("q5_1", 32, 24),
    8: ("q8_0", 32, 34),
    9: ("q8_1", 32, 36),
    10: ("q2_k", 256, 84),
    11: ("q3_k", 256, 110),
    12: ("q4_k", 256, 144),
    13: ("q5_k", 256, 176),
    14: ("q6_k", 256, 210),
    15: ("q8_k", 256, 292),
    16: ("iq2_xxs", 256, 66),
    17: ("iq2_xs", 256, 74),
    18: ("iq3_xxs", 256, 98),
    19: ("iq1_s", 256, 50),
    20: ("iq4_nl", 32, 18),
    21: ("iq3_s", 256, 110),
    22: ("iq2_s", 256, 82),
    23: ("iq4_xs", 256, 136),
    29: ("iq1_m", 256, 56),
    30: ("bf16", 1, 2),
    34: ("tq1_0", 256, 54),
    35: ("tq2_0", 256, 66),
    39: ("mxfp4", 32, 17),
    40: ("nvfp4", 64, 36),
    41: ("q1_0", 128, 18),
    42: ("q2_0", 64, 18),
}
#: Numbers in a block and bytes of a block, by the type's name.
TYPES: Final = {name: (block, size) for name, block, size in _TYPES.values()}
TYPE_NUMBERS: Final = {name: number for number, (name, _, _) in _TYPES.items()}
#: Bytes of a metadata value by its type's number; 8 is a string, 9 an array.
_SCALARS: Final = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_STRING, _ARRAY = 8, 9
_VERSIONS: Final = (2, 3)
_DEFAULT_ALIGNMENT: Final = 32


@dataclass(frozen=True, slots=True)
class GgufTensor:
    """A tensor as the header describes it, columns first as GGUF has it."""

    name: str
    type: str
    sizes: tuple[int, ...]
    size_bytes: int

    @property
    def count(self) -> int:
        """How many numbers it has."""
        return math.prod(self.sizes)


def read_tensors(path: Path) -> list[GgufTensor]:
    """All tensors of a file; raises :class:`ModelError` where it is no whole GGUF file."""
    try:
        with path.open("rb") as source:
            return _read(source, path)
    except OSError as error:
        raise ModelError(f"cannot be read: {error.strerror}", where=str(path)) from error
    except (struct.error, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise _damaged(path, "its header is cut off or damaged") from error


def _read(source: BinaryIO, path: Path) -> list[GgufTensor]:
    size = path.stat().st_size
    if source.read(4) != b"GGUF":
        raise _damaged(path, "it does not begin with 'GGUF'")
    (version,) = _numbers(source, "<I")
    if version not in _VERSIONS:
        raise ModelError(
            f"GGUF version {version} cannot be read; versions 2 and 3 can",
            where=str(path),
            hint="convert the model again with a current tool",
        )
    tensor_count, key_count = _numbers(source, "<QQ")
    alignment = _DEFAULT_ALIGNMENT
    for _ in range(key_count):
        key = _text(source, size)
        (kind,) = _numbers(source, "<I")
        if key == "general.alignment" and kind == 4:
            (alignment,) = _numbers(source, "<I")
            if not alignment:
                raise ValueError("an alignment of 0")
            continue
        _skip(source, kind, size)
    tensors: list[GgufTensor] = []
    extents: list[tuple[int, int]] = []
    for _ in range(tensor_count):
        tensor, offset = _tensor(source, size, path)
        tensors.append(tensor)
        extents.append((offset, offset + tensor.size_bytes))
    begin = -(-source.tell() // alignment) * alignment
    end = max((end for _, end in extents), default=0)
    if begin + end > size:
        raise _damaged(path, f"{size:,} bytes where its header says {begin + end:,}")
    if any(after < before_end for (_, before_end), (after, _) in pairwise(sorted(extents))):
        raise _damaged(path, "two of its tensors share bytes")
    return tensors


def _tensor(source: BinaryIO, size: int, path: Path) -> tuple[GgufTensor, int]:
    name = _text(source, size)
    (dimensions,) = _numbers(source, "<I")
    if dimensions > 4:
        raise ValueError("more dimensions than ggml has")
    sizes = _numbers(source, f"<{dimensions}Q")
    kind, offset = _numbers(source, "<IQ")
    if kind not in _TYPES:
        raise ModelError(f"tensor '{name}' has the unknown type {kind}", where=str(path))
    type_name, block, block_bytes = _TYPES[kind]
    return GgufTensor(name, type_name, sizes, math.prod(sizes) // block * block_bytes), offset


def _numbers(source: BinaryIO, layout: str) -> tuple[int, ...]:
    return struct.unpack(layout, source.read(struct.calcsize(layout)))


def _text(source: BinaryIO, limit: int) -> str:
    (length,) = _numbers(source, "<Q")
    if length > limit:
        raise ValueError("a text longer than the file")
    return source.read(length).decode("utf-8")


def _skip(source: BinaryIO, kind: int, limit: int) -> None:
    if kind == _STRING:
        (length,) = _numbers(source, "<Q")
        if length > limit:
            raise ValueError("a text longer than the file")
        source.seek(length, 1)
    elif kind == _ARRAY:
        inner, count = _numbers(source, "<IQ")
        if count > limit:
            raise ValueError("a list longer than the file")
        if inner in _SCALARS:
            source.seek(_SCALARS[inner] * count, 1)
        else:
            for _ in range(count):
                _skip(source, inner, limit)
    elif kind in _SCALARS:
        source.seek(_SCALARS[kind], 1)
    else:
        raise ValueError(f"unknown type of value {kind}")


def _damaged(path: Path, what: str) -> ModelError:
    return ModelError(f"not a complete GGUF file: {what}", where=str(path), hint="fetch or convert it again")
