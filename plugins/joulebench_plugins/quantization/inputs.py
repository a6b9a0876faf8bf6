"""What calibration sees of the inputs of a block's matrices."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from joulebench_plugins.shared.calibration.blocks import Block
from joulebench_plugins.shared.decoder.model import Source


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


def gathered(block: Block) -> dict[Source, Inputs]:
    """Run the sequences through a block and sum up the inputs of each matrix; those that share them have one."""
    sums: dict[Source, Inputs] = {}

    def see(source: Source, inputs: torch.Tensor) -> None:
        seen = Inputs.of(inputs)
        if source in sums:
            sums[source].add(seen)
        else:
            sums[source] = seen

    return {source: sums[first] for source, first in block.watch(see).items()}
