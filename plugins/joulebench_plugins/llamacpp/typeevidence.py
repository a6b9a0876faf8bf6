"""What a quantized GGUF file holds, and what its rounding cost, read from the file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from joulebench.api import Scalar
from joulebench.weightkit import bits_per_weight, counted, relative_error, sampled, shares, source_evidence
from joulebench_plugins.llamacpp.binding import IMPORTANCE_MATRICES, IMPORTANCE_SEQUENCES
from joulebench_plugins.llamacpp.filetypes import FileType
from joulebench_plugins.shared.tensors.gguf import GgufTensor, gguf_in, read_model

_EMBEDDING: Final = "token_embd.weight"
_HEAD: Final = "output.weight"


def type_evidence(before: Path, after: Path, asked: FileType) -> dict[str, Scalar]:
    """Types, bits and bytes of all tensors; how many weights could not have the type asked for."""
    old_file, new_file = gguf_in(before), gguf_in(after)
    old, new = read_model(old_file).tensors, read_model(new_file).tensors
    weights = sum(tensor.count for tensor in new)
    by_name = {tensor.name: tensor for tensor in new}
    embedding, head = by_name.get(_EMBEDDING), by_name.get(_HEAD)
    values = _Values(old_file), _Values(new_file)
    return {
        "weight_types": shares(counted((tensor.type, tensor.count) for tensor in new)),
        "bits_per_weight": bits_per_weight(_size(new), weights),
        "bits_per_weight_before": bits_per_weight(_size(old), weights),
        "weights_bytes": _size(new),
        "weights_bytes_before": _size(old),
        "embedding_type": None if embedding is None else embedding.type,
        "head_type": "the embedding's" if head is None else head.type,
        "fallback_share": round(_misfits(new, asked.block) / weights, 4) if weights else None,
        "imatrix_matrices": values[1].number(IMPORTANCE_MATRICES),
        "imatrix_sequences": values[1].number(IMPORTANCE_SEQUENCES),
        "relative_error": relative_error(_rows_of_both(*values)),
        **source_evidence(values[0].matrices(), weights),
    }


def _size(tensors: Sequence[GgufTensor]) -> int:
    return sum(tensor.size_bytes for tensor in tensors)


def _misfits(tensors: Sequence[GgufTensor], block: int) -> int:
    """Weights in matrices with rows that the type's blocks do not divide: stored otherwise."""
    return sum(tensor.count for tensor in tensors if len(tensor.sizes) > 1 and tensor.sizes[0] % block)


class _Values:
    """A file's matrices as float32, some rows of each, and its metadata, by the gguf package."""

    def __init__(self, file: Path) -> None:
        from gguf import GGUFReader

        self._reader: Any = GGUFReader(file)
        self._tensors = {str(tensor.name): tensor for tensor in self._reader.tensors if len(tensor.shape) == 2}

    def number(self, key: str) -> int:
        """A number in the metadata; 0 where it is not there."""
        field = self._reader.get_field(key)
        return 0 if field is None else int(field.contents())

    def names(self) -> list[str]:
        """Names of the matrices."""
        return list(self._tensors)

    def rows(self, name: str) -> Any:
        """Evenly spread rows of a matrix; ``None`` for a type that gguf cannot read."""
        from gguf import dequantize

        tensor = self._tensors[name]
        try:
            return dequantize(sampled(tensor.data), tensor.tensor_type)
        except NotImplementedError:
            return None

    def matrices(self) -> Iterator[tuple[int, Any]]:
        """Weights and sampled rows of each matrix."""
        for name, tensor in self._tensors.items():
            rows = self.rows(name)
            if rows is not None:
                yield int(tensor.n_elements), rows


def _rows_of_both(before: _Values, after: _Values) -> Iterator[tuple[Any, Any]]:
    for name in after.names():
        old, new = before.rows(name), after.rows(name)
        if old is not None and new is not None:
            yield old, new
