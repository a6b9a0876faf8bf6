"""What calibration sees of the inputs of a layer's matrices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import torch

from joulebench_plugins.shared.calibration.layers import DecoderLayers, States
from joulebench_plugins.shared.llama.matrices import INPUT_SHARED_WITH

#: Inputs by the module that they are shared with.
LayerInputs: TypeAlias = Mapping[str, "Inputs"]


@dataclass(slots=True)
class Inputs:
    """Sums over all tokens of one matrix's inputs, each (inputs,) but ``gram``."""

    count: int
    magnitudes: torch.Tensor
    largest: torch.Tensor
    #: XᵀX, (inputs, inputs).
    gram: torch.Tensor

    @classmethod
    def of(cls, states: torch.Tensor) -> Inputs:
        """Of some tokens, (tokens, inputs)."""
        sizes = states.abs()
        return cls(len(states), sizes.sum(0), sizes.amax(0), states.T @ states)

    @property
    def mean_magnitude(self) -> torch.Tensor:
        """Mean of \\|x\\| over the tokens."""
        return self.magnitudes / self.count

    def add(self, other: Inputs) -> None:
        """Take further tokens in."""
        self.count += other.count
        self.magnitudes += other.magnitudes
        self.largest = torch.maximum(self.largest, other.largest)
        self.gram += other.gram

    def divided(self, scale: torch.Tensor) -> Inputs:
        """The same with each input divided by its positive ``scale``, (inputs,)."""
        return Inputs(self.count, self.magnitudes / scale, self.largest / scale, self.gram / scale / scale[:, None])


def gathered(layers: DecoderLayers, layer: torch.nn.Module, states: States) -> dict[str, Inputs]:
    """Run the states through a layer and sum up each distinct input of its matrices."""
    sums: dict[str, Inputs] = {}

    def see(name: str, inputs: torch.Tensor) -> None:
        seen = Inputs.of(inputs)
        if name in sums:
            sums[name].add(seen)
        else:
            sums[name] = seen

    layers.watch(layer, states, dict.fromkeys(INPUT_SHARED_WITH.values()), see)
    return sums
