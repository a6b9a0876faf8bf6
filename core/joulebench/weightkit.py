"""What evidence about number types counts alike, whatever the runtime and the file."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from joulebench.api import Scalar

#: Neighbours in a row that share a scale in 4-bit formats such as GGUF's Q4_0 and Q4_1, and as
#: many values as 4 bits tell apart.
_BLOCK: Final = 32
_LEVELS: Final = 16
#: Rows of a matrix that are looked at, evenly spread.
_SAMPLED_ROWS: Final = 64
_CAUTION: Final = (
    "the source's matrices lie on a 4-bit grid already: its own loss is not counted here, and a "
    "type that can hold that grid looks better than it is"
)


def shares(counts: Mapping[str, int]) -> str:
    """Parts of the whole, greatest first: ``q5_0 59.8 %, q8_0 39.9 %, f32 0.3 %``."""
    total = sum(counts.values())
    listed = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{name} {100 * count / total:.1f} %" for name, count in listed if count)


def tally(names: Iterable[str]) -> str:
    """How often each name occurs, by name: ``Add 60, MatMul 211``."""
    counts = counted((name, 1) for name in names)
    return ", ".join(f"{name} {counts[name]}" for name in sorted(counts))


def patterns(names: Iterable[str]) -> str:
    """Names of tensors with ``*`` for numbers of layers and experts: ``lm_head.weight, layers.*.conv.weight ×2``."""
    counts = counted((re.sub(r"(?<=\.)\d+(?=\.)", "*", name), 1) for name in sorted(names))
    return ", ".join(f"{name} ×{count}" if count > 1 else name for name, count in counts.items()) or "none"


def counted(items: Iterable[tuple[str, int]]) -> dict[str, int]:
    """Sums of the numbers by the word before them."""
    counts: dict[str, int] = {}
    for name, count in items:
        counts[name] = counts.get(name, 0) + count
    return counts


def joined(names: Iterable[str]) -> str:
    """Distinct names in alphabetical order, as facts list them: ``float32,int8``."""
    return ",".join(sorted(set(names)))


def bits_per_weight(size_bytes: int, weights: int) -> float | None:
    """Bits of storage for each of a model's weights, scales and padding among them."""
    return round(8 * size_bytes / weights, 3) if weights else None


def sampled(matrix: Any) -> Any:
    """Some rows of a matrix (numpy, two dimensions), evenly spread over it."""
    return matrix[:: max(1, len(matrix) // _SAMPLED_ROWS)][:_SAMPLED_ROWS]


def source_evidence(matrices: Iterable[tuple[int, Any]], weights: int) -> dict[str, Scalar]:
    """How much of a model was quantized to 4 bits before a technique saw it.

    ``matrices`` are (weights in the matrix, some of its rows), each row in the direction in which
    formats make blocks (the inputs); ``weights`` is the model's number of them. A matrix counts
    where every block of 32 neighbours holds at most 16 values: quantizing such a model again says
    little about the type that it is quantized to.
    """
    coarse = sum(count for count, rows in matrices if _on_coarse_grid(rows))
    share = coarse / weights if weights else 0.0
    evidence: dict[str, Scalar] = {"source_4bit_share": round(share, 4)}
    if share > 0.5:
        evidence["caution"] = _CAUTION
    return evidence


def relative_error(pairs: Iterable[tuple[Any, Any]]) -> float | None:
    """‖W − Ŵ‖ / ‖W‖ (Frobenius) over (rows before, the same rows after); ``None`` without any."""
    lost = whole = 0.0
    for before, after in pairs:
        lost += float(((before - after) ** 2).sum(dtype="float64"))
        whole += float((before**2).sum(dtype="float64"))
    return round((lost / whole) ** 0.5, 6) if whole else None


def _on_coarse_grid(rows: Any) -> bool:
    import numpy as np

    whole = rows.shape[1] // _BLOCK * _BLOCK
    if not whole:
        return False
    blocks = np.sort(np.asarray(rows, np.float32)[:, :whole].reshape(-1, _BLOCK), axis=1)
    different = 1 + (np.diff(blocks, axis=1) != 0).sum(axis=1)
    return bool(different.max() <= _LEVELS)
