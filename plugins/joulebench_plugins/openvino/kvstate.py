"""Which number type keys and values are stored in, told from the values that the state holds.

The compiled model repeats the type that it was asked for, applied or not, and hands the state out as
float32 whatever it is. What was rounded shows in the values: integers of few bits lie on a grid in each
group, and numbers of 16 bits survive being rounded to these once more.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import numpy as np

#: Steps between the least and the greatest value of a group.
_STEPS: Final = {"int4": 2**4 - 1, "int8": 2**8 - 1}
#: How far from a step a value may lie, as a share of it: float32 arithmetic.
_OFF: Final = 0.02
#: The lower half of a float32, which bfloat16 has not.
_LOWER_HALF: Final = 0xFFFF
#: Axes of keys and values: sequence, head, token, size of a head.
_RANK: Final = 4


def stored_type(tensors: Iterable[Any], group: int) -> str | None:
    """The narrowest type that could hold all values as they are; ``None`` where there are none to judge by.

    ``group`` is how many neighbours along a head share a scale, 0 for all of them.
    """
    arrays = [array.astype(np.float32) for array in tensors if array.ndim == _RANK and array.size]
    if not arrays:
        return None
    for name, steps in _STEPS.items():
        if all(_on_grid(array, group, steps) for array in arrays):
            return name
    if all(bool(((array.view(np.uint32) & _LOWER_HALF) == 0).all()) for array in arrays):
        return "bfloat16"
    if all(bool((array == array.astype(np.float16)).all()) for array in arrays):
        return "float16"
    return "float32"


def _on_grid(array: Any, group: int, steps: int) -> bool:
    size = group if group and array.shape[-1] % group == 0 else array.shape[-1]
    rows = array.reshape(-1, size).astype(np.float64)
    least = rows.min(1, keepdims=True)
    step = (rows.max(1, keepdims=True) - least) / steps
    places = np.divide(rows - least, step, out=np.zeros_like(rows), where=step > 0)
    return bool(np.abs(places - np.round(places)).max() < _OFF)
