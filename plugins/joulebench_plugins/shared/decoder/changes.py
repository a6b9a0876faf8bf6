"""A checkpoint's tensors with those that a technique has changed so far."""

from __future__ import annotations

import torch

from joulebench_plugins.shared.decoder.model import Linear
from joulebench_plugins.shared.tensors.weights import Weights


class Changes:
    """Reads a tensor as it is now; keeps what is put in its place."""

    def __init__(self, weights: Weights) -> None:
        self.weights = weights
        self.tensors: dict[str, torch.Tensor] = {}

    def read(self, name: str) -> torch.Tensor:
        """A tensor of the files by its name, changed or as it is stored."""
        changed = self.tensors.get(name)
        return self.weights.tensor(name) if changed is None else changed

    def matrix(self, linear: Linear) -> torch.Tensor:
        """The matrix of a linear layer, (outputs, inputs), in the number type that it has; a view.

        Raises ModelError for other than floating-point numbers.
        """
        changed = self.tensors.get(linear.tensor)
        return linear.of(self.weights.matrix(linear.tensor) if changed is None else changed)

    def put(self, linear: Linear, matrix: torch.Tensor) -> None:
        """Take ``matrix``, (outputs, inputs), in its number type in place of the linear layer's."""
        if linear.slice is None:
            self.tensors[linear.tensor] = (matrix.T if linear.transposed else matrix).contiguous()
            return
        whole = self.tensors.get(linear.tensor)
        if whole is None or whole.dtype != matrix.dtype:
            whole = self.read(linear.tensor).to(matrix.dtype, copy=True)
            self.tensors[linear.tensor] = whole
        linear.of(whole).copy_(matrix)
