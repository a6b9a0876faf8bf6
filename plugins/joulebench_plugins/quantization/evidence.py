"""What the files say of a quantized checkpoint: number types, bits, integers, bytes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from joulebench.api import Scalar
from joulebench.weightkit import counted, sampled, shares, source_evidence
from joulebench_plugins.shared.llama.matrices import INPUT_SHARED_WITH, matrix_name
from joulebench_plugins.shared.llama.shape import layer_shape
from joulebench_plugins.shared.tensors.integers import IntegerFile, Integers
from joulebench_plugins.shared.tensors.weights import Weights, sizes

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
    evidence: dict[str, Scalar] = {
        "dtypes_before": _dtypes(old),
        "dtypes": _dtypes(new),
        **sizes(old, new),
        "zero_fraction_before": _zero_fraction(old),
        "zero_fraction": _zero_fraction(new),
        **source_evidence(_sampled_matrices(old), _matrix_weights(old)),
        "activations": ACTIVATIONS,
        "on_disk": ON_DISK,
    }
    integers = IntegerFile.beside(after)
    if integers is None:
        return evidence | {"quantized_matrices": 0, "bits_per_weight": None}
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
        sums.add(matrix, weights.tensor(name).float().numpy())
        sums.clipped += float(notes["clipped"]) * matrix.integers.size
        lost, whole = float(notes["squared_error"]), float(notes["squares"])
        sums.lost, sums.whole = sums.lost + lost, sums.whole + whole
        shared.append(lost / whole if whole else 0.0)
    others = [name for name in weights.files if name not in integers.matrices]
    other_bits = sum(8 * weights.tensor(name).nbytes for name in others)
    parameters = sums.weights + sum(math.prod(weights.shape(name)) for name in others)
    return {
        "quantized_matrices": len(shared),
        "quantized_share": sums.weights / parameters,
        "bits_per_weight": sums.bits / sums.weights,
        "bits_per_weight_of_model": (sums.bits + other_bits) / parameters,
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


def _matrix_names(weights: Weights) -> Iterator[str]:
    """Names of the layers' matrices."""
    for layer in range(layer_shape(weights.config).num_hidden_layers):
        for module in INPUT_SHARED_WITH:
            yield matrix_name(layer, module)


def _matrix_weights(weights: Weights) -> int:
    return sum(math.prod(weights.shape(name)) for name in _matrix_names(weights))


def _sampled_matrices(weights: Weights) -> Iterator[tuple[int, Any]]:
    """(weights, some rows) of each of the layers' matrices."""
    for name in _matrix_names(weights):
        matrix = weights.tensor(name)
        yield matrix.numel(), sampled(matrix).float().numpy()


def _zero_fraction(weights: Weights) -> float:
    """Zeros among the weights of the layers' matrices."""
    zeros = sum(int((weights.tensor(name) == 0).sum()) for name in _matrix_names(weights))
    return zeros / _matrix_weights(weights)
