"""Rotations of the residual stream and of the values, folded into the weights.

QuaRot (arXiv 2404.00456) and SpinQuant (arXiv 2405.16406): an orthogonal matrix R1 turns the state
between the layers, one R2 for each layer turns the heads' values. The model computes the same,
while large channels are spread over all, so that weights round better. RMS norms commute with a
rotation once their weights are folded into the matrices behind them. What SpinQuant calls R3 and
R4, rotations while the model runs, would need runtimes of their own and is left out, as is its
learning of R1 and R2.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch

from joulebench_plugins.shared.llama.shape import LayerShape

_INNER_NORMS = {
    "input_layernorm": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "post_attention_layernorm": ("mlp.gate_proj", "mlp.up_proj"),
}
_OUTPUTS = ("self_attn.o_proj", "mlp.down_proj")


class Rotation:
    """R1 and R2 of a model, drawn by a seed: the same for the same shape, kind and seed.

    ``kind`` is ``hadamard`` (of the size's largest power of two, times a random orthogonal matrix
    of what is left, with random signs) or ``orthogonal`` (random throughout).
    """

    def __init__(self, shape: LayerShape, kind: str, seed: int, heads: bool) -> None:
        self._shape, self._kind, self._heads = shape, kind, heads
        self._random = torch.Generator().manual_seed(seed)
        self._stream = self._drawn(shape.hidden_size)

    def embedding(self, table: torch.Tensor) -> torch.Tensor:
        """The embedding, whose rows are states."""
        return (table.double() @ self._stream).float()

    def head(self, table: torch.Tensor, norm: torch.Tensor) -> torch.Tensor:
        """The output head with the last norm's weight in it."""
        return ((table.double() * norm.double()) @ self._stream).float()

    def layer(self, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """The layer's tensors, float32. Layers must come in order: an R2 is drawn for each."""
        made = {name: tensor.double() for name, tensor in tensors.items()}
        for norm, fed in _INNER_NORMS.items():
            weight = made[f"{norm}.weight"]
            for name in fed:
                made[f"{name}.weight"] = (made[f"{name}.weight"] * weight) @ self._stream
            made[f"{norm}.weight"] = torch.ones_like(weight)
        for name in _OUTPUTS:
            made[f"{name}.weight"] = self._stream.T @ made[f"{name}.weight"]
            if f"{name}.bias" in made:
                made[f"{name}.bias"] = made[f"{name}.bias"] @ self._stream
        if self._heads:
            self._turn_values(made)
        return {name: tensor.float() for name, tensor in made.items()}

    def _turn_values(self, made: dict[str, torch.Tensor]) -> None:
        size = self._shape.head_dim
        turn = self._drawn(size)
        for kind in ("weight", "bias"):
            name = f"self_attn.v_proj.{kind}"
            if name in made:
                rows = made[name].reshape(-1, size, *made[name].shape[1:])
                made[name] = torch.einsum("hi...,ij->hj...", rows, turn).reshape(made[name].shape)
        out = made["self_attn.o_proj.weight"]
        turned = out.reshape(len(out), -1, size) @ turn
        made["self_attn.o_proj.weight"] = turned.reshape(out.shape)

    def _drawn(self, size: int) -> torch.Tensor:
        if self._kind == "orthogonal":
            return _orthogonal(size, self._random)
        power = size & -size  # the largest power of two that divides it
        mixed = torch.kron(hadamard(power), _orthogonal(size // power, self._random))
        signs = torch.randint(0, 2, (size, 1), generator=self._random) * 2 - 1
        return signs * mixed


def hadamard(size: int) -> torch.Tensor:
    """Sylvester's matrix of a power of two, divided by √size: orthogonal, float64."""
    matrix = torch.ones(1, 1, dtype=torch.float64)
    while len(matrix) < size:
        matrix = torch.cat([torch.cat([matrix, matrix], 1), torch.cat([matrix, -matrix], 1)])
    return matrix / math.sqrt(size)


def _orthogonal(size: int, random: torch.Generator) -> torch.Tensor:
    """Evenly distributed over all rotations and reflections (Mezzadri, arXiv math-ph/0609050)."""
    drawn = torch.randn(size, size, dtype=torch.float64, generator=random)
    turned, triangle = torch.linalg.qr(drawn)
    return (turned * triangle.diagonal().sign()).contiguous()
