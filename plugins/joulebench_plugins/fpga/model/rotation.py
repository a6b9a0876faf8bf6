"""How heads are turned by their positions."""

from __future__ import annotations

from joulebench_plugins.fpga.arithmetic import Array


def rotated(x: Array, cosines: Array, sines: Array) -> Array:
    """``x`` (tokens, heads, head_dim), its first half turned against its second by the angles."""
    import numpy as np

    half = x.shape[-1] // 2
    first, second = x[..., :half], x[..., half:]
    cos, sin = cosines[:, None, :], sines[:, None, :]
    return np.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)
