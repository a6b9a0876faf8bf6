"""Tables of the cosines and sines by which queries and keys are rotated at each position."""

from __future__ import annotations

import math
from typing import Any

from joulebench_onnx.shape import LlamaShape, Rope


def rotation_tables(shape: LlamaShape) -> tuple[Any, Any]:
    """(cosines, sines), each float32 and shaped (max_position_embeddings, head_dim / 2).

    Angles are float32 products, as transformers computes them: in float64 they would be nearer
    to the formula and farther from the model that was trained.
    """
    import numpy as np

    frequencies = _frequencies(shape.rope, shape.head_dim)
    positions = np.arange(shape.max_position_embeddings, dtype=np.float32)
    angles = np.outer(positions, frequencies)
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
