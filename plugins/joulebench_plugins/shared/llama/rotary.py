"""Rotary positions (Su et al., RoFormer, 2021): tables of the cosines and sines that turn heads."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

#: Kinds of rotary positions by their names in a ``config.json``, with the numbers that each needs.
ROPE_KINDS: Final[Mapping[str, tuple[str, ...]]] = {
    "default": (),
    "linear": ("factor",),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"),
}


@dataclass(frozen=True, slots=True)
class Rope:
    """Rotary positions: ``theta`` is the base, ``scaling`` the numbers of the kind."""

    kind: str
    theta: float
    scaling: Mapping[str, float]


def rotation_tables(rope: Rope, head_dim: int, positions: int) -> tuple[Any, Any]:
    """(cosines, sines), each float32 and shaped (positions, head_dim / 2).

    Angles are float32 products, as transformers computes them: in float64 they would be nearer
    to the formula and farther from the model that was trained.
    """
    import numpy as np

    places = np.arange(positions, dtype=np.float32)
    angles = np.outer(places, _frequencies(rope, head_dim))
    return np.cos(angles, dtype=np.float32), np.sin(angles, dtype=np.float32)


def _frequencies(rope: Rope, head_dim: int) -> Any:
    """Radians per position of each pair; ``transformers/modeling_rope_utils.py`` has the kinds."""
    import numpy as np

    exponents = np.arange(0, head_dim, 2, dtype=np.float32) / np.float32(head_dim)
    plain = np.float32(1.0) / np.power(np.float32(rope.theta), exponents)
    if rope.kind == "linear":
        return plain / np.float32(rope.scaling["factor"])
    if rope.kind == "llama3":
        return _llama3(plain, rope)
    return plain


def _llama3(plain: Any, rope: Rope) -> Any:
    """Slow frequencies divided by the factor, fast ones kept, those between blended."""
    import numpy as np

    factor, trained = rope.scaling["factor"], rope.scaling["original_max_position_embeddings"]
    low, high = rope.scaling["low_freq_factor"], rope.scaling["high_freq_factor"]
    wavelength = 2.0 * math.pi / plain
    blend = (trained / wavelength - low) / (high - low)
    mixed = (1.0 - blend) * plain / factor + blend * plain
    scaled = np.where(wavelength > trained / low, plain / factor, mixed)
    return np.where(wavelength < trained / high, plain, scaled).astype(np.float32)
