"""Goes through a checkpoint by a recipe, block by block, and writes it anew."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import torch

from joulebench.errors import ArtifactError
from joulebench_plugins.quantization.grid import Grid, Rounded, joined, round_to_nearest
from joulebench_plugins.quantization.inputs import Inputs, gathered
from joulebench_plugins.quantization.options import BLOCK
from joulebench_plugins.quantization.recipe import Recipe
from joulebench_plugins.quantization.rotation import Rotation
from joulebench_plugins.shared.calibration.blocks import walk
from joulebench_plugins.shared.calibration.text import calibration_tokens
from joulebench_plugins.shared.decoder.changes import Changes
from joulebench_plugins.shared.decoder.model import Decoder, Linear, Source
from joulebench_plugins.shared.decoder.parts import BlockTensors
from joulebench_plugins.shared.tensors.integers import write_integers
from joulebench_plugins.shared.tensors.weights import Weights, write_checkpoint

#: For the embedding and the head.
_BYTES: Final = Grid(8, BLOCK)


def rewrite(source: Path, output: Path, recipe: Recipe) -> None:
    """Write the checkpoint that the recipe makes of ``source``.

    What is changed is float32, so that the numbers are exactly those of their integers; what is
    not changed keeps its number type. Raises ModelError or ArtifactError.
    """
    weights = Weights(source)
    with torch.inference_mode():
        made = _Rewriting(weights, recipe)
        made.run()
    names = {name: name for name in weights.files} | made.untied
    untied = {"tie_word_embeddings": False} if recipe.rotation is not None else {}
    config = {**weights.config, "dtype": "float32", **untied}
    config.pop("torch_dtype", None)  # an older name of the same
    (output / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    write_checkpoint(weights, output, made.changes.tensors, names)
    if made.rounded:
        whole = {name: joined(matrices) for name, matrices in made.rounded.items()}
        write_integers(
            output,
            recipe.technique,
            {name: matrix.stored() for name, matrix in whole.items()},
            {name: _notes(matrix, name in made.transposed) for name, matrix in whole.items()},
        )


def _notes(rounded: Rounded, transposed: bool) -> Mapping[str, float]:
    """What cannot be seen any more in what is written."""
    return {
        "squared_error": _shortened(rounded.squared_error),
        "squares": _shortened(rounded.squares),
        "clipped": _shortened(rounded.clipped),
        **({"transposed": True} if transposed else {}),
    }


def _shortened(value: float) -> float:
    """To digits that do not depend on the order of a sum."""
    return float(f"{value:.6g}")


class _Rewriting:
    """One pass. ``changes`` are the new tensors, ``rounded`` the matrices in those of them that are integers."""

    def __init__(self, weights: Weights, recipe: Recipe) -> None:
        self._recipe = recipe
        self._folder = weights.folder
        self._decoder = Decoder(weights.folder, weights.files)
        self.changes = Changes(weights)
        self.rounded: dict[str, list[Rounded]] = {}
        #: Tensors whose integers are (outputs, inputs) though they are stored as (inputs, outputs).
        self.transposed: set[str] = set()
        #: The name of a head that has become a tensor of its own, and the embedding's.
        self.untied: dict[str, str] = {}

    def run(self) -> None:
        """The outer tensors, then block by block, each on what the changed ones before it give."""
        calibration = self._recipe.calibration
        # The text first: it is what is most likely refused.
        sequences = None if calibration is None else calibration_tokens(self._folder, calibration)
        self._outside()
        if sequences is None:
            for block in range(len(self._decoder.blocks)):
                self._round(block, {})
        else:
            for running in walk(self._decoder, sequences, self.changes.read, str(self._folder)):
                inputs = gathered(running)
                if self._recipe.scale is not None:
                    self._recipe.scale(self._block(running.index), inputs)
                self._round(running.index, inputs)
        if self._recipe.round is not None and not self.rounded:
            raise ArtifactError(
                f"has no linear layers that groups of {self._recipe.group} divide", where=str(self._folder)
            )

    def _outside(self) -> None:
        embedding, head = self._decoder.embedding, self._decoder.head
        if self._recipe.rotation is not None:
            self._rotate(self._recipe.rotation, embedding, head)
        if self._recipe.embedding:
            for name in dict.fromkeys((embedding, head, *self.untied)):
                if name is not None:
                    rounded = round_to_nearest(self.changes.read(name).float(), _BYTES)
                    self.changes.tensors[name] = rounded.dense()
                    self.rounded[name] = [rounded]

    def _rotate(self, rotation: Rotation, embedding: str, head: str | None) -> None:
        table = self.changes.weights.matrix(embedding).float()
        norm = self._decoder.required(f"{rotation.final_norm}.weight")
        scale = self.changes.read(norm).float()
        if head is None or self.changes.weights.config.get("tie_word_embeddings"):
            # The last norm is in the head now, so that a tied one is tied no longer.
            head = head or self._decoder.head_parameter
            self.untied = {head: embedding}
            turned = rotation.head(table, scale)
        else:
            turned = rotation.head(self.changes.weights.matrix(head).float(), scale)
        self.changes.tensors |= {
            head: turned,
            embedding: rotation.embedding(table),
            norm: torch.full_like(scale, rotation.neutral),
        }
        for block in range(len(self._decoder.blocks)):
            rotation.block(self._block(block))

    def _block(self, block: int) -> BlockTensors:
        return BlockTensors(self._decoder, self.changes, block)

    def _round(self, block: int, inputs: Mapping[Source, Inputs]) -> None:
        if self._recipe.round is None:
            return
        for linear in self._decoder.linears:
            if linear.block == block:
                matrix = self.changes.matrix(linear).float().contiguous()
                if self._recipe.group == 0 or matrix.shape[1] % self._recipe.group == 0:
                    self._put(linear, self._recipe.round(matrix, inputs.get(linear.source)))

    def _put(self, linear: Linear, rounded: Rounded) -> None:
        self.rounded.setdefault(linear.tensor, []).append(rounded)
        self.changes.put(linear, rounded.dense())
        if linear.transposed:
            self.transposed.add(linear.tensor)
