"""What the files say of a quantized checkpoint: number types, bits, integers, bytes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from joulebench.api import Scalar
from joulebench.weightkit import counted, sampled, shares, source_evidence
from joulebench_plugins.shared.decoder.model import Decoder, Linear
from joulebench_plugins.shared.tensors.integers import IntegerFile, Integers
from joulebench_plugins.shared.tensors.weights import Weights, left_alone, parameters, sizes

_SCALE_BITS: Final = 16
#: torch's names of what safetensors calls by a letter and a number.
_NAMES: Final = {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}
ACTIVATIONS: Final = "not rounded by these files; int8 only where the kernel of a runtime rounds them itself"
ON_DISK: Final = "dense float32, not smaller; converters pack the integers"


def observed(before: Path, after: Path) -> dict[str, Scalar]:
    """Counted in both checkpoints' files; errors of rounding as they were noted when it was done.

    Figures of the integers are unknown (``None``) where nothing was rounded.
    """
    old, new = Weights(before), Weights(after)
    linears = Decoder(before, old.files).linears
    evidence: dict[str, Scalar] = {
        "dtypes_before": _dtypes(old),
        "dtypes": _dtypes(new),
        **sizes(old, new),
        "zero_fraction_before": _zero_fraction(old, linears),
        "zero_fraction": _zero_fraction(new, linears),
        **source_evidence(_sampled_matrices(old, linears), sum(_size(old, linear) for linear in linears)),
        "scaled_vectors": _changed_vectors(old, new),
        "activations": ACTIVATIONS,
        "on_disk": ON_DISK,
    }
    integers = IntegerFile.beside(after)
    if integers is None:
        return evidence | {"quantized_matrices": 0, "bits_per_weight": None}
    names = set(integers.matrices)
    inside = [linear.tensor for linear in linears if linear.tensor in names]
    evidence["quantized_matrices"] = len(inside) + len(names.difference(inside))
    evidence["left_alone"] = left_alone(new, names)
    return evidence | _of_integers(integers, new)


@dataclass(slots=True)
class _IntegerSums:
    """Over all rounded matrices."""

    weights: int = 0
    bits: int = 0
    clipped: float = 0.0
    lost: float = 0.0
    whole: float = 0.0
    lowest: int = 0
    highest: int = 0
    exact: bool = True

    def add(self, matrix: Integers, dense: Any) -> None:
        """The integers of one more, and its weights as float32."""
        size = matrix.integers.size
        self.weights += size
        self.bits += size * matrix.bits + matrix.scales.size * _SCALE_BITS
        self.lowest = min(self.lowest, int(matrix.integers.min()))
        self.highest = max(self.highest, int(matrix.integers.max()))
        self.exact &= bool(np.array_equal(matrix.dense(), dense))


def _of_integers(integers: IntegerFile, weights: Weights) -> dict[str, Scalar]:
    sums = _IntegerSums()
    shared: list[float] = []
    for name, notes in integers.matrices.items():
        matrix = integers.matrix(name)
        dense = weights.tensor(name).float()
        dense = dense.mT if notes.get("transposed") else dense
        sums.add(matrix, dense.reshape(matrix.integers.shape).numpy())
        sums.clipped += float(notes["clipped"]) * matrix.integers.size
        lost, whole = float(notes["squared_error"]), float(notes["squares"])
        sums.lost, sums.whole = sums.lost + lost, sums.whole + whole
        shared.append(lost / whole if whole else 0.0)
    others = [name for name in weights.files if name not in integers.matrices]
    other_bits = sum(8 * weights.tensor(name).nbytes for name in others)
    whole = parameters(weights)
    return {
        "quantized_share": sums.weights / whole,
        "bits_per_weight": sums.bits / sums.weights,
        "bits_per_weight_of_model": (sums.bits + other_bits) / whole,
        "packed_bytes": sums.bits // 8,
        "integers_bytes_on_disk": integers.size_bytes,
        "integers_give_weights": sums.exact,
        "integer_min": sums.lowest,
        "integer_max": sums.highest,
        "clipped_share": sums.clipped / sums.weights,
        "relative_error": math.sqrt(sums.lost / sums.whole) if sums.whole else 0.0,
        "squared_relative_error_mean": sum(shared) / len(shared),
        "squared_relative_error_max": max(shared),
    }


def _dtypes(weights: Weights) -> str:
    """Shares of the parameters by number type: ``float32 78.9 %, bfloat16 21.1 %``."""
    return shares(
        counted(
            (_NAMES.get(kind := weights.dtype(name), kind), math.prod(weights.shape(name))) for name in weights.files
        )
    )


def _size(weights: Weights, linear: Linear) -> int:
    shape = weights.shape(linear.tensor)
    return math.prod(shape if linear.slice is None else shape[1:])


def _sampled_matrices(weights: Weights, linears: Sequence[Linear]) -> Iterator[tuple[int, Any]]:
    """(weights, some rows) of each of the blocks' matrices."""
    for linear in linears:
        matrix = linear.of(weights.tensor(linear.tensor))
        yield matrix.numel(), sampled(matrix).float().numpy()


def _zero_fraction(weights: Weights, linears: Sequence[Linear]) -> float:
    """Zeros among the weights of the blocks' matrices."""
    zeros = sum(int((linear.of(weights.tensor(linear.tensor)) == 0).sum()) for linear in linears)
    return zeros / sum(_size(weights, linear) for linear in linears)


def _changed_vectors(before: Weights, after: Weights) -> int:
    """Norms and biases that are others than before, since scales or a rotation were folded into them."""
    vectors = [name for name in before.files if len(before.shape(name)) == 1]
    return sum(not before.tensor(name).float().equal(after.tensor(name).float()) for name in vectors)
