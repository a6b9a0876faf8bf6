"""The engine's integer arithmetic in numpy: what the RTL and the model must agree on, bit by bit.

An accumulator is the exact sum of products of signed integers. The engine holds it in 32 bits;
:func:`max_columns` says how long a row may be before it could overflow, and nothing here wraps.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

#: A numpy array (numpy is imported where it is used).
Array: TypeAlias = Any

INT8_MIN: Final = -128
INT8_MAX: Final = 127
#: Weights that a code of so many bits holds, and bits of an activation.
ACTIVATION_BITS: Final = 8
ACCUMULATOR_BITS: Final = 32
MULTIPLIER_BITS: Final = 16
MAX_SHIFT: Final = 47


def weight_range(bits: int) -> tuple[int, int]:
    """Smallest and largest weight of a two's complement code of ``bits`` bits."""
    return -(1 << (bits - 1)), (1 << (bits - 1)) - 1


def max_columns(weight_bits: int) -> int:
    """Longest row whose accumulator cannot overflow, whatever the numbers.

    The largest product is 2^(weight_bits - 1) · 2^7; 2^31 - 1 holds fewer than
    2^31 / 2^(weight_bits + 6) of them.
    """
    return ((1 << (ACCUMULATOR_BITS - 1)) - 1) >> (weight_bits + ACTIVATION_BITS - 2)


def accumulate(weights: Array, x: Array) -> Array:
    """``acc[…, m] = Σ_k weights[m, k] · x[…, k]`` as int32.

    ``weights`` is (M, K) of int8, ``x`` (K,) or (tokens, K) of int8. The products go through
    float64, whose 53 bits hold every partial sum exactly (|sum| ≤ K · 2^14); float32 would not
    from K = 1,024 on. Raises ``ValueError`` for a row that could overflow 32 bits.
    """
    import numpy as np

    if weights.shape[1] > max_columns(ACTIVATION_BITS):
        raise ValueError(f"{weights.shape[1]} columns can overflow a 32-bit accumulator")
    sums = np.asarray(x, np.float64) @ np.asarray(weights, np.float64).T
    return sums.astype(np.int32)


def accumulate_groups(weights: Array, x: Array, group: int) -> Array:
    """``acc[m, g] = Σ_{k in group g} weights[m, k] · x[k]`` as int32, (M, ceil(K / group)).

    Group g are the columns g·group … (g + 1)·group - 1; the last may be shorter.
    """
    import numpy as np

    rows, columns = weights.shape
    count = -(-columns // group)
    padded_w = np.zeros((rows, count * group), np.int32)
    padded_x = np.zeros(count * group, np.int32)
    padded_w[:, :columns], padded_x[:columns] = weights, x
    products = padded_w * padded_x
    return products.reshape(rows, count, group).sum(axis=2, dtype=np.int64).astype(np.int32)


def requantize(acc: Array, multiplier: Array | int, shift: Array | int) -> Array:
    """``sat8((acc · multiplier + 2^(shift - 1)) >> shift)`` as int8: round half up, then saturate.

    ``multiplier`` (0 … 65,535) and ``shift`` (1 … 47) are one for all, or one for each row (the
    last axis of ``acc``). The product has at most 48 bits, so 64 hold every step.
    Raises ``ValueError`` for a multiplier or shift that the engine has no wires for.
    """
    import numpy as np

    factor, places = np.asarray(multiplier, np.int64), np.asarray(shift, np.int64)
    if factor.size and (factor.min() < 0 or factor.max() >= 1 << MULTIPLIER_BITS):
        raise ValueError(f"a multiplier must be 0 … {(1 << MULTIPLIER_BITS) - 1}")
    if places.size and (places.min() < 1 or places.max() > MAX_SHIFT):
        raise ValueError(f"a shift must be 1 … {MAX_SHIFT}")
    half = np.int64(1) << (places - 1)
    scaled = (np.asarray(acc, np.int64) * factor + half) >> places
    return np.clip(scaled, INT8_MIN, INT8_MAX).astype(np.int8)


def requantizer(scale: float) -> tuple[int, int]:
    """The (multiplier, shift) nearest to ``scale`` (> 0): scale ≈ multiplier / 2^shift.

    Uses all 16 bits of the multiplier where the shift's range allows it. Raises ``ValueError``
    for a scale that is not positive or too large (≥ 32,768).
    """
    import math

    if not scale > 0 or not math.isfinite(scale):
        raise ValueError("a scale must be positive and finite")
    _, exponent = math.frexp(scale)  # scale = mantissa · 2^exponent, mantissa in [0.5, 1)
    shift = min(max(MULTIPLIER_BITS - exponent, 1), MAX_SHIFT)
    multiplier = round(scale * (1 << shift))
    if multiplier == 1 << MULTIPLIER_BITS:  # rounded up to 17 bits
        if shift == 1:
            raise ValueError(f"a scale of {scale} is too large")
        shift -= 1
        multiplier >>= 1
    if multiplier > 1 << MULTIPLIER_BITS:
        raise ValueError(f"a scale of {scale} is too large")
    return multiplier, shift
