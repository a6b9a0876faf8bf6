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

import torch

from joulebench_plugins.shared.decoder.parts import BlockTensors, rows_of
from joulebench_plugins.shared.decoder.roles import Roles
from joulebench_plugins.shared.llama.shape import LayerShape


class Rotation:
    """R1 and R2 of a model, drawn by a seed: the same for the same sizes, kind and seed.

    R1 is ``hidden_size`` wide. R2 is drawn where the ``heads`` are said, whose values it turns.

    ``kind`` is ``hadamard`` (of the size's largest power of two, times a random orthogonal matrix
    of what is left, with random signs) or ``orthogonal`` (random throughout).
    """

    def __init__(self, roles: Roles, hidden_size: int, kind: str, seed: int, heads: LayerShape | None) -> None:
        self._roles, self._heads, self._kind = roles, heads, kind
        self._random = torch.Generator().manual_seed(seed)
        self._stream = self._drawn(hidden_size)

    @property
    def final_norm(self) -> str:
        """The norm before the output head, by its name in the model."""
        return self._roles.final_norm

    @property
    def neutral(self) -> float:
        """The weight of a norm that multiplies with 1."""
        return 1 - self._roles.offset

    def embedding(self, table: torch.Tensor) -> torch.Tensor:
        """The embedding, whose rows are states."""
        return (table.double() @ self._stream).float()

    def head(self, table: torch.Tensor, norm: torch.Tensor) -> torch.Tensor:
        """The output head with the last norm's weight in it."""
        return ((table.double() * (norm.double() + self._roles.offset)) @ self._stream).float()

    def block(self, tensors: BlockTensors) -> None:
        """Rotate a block. They must come in order: an R2 is drawn for each."""
        for norm, readers in self._roles.norms.items():
            weight = tensors.get(f"{norm}.weight")
            for module in tensors.there(readers):
                whole = tensors.get(f"{module}.weight").double() * (weight.double() + self._roles.offset)
                tensors.put(f"{module}.weight", (whole @ self._stream).float())
            tensors.put(f"{norm}.weight", torch.full_like(weight, self.neutral))
        for module in tensors.there(self._roles.writers):
            tensors.put(f"{module}.weight", (self._stream.T @ tensors.get(f"{module}.weight").double()).float())
            if tensors.has(f"{module}.bias"):
                tensors.put(f"{module}.bias", (tensors.get(f"{module}.bias").double() @ self._stream).float())
        if self._heads is not None and len(tensors.there((self._roles.value, self._roles.output))) == 2:
            self._turn_values(tensors, self._heads)

    def _turn_values(self, tensors: BlockTensors, shape: LayerShape) -> None:
        size = shape.head_dim
        turn = self._drawn(size)
        values = rows_of(self._roles, shape, "value")
        for kind in ("weight", "bias"):
            name = f"{values.module}.{kind}"
            if tensors.has(name):
                whole = tensors.get(name).double()
                rows = values.of(whole)
                heads = rows.reshape(-1, size, *rows.shape[1:])
                rows.copy_(torch.einsum("hi...,ij->hj...", heads, turn).reshape(rows.shape))
                tensors.put(name, whole.float())
        output = tensors.get(f"{self._roles.output}.weight").double()
        turned = output.reshape(len(output), -1, size) @ turn
        tensors.put(f"{self._roles.output}.weight", turned.reshape(output.shape).float())

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
