"""What a GGUF model says of itself, read from the headers of its files and checked against their sizes.

The gguf package would make Python objects of every token of the vocabulary, tens of MiB that
would be counted as the model's. Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO, Final, TypeAlias

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
#: How ``struct`` reads a metadata value, by its type's number; 8 is a string, 9 an array.
_SCALARS: Final = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_VERSIONS: Final = (2, 3)
_DEFAULT_ALIGNMENT: Final = 32
#: llama.h, enum llama_ftype: how a file of one type of numbers, or mostly of one, is called.
_FILE_TYPES: Final = {
    **dict(enumerate(("F32", "F16", "Q4_0", "Q4_1"))),
    **dict(enumerate(("Q8_0", "Q5_0", "Q5_1", "Q2_K", "Q3_K_S", "Q3_K_M", "Q3_K_L", "Q4_K_S", "Q4_K_M"), 7)),
    **dict(enumerate(("Q5_K_S", "Q5_K_M", "Q6_K", "IQ2_XXS", "IQ2_XS", "Q2_K_S", "IQ3_XS", "IQ3_XXS"), 16)),
    **dict(enumerate(("IQ1_S", "IQ4_NL", "IQ3_S", "IQ3_M", "IQ2_S", "IQ2_M", "IQ4_XS", "IQ1_M", "BF16"), 24)),
    **dict(enumerate(("TQ1_0", "TQ2_0", "MXFP4_MOE", "NVFP4", "Q1_0", "Q2_0"), 36)),
}
#: How llama.cpp names the files of a model that is split (llama.cpp, llama_split_path).
_PART: Final = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf")

#: The metadata key under which a file that joulebench made says why it has no vocabulary.
VOCABULARY_FAULT: Final = "joulebench.vocabulary_fault"

#: A metadata value; lists (the vocabulary) are passed over.
Value: TypeAlias = str | int | float | bool


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


@dataclass(frozen=True, slots=True)
class GgufModel:
    """The headers of a model's files, of which a split model has several.

    ``values`` are the metadata of the first file, but for lists.
    """

    files: tuple[Path, ...]
    values: Mapping[str, Value]
    tensors: tuple[GgufTensor, ...]

    @property
    def size_bytes(self) -> int:
        """Size of all files."""
        return sum(file.stat().st_size for file in self.files)

    @property
    def parameters(self) -> int:
        """How many numbers all tensors have."""
        return sum(tensor.count for tensor in self.tensors)

    @property
    def architecture(self) -> str | None:
        """``general.architecture``, such as ``llama``."""
        value = self.values.get("general.architecture")
        return value if isinstance(value, str) else None

    def size(self, key: str) -> int | None:
        """A count from 1 of the architecture's own, such as ``context_length``; ``None`` where it has none."""
        value = self.values.get(f"{self.architecture}.{key}")
        return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None

    @property
    def has_vocabulary(self) -> bool:
        """Whether it brings a tokenizer."""
        return self.values.get("tokenizer.ggml.model") not in (None, "none", "no_vocab")

    @property
    def vocabulary(self) -> str:
        """Which tokenizer it brings, such as ``gpt2``; or ``none``, with the reason where the file has one."""
        if self.has_vocabulary:
            return str(self.values["tokenizer.ggml.model"])
        fault = self.values.get(VOCABULARY_FAULT)
        return "none" if fault is None else f"none: {fault}"


def file_type_name(values: Mapping[str, Value]) -> str | None:
    """``general.file_type`` by its name, such as ``Q4_K_M``; ``None`` where the file has none that is known."""
    number = values.get("general.file_type")
    return _FILE_TYPES.get(number) if isinstance(number, int) else None


def gguf_in(path: Path) -> Path:
    """The file itself, or the only model of a folder: the first of its parts. Raises :class:`ModelError`."""
    if path.is_file():
        return path
    if not path.is_dir():
        raise ModelError("no such GGUF file", where=str(path))
    files = sorted(path.glob("*.gguf"))
    models = {match["stem"] + match["count"] if (match := _PART.fullmatch(file.name)) else file for file in files}
    if len(models) != 1:
        raise ModelError(
            f"is a folder with {len(files)} GGUF files and no checkpoint",
            where=str(path),
            hint=f"name the file: path:{files[0]}" if files else "give the path of a GGUF file",
        )
    return files[0]


def read_model(path: Path) -> GgufModel:
    """The headers of a file, and of the others that it is split into.

    Raises :class:`ModelError` where it is no whole model.
    """
    values, tensors = _read_file(path)
    count = values.get("split.count", 1)
    if not isinstance(count, int) or count <= 1:
        return GgufModel((path,), values, tensors)
    files = _parts(path, values, count)
    everything = [*tensors, *(tensor for file in files[1:] for tensor in _read_file(file)[1])]
    expected = values.get("split.tensors.count", len(everything))
    if len(everything) != expected:
        raise _damaged(path, f"its {count} parts hold {len(everything):,} tensors, not {expected:,}")
    return GgufModel(files, values, tuple(everything))


def _parts(path: Path, values: Mapping[str, Value], count: int) -> tuple[Path, ...]:
    match = _PART.fullmatch(path.name)
    if match is None or int(match["count"]) != count:
        raise ModelError(
            f"is one of {count} parts, but is not named so",
            where=str(path),
            hint=f"give the parts their names again: NAME-00001-of-{count:05d}.gguf",
        )
    files = tuple(path.with_name(f"{match['stem']}-{number:05d}-of-{count:05d}.gguf") for number in range(1, count + 1))
    if values.get("split.no") != 0 or path != files[0]:
        raise ModelError(
            f"is a later part of a model in {count} parts", where=str(path), hint=f"name the first: {files[0].name}"
        )
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise ModelError(
            f"is one of {count} parts, of which {', '.join(missing[:3])}{' …' if len(missing) > 3 else ''} "
            f"{'is' if len(missing) == 1 else 'are'} missing",
            where=str(path),
            hint="fetch the missing parts into the same folder",
        )
    return files


def _read_file(path: Path) -> tuple[dict[str, Value], tuple[GgufTensor, ...]]:
    if path.exists() and not path.is_file():
        raise ModelError("is not a regular file", where=str(path))
    try:
        with path.open("rb") as source:
            return _read(source, path)
    except OSError as error:
        raise ModelError(f"cannot be read: {error.strerror}", where=str(path)) from error
    except (struct.error, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise _damaged(path, "its header is cut off or damaged") from error


def _read(source: BinaryIO, path: Path) -> tuple[dict[str, Value], tuple[GgufTensor, ...]]:
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
    values: dict[str, Value] = {}
    for _ in range(key_count):
        key = _text(source, size)
        (kind,) = _numbers(source, "<I")
        if kind == _STRING:
            values[key] = _text(source, size)
        elif kind in _SCALARS:
            (values[key],) = struct.unpack(f"<{_SCALARS[kind]}", source.read(struct.calcsize(_SCALARS[kind])))
        else:
            _skip(source, kind, size)
    alignment = values.get("general.alignment", _DEFAULT_ALIGNMENT)
    if not isinstance(alignment, int) or alignment <= 0:
        raise ValueError("an alignment that is none")
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
    return values, tuple(tensors)


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
            source.seek(struct.calcsize(_SCALARS[inner]) * count, 1)
        else:
            for _ in range(count):
                _skip(source, inner, limit)
    elif kind in _SCALARS:
        source.seek(struct.calcsize(_SCALARS[kind]), 1)
    else:
        raise ValueError(f"unknown type of value {kind}")


def _damaged(path: Path, what: str) -> ModelError:
    return ModelError(f"not a complete GGUF file: {what}", where=str(path), hint="fetch or convert it again")
