"""A checkpoint's tensors: read one at a time, written with some of them changed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Mapping
from math import prod
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from joulebench.api import Scalar
from joulebench.checkpoint import INDEX_FILE, read_config, refuse_claims, weight_files
from joulebench.errors import ModelError
from joulebench.weightkit import patterns

#: What is taken along beside the weights: configuration, tokenizer, chat template.
_COPIED: Final = frozenset({".json", ".jinja", ".txt", ".model"})
_FLOATS: Final = (torch.float32, torch.bfloat16, torch.float16)


class Weights:
    """The safetensors files of a checkpoint folder. Raises :class:`ModelError`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config: Mapping[str, Any] = read_config(folder)
        #: The file of each tensor.
        self.files: dict[str, str] = {}
        self._open: dict[str, Any] = {}
        for file in weight_files(folder):
            try:
                # Mapped, not read: a tensor comes into memory when it is asked for.
                opened = safe_open(file, framework="pt")
            except (OSError, SafetensorError) as error:
                raise ModelError(f"is no whole safetensors file: {error}", where=str(file)) from None
            self._open[file.name] = opened
            self.files |= dict.fromkeys(opened.keys(), file.name)
        refuse_claims(self.config, len(self.files), sum(prod(self.shape(name)) for name in self.files), folder)

    def tensor(self, name: str) -> torch.Tensor:
        """A tensor as it is stored."""
        return self._holder(name).get_tensor(name)

    def matrix(self, name: str) -> torch.Tensor:
        """A matrix as it is stored, which must be of a floating-point type."""
        tensor = self.tensor(name)
        if tensor.dtype not in _FLOATS:
            raise ModelError(
                f"tensor '{name}' is of type {tensor.dtype}; only float32, bfloat16 and float16 can be rewritten",
                where=str(self.folder),
            )
        return tensor

    def shape(self, name: str) -> tuple[int, ...]:
        """A tensor's shape, without reading it."""
        return tuple(self._holder(name).get_slice(name).get_shape())

    def dtype(self, name: str) -> str:
        """The number type of a tensor in the file, as safetensors calls it: ``F32``, ``BF16``."""
        return str(self._holder(name).get_slice(name).get_dtype())

    def _holder(self, name: str) -> Any:
        file = self.files.get(name)
        if file is None:
            raise ModelError(f"lacks the tensor '{name}'", where=str(self.folder))
        return self._open[file]


def write_checkpoint(
    source: Weights, output: Path, changed: Mapping[str, torch.Tensor], names: Mapping[str, str] | None = None
) -> None:
    """Write ``source`` into ``output`` with ``changed`` tensors, file by file.

    ``names`` gives the source's name for each tensor that is written, by its new name; by default
    all are, under their own. Files that ``output`` has already stay as they are.
    """
    kept = names if names is not None else {name: name for name in source.files}
    by_file: dict[str, list[str]] = {}
    for name, old in kept.items():
        by_file.setdefault(source.files[old], []).append(name)
    total = 0
    for file, inside in by_file.items():
        tensors = {
            name: (changed[name] if name in changed else source.tensor(kept[name])).contiguous()
            for name in sorted(inside)
        }
        total += sum(tensor.nbytes for tensor in tensors.values())
        save_file(tensors, output / file, metadata={"format": "pt"})
    if (source.folder / INDEX_FILE).is_file():
        places = {name: source.files[old] for name, old in sorted(kept.items())}
        index = {"metadata": {"total_size": total}, "weight_map": places}
        (output / INDEX_FILE).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
    copy_side_files(source.folder, output)


def copy_side_files(source: Path, output: Path) -> None:
    """Copy what stands beside the weights; files that ``output`` has already stay as they are."""
    for path in sorted(source.iterdir()):
        copy = output / path.name
        if path.suffix in _COPIED and path.is_file() and not copy.exists():
            shutil.copyfile(path, copy)


def parameters(weights: Weights) -> int:
    """Numbers in all tensors."""
    return sum(prod(weights.shape(name)) for name in weights.files)


def left_alone(weights: Weights, reached: Collection[str]) -> str:
    """Names of matrices, and of tensors of more axes, that are not among ``reached``; numbers of layers as ``*``."""
    return patterns(name for name in weights.files if name not in reached and len(weights.shape(name)) > 1)


def sizes(before: Weights, after: Weights) -> dict[str, Scalar]:
    """Parameters, and bytes of the weight files."""
    counts: dict[str, Scalar] = {}
    for word, weights in (("before", before), ("after", after)):
        counts[f"parameters_{word}"] = parameters(weights)
        files = {weights.folder / file for file in weights.files.values()}
        counts[f"weights_bytes_{word}"] = sum(file.stat().st_size for file in files)
    return counts
