"""Float types of weights: how their bits are read and written with numpy, which has no bfloat16."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

#: A numpy array (numpy is imported where it is used).
Array: TypeAlias = Any


def encoder(dtype: str) -> Callable[[Array], Array]:
    """Turns float32 values into little-endian ``dtype`` (bfloat16 as its bits, in uint16).

    The float16 encoder raises :class:`OverflowError` for finite values beyond that type's range.
    """
    return {"bfloat16": _as_bfloat16, "float32": _as_float32, "float16": _as_float16}[dtype]


def _as_float32(values: Array) -> Array:
    return values.astype("<f4", copy=False)


def _as_float16(values: Array) -> Array:
    import numpy as np

    with np.errstate(over="ignore"):
        narrow = values.astype("<f2")
    if np.isinf(narrow).any() and not np.isinf(values).any():
        raise OverflowError("a value is beyond float16's range")
    return narrow


def _as_bfloat16(values: Array) -> Array:
    """The upper halves of the float32, rounded to nearest, ties to even."""
    import numpy as np

    bits = np.ascontiguousarray(values, dtype="<f4").view("<u4")
    rounded = bits + (np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1)))
    # A NaN with low payload bits would round to an infinity: keep it a quiet NaN.
    rounded = np.where(np.isnan(values), bits | np.uint32(0x00400000), rounded)
    return (rounded >> np.uint32(16)).astype("<u2")
