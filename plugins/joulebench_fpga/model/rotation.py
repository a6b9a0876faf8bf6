"""Rotary positions (Su et al., RoFormer, 2021), in float32 as transformers computes them."""

from __future__ import annotations

import math

from joulebench_fpga.arithmetic import Array
from joulebench_fpga.shape import LlamaShape, Rope


def rotation_tables(shape: LlamaShape) -> tuple[Array, Array]:
    """(cosines, sines), each float32 and (positions, head_dim / 2)."""
    import numpy as np

    positions = np.arange(shape.max_positions, dtype=np.float32)
    angles = np.outer(positions, _frequencies(shape.rope, shape.head_dim))
    return np.cos(angles, dtype=np.float32), np.sin(angles, dtype=np.float32)


def rotated(x: Array, cosines: Array, sines: Array) -> Array:
    """``x`` (tokens, heads, head_dim), its first half turned against its second by the angles."""
    import numpy as np

    half = x.shape[-1] // 2
    first, second = x[..., :half], x[..., half:]
    cos, sin = cosines[:, None, :], sines[:, None, :]
    return np.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)


def _frequencies(rope: Rope, head_dim: int) -> Array:
    """Radians per position of each pair; ``transformers/modeling_rope_utils.py`` has the kinds."""
    import numpy as np

    exponents = np.arange(0, head_dim, 2, dtype=np.float32) / np.float32(head_dim)
    plain = np.float32(1.0) / np.power(np.float32(rope.theta), exponents)
    if rope.kind == "linear":
        return plain / np.float32(rope.scaling["factor"])
    if rope.kind == "llama3":
        return _llama3(plain, rope)
    return plain


def _llama3(plain: Array, rope: Rope) -> Array:
    """Slow frequencies divided by the factor, fast ones kept, those between blended."""
    import numpy as np

    factor, trained = rope.scaling["factor"], rope.scaling["original_max_position_embeddings"]
    low, high = rope.scaling["low_freq_factor"], rope.scaling["high_freq_factor"]
    wavelength = 2.0 * math.pi / plain
    blend = (trained / wavelength - low) / (high - low)
    mixed = (1.0 - blend) * plain / factor + blend * plain
    scaled = np.where(wavelength > trained / low, plain / factor, mixed)
    return np.where(wavelength < trained / high, plain, scaled).astype(np.float32)
