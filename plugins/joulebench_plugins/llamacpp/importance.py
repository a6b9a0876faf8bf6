"""What a file's matrices are multiplied with, seen while llama.cpp computes.

llama.cpp calls back for each tensor of its graph (``cb_eval`` of ``llama_context_params``). Its
own tool for importance matrices, which the packages do not bring, works in the same way.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from joulebench.errors import ArtifactError, JoulebenchError, UnavailableError

# ggml.h, enum ggml_type
_F32: Final = 0
_I32: Final = 26


class _Tensor(ctypes.Structure):
    """``struct ggml_tensor`` as far as it is read (ggml.h).

    The library has no call that gives a tensor's operands. That the layout is this one is seen by
    what is read: a name and sizes that are those of a matrix in the file.
    """

    _fields_ = (
        ("type", ctypes.c_int),
        ("buffer", ctypes.c_void_p),
        ("ne", ctypes.c_int64 * 4),
        ("nb", ctypes.c_size_t * 4),
        ("op", ctypes.c_int),
        ("op_params", ctypes.c_int32 * 16),
        ("flags", ctypes.c_int32),
        ("src", ctypes.c_void_p * 10),
        ("view_src", ctypes.c_void_p),
        ("view_offs", ctypes.c_size_t),
        ("data", ctypes.c_void_p),
        ("name", ctypes.c_char * 64),
    )


class ProductInputs:
    """Sums the squares of the inputs of each of ``matrices`` (sizes by name, columns first).

    A matrix of three sizes holds a layer's experts one behind the other; each has its own sums, of the
    tokens that were led to it (GGML_OP_MUL_MAT_ID).

    An object of it is what a binding calls with a tensor's address and whether it is only asked
    if that tensor is of interest.
    """

    def __init__(self, matrices: Mapping[str, tuple[int, ...]]) -> None:
        self._matrices = {name.encode(): sizes for name, sizes in matrices.items()}
        self._sums: dict[bytes, Any] = {}
        self._counts: dict[bytes, Any] = {}
        self._failure: Exception | None = None

    def __call__(self, address: int, ask: bool) -> bool:
        """For the library: whether the tensor is of interest, or whether to go on."""
        try:
            return self._seen(_Tensor.from_address(address), ask)
        except Exception as error:  # nothing may leave a callback of C
            self._failure = error
            return False

    def raise_failure(self) -> None:
        """Raise what went wrong while the library was computing."""
        if isinstance(self._failure, JoulebenchError):
            raise self._failure
        if self._failure is not None:
            raise ArtifactError(f"the inputs of the matrices cannot be read: {self._failure}")

    def means(self) -> dict[str, Any]:
        """Mean squares by the matrix's name: float32, one for each column, expert by expert.

        Matrices that are no factor of a product (the convolutions and decays of recurrent layers) have
        none. Raises :class:`UnavailableError` where none was seen at all.
        """
        if not self._sums:
            raise UnavailableError(
                f"the library computed no product with any of {len(self._matrices)} matrices that could be recognised",
                hint="set imatrix = false; importance matrices are for a llama.cpp whose tensors are laid out "
                "as in the versions that were tried",
            )
        return {name.decode(): _mean(total, self._counts[name]) for name, total in self._sums.items()}

    def _seen(self, tensor: Any, ask: bool) -> bool:
        if not tensor.src[0] or not tensor.src[1]:
            return ask is False
        matrix: Any = _Tensor.from_address(tensor.src[0])
        name = bytes(matrix.name)
        sizes = self._matrices.get(name)
        if sizes is None:
            return ask is False
        inputs: Any = _Tensor.from_address(tensor.src[1])
        if tuple(matrix.ne[: len(sizes)]) != sizes or inputs.ne[0] != sizes[0] or tensor.ne[0] != sizes[1]:
            return ask is False  # not the product with that matrix
        if len(sizes) == 3 and not tensor.src[2]:
            return ask is False
        if not ask and len(sizes) == 3:
            self._add_experts(name, inputs, _Tensor.from_address(tensor.src[2]), sizes[2])
        elif not ask:
            squares = self._squares(name, inputs)
            self._sums[name] = self._sums.get(name, 0.0) + squares.sum(axis=0)
            self._counts[name] = self._counts.get(name, 0) + len(squares)
        return True

    def _add_experts(self, name: bytes, inputs: Any, chosen: Any, experts: int) -> None:
        """``chosen`` has the experts of each token; an input is theirs together, or one for each."""
        used, tokens = chosen.ne[0], chosen.ne[1]
        if chosen.type != _I32 or chosen.nb[0] != 4 or inputs.ne[1] not in (1, used) or inputs.ne[2] != tokens:
            raise ArtifactError(f"the experts of {name.decode()} are not laid out as in the versions that were tried")
        rows = [(ctypes.c_int32 * used).from_address(chosen.data + token * chosen.nb[1]) for token in range(tokens)]
        ids = np.array([list(row) for row in rows])
        squares = self._squares(name, inputs).reshape(tokens, inputs.ne[1], -1)
        sums = np.zeros((experts, squares.shape[-1]))
        np.add.at(sums, ids, np.broadcast_to(squares, (tokens, used, squares.shape[-1])))
        self._sums[name] = self._sums.get(name, 0.0) + sums
        self._counts[name] = self._counts.get(name, 0) + np.bincount(ids.ravel(), minlength=experts)[:, None]

    @staticmethod
    def _squares(name: bytes, inputs: Any) -> Any:
        """The inputs squared, float64: a row for each."""
        columns, rows = inputs.ne[0], inputs.ne[1] * inputs.ne[2] * inputs.ne[3]
        if inputs.type != _F32 or not inputs.data:
            raise ArtifactError(f"the inputs of {name.decode()} are not float32 in memory")
        if (inputs.nb[0], inputs.nb[1]) != (4, 4 * columns):
            raise ArtifactError(f"the inputs of {name.decode()} do not lie row after row")
        numbers = (ctypes.c_float * (columns * rows)).from_address(inputs.data)
        values = np.frombuffer(numbers, np.float32).reshape(rows, columns)
        if not np.isfinite(values).all():
            raise ArtifactError(f"the inputs of {name.decode()} are not finite")
        return np.square(values, dtype=np.float64)


def _mean(total: Any, count: Any) -> Any:
    """Sums by counts, in one row; an expert that no token was led to has the mean of the others."""
    if np.ndim(total) == 1:
        return (total / count).astype(np.float32)
    means = total / np.maximum(count, 1)
    means[(count == 0)[:, 0]] = total.sum(axis=0) / count.sum()
    return np.ascontiguousarray(means.ravel(), np.float32)
