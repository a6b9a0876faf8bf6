"""Scales of input channels, folded into what feeds them: the layer computes the same.

A matrix sees x / s where it saw x, and its columns are multiplied by s. The division is folded
into the rows of what gives x: a norm's weight, the values' projection (attention is linear in its
values), the MLP's ``up`` projection (the product with the gate is linear in it).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

import torch

from joulebench_plugins.quantization.grid import Grid, round_to_nearest
from joulebench_plugins.quantization.inputs import Inputs
from joulebench_plugins.shared.decoder.model import Source
from joulebench_plugins.shared.decoder.parts import BlockTensors, Rows, rows_of
from joulebench_plugins.shared.decoder.roles import Roles
from joulebench_plugins.shared.llama.shape import LayerShape

#: Gives scales for the inputs of some matrices that share them.
Choose: TypeAlias = Callable[[Sequence[torch.Tensor], Inputs], torch.Tensor]

#: Exponents that AWQ tries: the paper's grid of 20.
_EXPONENTS: Final = tuple(step / 20 for step in range(20))
_LEAST: Final = 1e-5


@dataclass(frozen=True, slots=True)
class Scaling:
    """Chooses scales and folds them; with a ``shape`` everywhere, else only where a norm feeds the matrices."""

    roles: Roles
    choose: Choose
    shape: LayerShape | None = None

    def __call__(self, tensors: BlockTensors, inputs: dict[Source, Inputs]) -> None:
        """Make the block one that computes the same; ``inputs`` become those that its matrices have then."""
        for norm, readers in self.roles.norms.items():
            matrices = tensors.there(readers)
            if matrices and tensors.has(f"{norm}.weight"):
                self._from_norm(tensors, norm, self._scaled(tensors, matrices, inputs))
        if self.shape is not None:
            self._behind_values(tensors, inputs, self.shape)
            if self.roles.proportional and len(tensors.there((self.roles.up, self.roles.down))) == 2:
                scale = self._scaled(tensors, [self.roles.down], inputs)
                _divide_rows(tensors, rows_of(self.roles, self.shape, "up"), scale)

    def _scaled(
        self, tensors: BlockTensors, modules: Sequence[str], inputs: dict[Source, Inputs], choose: Choose | None = None
    ) -> torch.Tensor:
        """Choose a scale for the inputs of ``modules`` and multiply their columns with it."""
        seen = inputs[tensors.linears[modules[0]].source]
        matrices = [tensors.get(f"{module}.weight") for module in modules]
        scale = (choose or self.choose)(matrices, seen)
        for module, matrix in zip(modules, matrices, strict=True):
            tensors.put(f"{module}.weight", matrix * scale)
        less = seen.divided(scale)
        for module in modules:
            inputs[tensors.linears[module].source] = less
        return scale

    def _from_norm(self, tensors: BlockTensors, norm: str, scale: torch.Tensor) -> None:
        offset = self.roles.offset
        tensors.put(f"{norm}.weight", (tensors.get(f"{norm}.weight") + offset) / scale - offset)
        if tensors.has(f"{norm}.bias"):
            tensors.put(f"{norm}.bias", tensors.get(f"{norm}.bias") / scale)

    def _behind_values(self, tensors: BlockTensors, inputs: dict[Source, Inputs], shape: LayerShape) -> None:
        """Scale what the values feed: query heads that share a key/value head by its scales, for their mean inputs."""
        if len(tensors.there((self.roles.value, self.roles.output))) < 2:
            return
        heads = (shape.num_key_value_heads, shape.group, -1)

        def choose(matrices: Sequence[torch.Tensor], seen: Inputs) -> torch.Tensor:
            mean = seen.magnitudes.view(heads).mean(1, keepdim=True)
            alike = replace(seen, magnitudes=mean.expand(heads[0], heads[1], -1).flatten())
            own = self.choose(matrices, alike).view(heads)
            return own.log().mean(1, keepdim=True).exp().expand_as(own).flatten()

        scale = self._scaled(tensors, [self.roles.output], inputs, choose)
        _divide_rows(tensors, rows_of(self.roles, shape, "value"), scale.view(heads)[:, 0].flatten())


def _divide_rows(tensors: BlockTensors, rows: Rows, scale: torch.Tensor) -> None:
    """Divide what gives the inputs that were scaled."""
    for kind in ("weight", "bias"):
        name = f"{rows.module}.{kind}"
        if tensors.has(name):
            whole = tensors.get(name).clone()
            rows.of(whole).div_(scale if whole.ndim == 1 else scale[:, None])
            tensors.put(name, whole)


def smoothing(strength: float) -> Choose:
    """SmoothQuant's scales (equation 4 of arXiv 2211.10438).

    They are max \\|X_j\\|^α / max \\|W_j\\|^(1 - α). An input that is always 0 keeps
    its scale.
    """

    def choose(matrices: Sequence[torch.Tensor], inputs: Inputs) -> torch.Tensor:
        largest = torch.stack([matrix.abs().amax(0) for matrix in matrices]).amax(0)
        scale = inputs.largest.clamp(_LEAST) ** strength / largest.clamp(_LEAST) ** (1 - strength)
        return torch.where(inputs.largest > 0, scale.clamp(_LEAST), 1.0)

    return choose


def activation_aware(grid: Grid) -> Choose:
    """AWQ's scales, mean \\|x\\|^α, α searched (section 3.2 of arXiv 2306.00978).

    The loss is that of the matrices' own products with the calibration's inputs; the paper's code
    takes that of the whole block. α = 0, no scaling, is among those tried.
    """

    def choose(matrices: Sequence[torch.Tensor], inputs: Inputs) -> torch.Tensor:
        magnitude = inputs.mean_magnitude.clamp(_LEAST)
        best, least = torch.ones_like(magnitude), float("inf")
        for exponent in _EXPONENTS:
            scale = magnitude**exponent
            scale = scale / (scale.max() * scale.min()).sqrt()
            loss = sum(_loss(matrix, scale, inputs.gram, grid) for matrix in matrices)
            if loss < least:
                best, least = scale, loss
        return best

    return choose


def _loss(weight: torch.Tensor, scale: torch.Tensor, gram: torch.Tensor, grid: Grid) -> float:
    """‖X (Ŵ - W)ᵀ‖², Ŵ rounded with scaled columns."""
    error = round_to_nearest(weight * scale, grid).dense() / scale - weight
    return float(((error @ gram) * error).sum(dtype=torch.float64))
