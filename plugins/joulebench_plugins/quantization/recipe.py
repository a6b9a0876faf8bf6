"""What a technique does to a checkpoint, put together from its parts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch

from joulebench_plugins.quantization.gptq import round_and_correct
from joulebench_plugins.quantization.grid import Grid, Rounded, round_to_nearest
from joulebench_plugins.quantization.inputs import Inputs
from joulebench_plugins.quantization.rotation import Rotation
from joulebench_plugins.shared.calibration.text import Calibration
from joulebench_plugins.shared.decoder.model import Source
from joulebench_plugins.shared.decoder.parts import BlockTensors

#: Rounds a float32 matrix, by what calibration saw of its inputs if there was one.
Round: TypeAlias = Callable[[torch.Tensor, "Inputs | None"], Rounded]
#: Makes of a block one that computes the same, and of its matrices' inputs what they are then.
Scale: TypeAlias = Callable[[BlockTensors, dict[Source, Inputs]], None]


@dataclass(frozen=True, slots=True)
class Recipe:
    """Steps in this order: rotate, calibrate, scale, round. ``None`` leaves one out."""

    technique: str
    rotation: Rotation | None = None
    calibration: Calibration | None = None
    scale: Scale | None = None
    round: Round | None = None
    #: Columns that share a scale; matrices that they do not divide are left as they are.
    group: int = 0
    #: Whether the embedding and the output head are rounded to 8 bits in groups of 32.
    embedding: bool = False


def by_nearest(grid: Grid) -> Round:
    """Round to nearest; with ``grid.search`` by the products' error where inputs are known."""

    def rounded(weight: torch.Tensor, inputs: Inputs | None) -> Rounded:
        return round_to_nearest(weight, grid, None if inputs is None else inputs.gram)

    return rounded


def by_gptq(grid: Grid, damping: float, act_order: bool) -> Round:
    """Round with GPTQ's corrections; a matrix whose inputs were not seen by its weights alone."""

    def rounded(weight: torch.Tensor, inputs: Inputs | None) -> Rounded:
        gram = torch.eye(weight.shape[1]) if inputs is None else inputs.gram
        return round_and_correct(weight, gram, grid, damping, act_order)

    return rounded
