"""Looks at a HF-format checkpoint without any model library: what it is, whether it is whole.

Only safetensors are accepted. Pickled weights (``.bin``, ``.pt``, …) can run code when they are
read and are refused, as is code that a checkpoint brings along (``auto_map``).
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from joulebench.errors import ModelError

#: Says which file each tensor of a checkpoint of several files is in.
INDEX_FILE: Final = "model.safetensors.index.json"
#: The weights of a checkpoint of one file.
WEIGHTS_FILE: Final = "model.safetensors"
#: Models in a folder that a message names.
_NAMED: Final = 5
PICKLE_SUFFIXES: Final = frozenset({".bin", ".pt", ".pth", ".pkl", ".ckpt", ".pickle"})
#: Characters of a wrong value that a message shows.
_SHOWN: Final = 60
#: Largest header that the safetensors format allows (its reference implementation).
_MAX_HEADER_BYTES: Final = 100_000_000
#: Bytes of a number, by safetensors' names of types (``safetensors/src/tensor.rs``, ``Dtype``).
_NUMBER_BYTES: Final = {
    **dict.fromkeys(("F64", "I64", "U64", "C64"), 8),
    **dict.fromkeys(("F32", "I32", "U32"), 4),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 2),
    **dict.fromkeys(("F8_E4M3", "F8_E5M2", "I8", "U8", "BOOL"), 1),
}


@dataclass(frozen=True, slots=True)
class CheckpointFacts:
    """What a checkpoint's files say: its config, tensors and bytes."""

    #: ``config.json``.
    config: Mapping[str, Any]
    #: Numbers in all tensors.
    parameters: int
    #: Bytes of all tensors.
    weights_bytes: int
    #: Parameters by number type.
    dtypes: Mapping[str, int]


def architecture_of(config: Mapping[str, Any]) -> str | None:
    """The first name under ``architectures`` in config.json."""
    names = config.get("architectures")
    first = names[0] if isinstance(names, list) and names else None
    return first if isinstance(first, str) else None


def read_json(file: Path) -> dict[str, Any]:
    """A JSON object from one of a checkpoint's files. Raises :class:`ModelError`."""
    _require_regular(file)
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ModelError(f"is not valid JSON: {error}", where=str(file)) from None
    except OSError as error:
        raise ModelError(f"cannot be read: {error.strerror}", where=str(file)) from None
    if not isinstance(content, dict):
        raise ModelError("is not a JSON object", where=str(file))
    return content


def _require_regular(file: Path) -> None:
    """A pipe would hang its reader, a device never end."""
    if file.exists() and not (file.is_file() or file.is_dir()):
        raise ModelError("is a pipe or a device, no file", where=str(file))


def read_config(folder: Path) -> dict[str, Any]:
    """``config.json`` of a checkpoint; refuses checkpoints that bring code."""
    file = folder / "config.json"
    if not file.exists():
        raise ModelError(
            "has no config.json, so it is not an HF-format checkpoint",
            where=str(folder),
            hint=_models_below(folder) or "give the folder that holds config.json and the .safetensors files",
        )
    config = read_json(file)
    if "auto_map" in config:
        raise ModelError(
            "asks to run code of its own (auto_map); remote code is never run",
            where=str(file),
            hint="use a checkpoint of an architecture that the runtime knows by itself; where it does know the "
            "model_type, a copy of the folder without auto_map in its config.json is one",
        )
    return config


def _models_below(folder: Path) -> str | None:
    """What to name instead, of a folder that holds models and is none."""
    try:
        names = sorted(file.parent.name for file in folder.glob("*/config.json"))
    except OSError:
        return None
    return f"name one of the models in it: {', '.join(names[:_NAMED])}" if names else None


def is_checkpoint(folder: Path) -> bool:
    """Whether a folder has a configuration and weights that are read; whole or not.

    One that may not be read is taken for one: whoever opens it says why it cannot.
    """
    try:
        has_weights = (folder / INDEX_FILE).exists() or any(folder.glob("*.safetensors"))
        return has_weights and (folder / "config.json").exists()
    except OSError:
        return True


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a checkpoint, by its index where there is one.

    None of them leads out of the folder. Raises :class:`ModelError`.
    """
    index = folder / INDEX_FILE
    if index.is_file():
        try:
            names = sorted(set(read_json(index)["weight_map"].values()))
        except (KeyError, TypeError, AttributeError) as error:
            raise ModelError(f"is damaged: {error!r}", where=str(index)) from None
        if not names:
            raise ModelError("names no file of weights", where=str(index))
        for name in names:
            if not isinstance(name, str) or Path(name).name != name or name in ("", ".."):
                raise ModelError(f"names a file outside the folder: {name!r}", where=str(index))
            if not (folder / name).is_file():
                raise ModelError(f"lacks {name}, which its index names", where=str(folder))
        return [folder / name for name in names]
    files = sorted(folder.glob("*.safetensors"))
    if folder / WEIGHTS_FILE in files:
        return [folder / WEIGHTS_FILE]  # what lies beside it is another model, or a copy in another layout
    if len(files) > 1:
        raise ModelError(
            f"holds {len(files)} .safetensors files ({files[0].name}, {files[1].name}, …) and neither "
            f"{WEIGHTS_FILE} nor {INDEX_FILE} to say which of them are the model",
            where=str(folder),
            hint=f"copy {INDEX_FILE} beside the parts of one model; give each of several models a folder",
        )
    if files:
        return files
    pickles = sorted(file.name for file in folder.iterdir() if file.suffix in PICKLE_SUFFIXES)
    if pickles:
        raise ModelError(
            f"has only pickled weights ({pickles[0]}), which can run code when read: refused",
            where=str(folder),
            hint="convert them to .safetensors where they come from (save_pretrained does)",
        )
    raise ModelError(
        "has no weights (no .safetensors file)",
        where=str(folder),
        hint="copy the model's .safetensors files beside its config.json",
    )


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """A tensor as the header of its file describes it."""

    #: Number type, as the header names it.
    dtype: str
    #: Its dimensions.
    shape: tuple[int, ...]
    #: Bytes of its numbers.
    size_bytes: int
    #: Where its numbers begin in the file.
    offset_bytes: int


def read_header(file: Path) -> dict[str, TensorInfo]:
    """The header of a safetensors file, after checking that the file is whole.

    Format: 8 bytes little-endian header length, JSON header, tensor data
    (https://github.com/huggingface/safetensors, "Format"). Raises :class:`ModelError`.
    """
    _require_regular(file)
    try:
        return _read_header(file)
    except OSError as error:
        raise ModelError(f"cannot be read: {error.strerror}", where=str(file)) from None


def _read_header(file: Path) -> dict[str, TensorInfo]:
    size = file.stat().st_size
    with file.open("rb") as source:
        prefix = source.read(8)
        length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else _MAX_HEADER_BYTES + 1
        if length > _MAX_HEADER_BYTES or 8 + length > size:
            raise ModelError("is not a safetensors file, or its start is damaged", where=str(file))
        try:
            header = json.loads(source.read(length))
            header.pop("__metadata__", None)
            tensors = {name: _tensor_info(info, 8 + length) for name, info in header.items()}
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise ModelError("has a damaged header", where=str(file)) from None
    expected = 8 + length + _numbers_end(tensors, file, 8 + length)
    if size != expected:
        state = "truncated" if size < expected else "longer than its header says"
        raise ModelError(
            f"is {state}: {size:,} bytes where its header says {expected:,}",
            where=str(file),
            hint="fetch or copy the file again",
        )
    return tensors


def _numbers_end(tensors: Mapping[str, TensorInfo], file: Path, numbers_at: int) -> int:
    """Where the last tensor ends, counted from the first; refuses tensors that share bytes.

    The format allows neither that nor gaps, and each type and shape has its own size.
    """
    end = 0
    for name, info in sorted(tensors.items(), key=lambda item: (item[1].offset_bytes, item[1].size_bytes)):
        if info.offset_bytes != numbers_at + end:
            state = "shares bytes with another" if info.offset_bytes < numbers_at + end else "lies behind a gap"
            raise ModelError(f"has a damaged header: tensor '{name}' {state}", where=str(file))
        size = math.prod(info.shape) * _NUMBER_BYTES.get(info.dtype, 0)
        if size != info.size_bytes and info.dtype in _NUMBER_BYTES:
            raise ModelError(
                f"has a damaged header: {info.dtype} of shape {info.shape} in {info.size_bytes:,} bytes ('{name}')",
                where=str(file),
            )
        end += info.size_bytes
    return end


def _tensor_info(info: Any, numbers_at: int) -> TensorInfo:
    begin, end = info["data_offsets"]
    shape = tuple(info["shape"])
    if not all(isinstance(number, int) and number >= 0 for number in (begin, end - begin, *shape)):
        raise ValueError("an extent or offset is not a count")
    return TensorInfo(str(info["dtype"]), shape, end - begin, numbers_at + begin)


def inspect_checkpoint(folder: Path) -> CheckpointFacts:
    """Check a checkpoint folder and describe its contents."""
    try:
        return _inspect(folder)
    except OSError as error:
        raise ModelError(f"cannot be read: {error.strerror}", where=error.filename or str(folder)) from None


#: How families of models name the number of layers, the width of the hidden state and that of the MLPs.
LAYERS: Final = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
HIDDEN: Final = ("hidden_size", "n_embd", "d_model")
_MLP: Final = ("intermediate_size", "n_inner", "ffn_dim", "ffn_hidden_size")
#: Sizes in a ``config.json``. A model of several parts may have one for each layer, or ``null``.
_SIZES: Final = (
    *(*LAYERS, *HIDDEN, *_MLP, "num_attention_heads", "num_key_value_heads"),
    *("head_dim", "vocab_size", "max_position_embeddings"),
)
#: Formats and runtimes hold sizes and token ids in an int32.
_MAX_SIZE: Final = 2**31 - 1
#: Weights of one bit and a half, packed into numbers of 32 bits: the most weights that a number stands for.
_MOST_PACKED: Final = 32


def size_of(config: Mapping[str, Any], names: Sequence[str]) -> int | None:
    """The first size that ``config.json`` has under one of these names, as one whole number."""
    sizes = (config.get(name) for name in names)
    return next((size for size in sizes if type(size) is int), None)


def refuse_claims(config: Mapping[str, Any], tensors: int, parameters: int, folder: Path) -> None:
    """Raise :class:`ModelError` where ``config.json`` claims what its weights cannot be.

    Libraries believe it: they make all layers before they look for weights, and 10⁹ of them fill any
    memory.
    """
    hint = "take the config.json that belongs to these weights"
    where = str(folder / "config.json")
    for name in _SIZES:
        value = config.get(name)
        sizes = value if isinstance(value, list) and value else [value]
        if value is not None and not all(type(size) is int and 1 <= size <= _MAX_SIZE for size in sizes):
            raise ModelError(
                f"'{name}' must be a whole number from 1 to 2³¹ - 1, not {_short(value)}", where=where, hint=hint
            )
    layers, hidden = size_of(config, LAYERS), size_of(config, HIDDEN)
    if layers is not None and layers > tensors:
        raise ModelError(f"says {layers:,} layers; the weights are {tensors:,} tensors", where=where, hint=hint)
    for name in ("vocab_size", *_MLP):
        size = config.get(name)
        if hidden is not None and isinstance(size, int) and hidden * size > _MOST_PACKED * parameters:
            raise ModelError(
                f"says a hidden size of {hidden:,} and {name} {size:,}; the weights are {parameters:,} numbers",
                where=where,
                hint=hint,
            )


def _short(value: object) -> str:
    """A value of a file for a message: as it stands, cut off where it is long."""
    try:
        text = repr(value)
    except ValueError:  # Python prints no integer of more than 4300 digits
        text = "a number of thousands of digits"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _inspect(folder: Path) -> CheckpointFacts:
    if not folder.is_dir():
        raise ModelError("no such folder", where=str(folder))
    config = read_config(folder)
    parameters = total = tensors = 0
    dtypes: dict[str, int] = {}
    for file in weight_files(folder):
        for info in read_header(file).values():
            tensors += 1
            count = math.prod(info.shape)
            parameters += count
            total += info.size_bytes
            dtypes[info.dtype] = dtypes.get(info.dtype, 0) + count
    refuse_claims(config, tensors, parameters, folder)
    return CheckpointFacts(config, parameters, total, dtypes)
