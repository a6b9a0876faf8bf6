"""Scales of input channels, folded into what feeds them: the layer computes the same.

A matrix sees x / s where it saw x, and its columns are multiplied by s. The division is folded
into the rows of what gives x: a norm's weight, the values' projection (attention is linear in its
values), the MLP's ``up`` projection (the product with the gate is linear in it).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

import torch

from joulebench_plugins.quantization.grid import Grid, round_to_nearest
from joulebench_plugins.quantization.inputs import Inputs, LayerInputs
from joulebench_plugins.shared.llama.matrices import INPUT_SHARED_WITH
from joulebench_plugins.shared.llama.shape import LayerShape

#: A layer's tensors by their names inside of it, float32.
Tensors: TypeAlias = Mapping[str, torch.Tensor]
#: Gives scales for the inputs of some matrices that share them.
Choose: TypeAlias = Callable[[Sequence[torch.Tensor], Inputs], torch.Tensor]

#: What gives each distinct input of a layer's matrices.
_SOURCES: Final[Mapping[str, str]] = {
    "self_attn.q_proj": "input_layernorm",
    "self_attn.o_proj": "self_attn.v_proj",
    "mlp.gate_proj": "post_attention_layernorm",
    "mlp.down_proj": "mlp.up_proj",
}
_NORMS: Final = ("input_layernorm", "post_attention_layernorm")
#: Exponents that AWQ tries: the paper's grid of 20.
_EXPONENTS: Final = tuple(step / 20 for step in range(20))
_LEAST: Final = 1e-5


@dataclass(frozen=True, slots=True)
class Scaling:
    """Chooses scales and folds them; ``everywhere`` or only where a norm feeds the matrices."""

    shape: LayerShape
    choose: Choose
    everywhere: bool

    def __call__(self, tensors: Tensors, inputs: LayerInputs) -> tuple[dict[str, torch.Tensor], dict[str, Inputs]]:
        """The layer that computes the same, and what its matrices' inputs are then."""
        made, seen = dict(tensors), dict(inputs)
        for shared, source in _SOURCES.items():
            if source not in _NORMS and not self.everywhere:
                continue
            fed = [name for name, first in INPUT_SHARED_WITH.items() if first == shared]
            matrices = [made[f"{name}.weight"] for name in fed]
            if source == "self_attn.v_proj":
                row_scale, scale = self._of_values(matrices, seen[shared])
            else:
                row_scale = scale = self.choose(matrices, seen[shared])
            for kind in ("weight", "bias"):
                whole = f"{source}.{kind}"
                if whole in made:
                    rows = made[whole]
                    made[whole] = rows / (row_scale if rows.ndim == 1 else row_scale[:, None])
            for name in fed:
                made[f"{name}.weight"] = made[f"{name}.weight"] * scale
            seen[shared] = seen[shared].divided(scale)
        return made, seen

    def _of_values(self, matrices: Sequence[torch.Tensor], inputs: Inputs) -> tuple[torch.Tensor, torch.Tensor]:
        """(scale of each row of the values' projection, the same for each column of the output's).

        Query heads that share a key/value head share its scales: chosen for their mean inputs.
        """
        heads = (self.shape.num_key_value_heads, self.shape.group, -1)
        mean = inputs.magnitudes.view(heads).mean(1, keepdim=True)
        alike = replace(inputs, magnitudes=mean.expand(heads[0], heads[1], -1).flatten())
        own = self.choose(matrices, alike).view(heads)
        shared = own.log().mean(1, keepdim=True).exp()
        return shared.flatten(), shared.expand_as(own).flatten()


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
