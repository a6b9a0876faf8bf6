"""Goes through a checkpoint by a recipe, layer by layer, and writes it anew."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import torch

from joulebench_plugins.quantization.grid import Grid, Rounded, round_to_nearest
from joulebench_plugins.quantization.inputs import Inputs, gathered
from joulebench_plugins.quantization.options import BLOCK
from joulebench_plugins.quantization.recipe import Recipe
from joulebench_plugins.shared.calibration.layers import DecoderLayers, States, embed
from joulebench_plugins.shared.calibration.text import calibration_tokens
from joulebench_plugins.shared.llama.matrices import (
    EMBEDDING,
    FINAL_NORM,
    HEAD,
    INPUT_SHARED_WITH,
    LAYER_PREFIX,
    matrix_name,
)
from joulebench_plugins.shared.llama.shape import layer_shape
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
    names = {name: name for name in weights.files}
    if recipe.rotation is not None:
        # The last norm is in the head now, so that a tied one is tied no longer.
        names.setdefault(HEAD, EMBEDDING)
    untied = {"tie_word_embeddings": False} if recipe.rotation is not None else {}
    config = {**weights.config, "dtype": "float32", **untied}
    config.pop("torch_dtype", None)  # an older name of the same
    (output / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    write_checkpoint(weights, output, made.changed, names)
    if made.rounded:
        write_integers(
            output,
            recipe.technique,
            {name: matrix.stored() for name, matrix in made.rounded.items()},
            {name: _notes(matrix) for name, matrix in made.rounded.items()},
        )


def _notes(rounded: Rounded) -> Mapping[str, float]:
    """What cannot be seen any more in what is written."""
    return {
        "squared_error": _shortened(rounded.squared_error),
        "squares": _shortened(rounded.squares),
        "clipped": _shortened(rounded.clipped),
    }


def _shortened(value: float) -> float:
    """To digits that do not depend on the order of a sum."""
    return float(f"{value:.6g}")


class _Rewriting:
    """One pass. ``changed`` are the new tensors, ``rounded`` those of them that are integers."""

    def __init__(self, weights: Weights, recipe: Recipe) -> None:
        self._weights, self._recipe = weights, recipe
        self.changed: dict[str, torch.Tensor] = {}
        self.rounded: dict[str, Rounded] = {}

    def run(self) -> None:
        """The outer tensors, then layer by layer, each on what the changed ones before it give."""
        calibration = self._recipe.calibration
        # The text first: it is what is most likely refused.
        sequences = None if calibration is None else calibration_tokens(self._weights.folder, calibration)
        self._outside()
        count = layer_shape(self._weights.config).num_hidden_layers
        if sequences is None:
            for index in range(count):
                self._layer(index, {})
            return
        layers = DecoderLayers(self._weights.folder)
        states = embed(self._weights, sequences, self.changed.get(EMBEDDING))
        for index in range(count):
            states = self._calibrated(index, layers, states)

    def _outside(self) -> None:
        rotation = self._recipe.rotation
        if rotation is not None:
            table, norm = self._matrix(EMBEDDING), self._matrix(FINAL_NORM)
            tied = HEAD not in self._weights.files or bool(self._weights.config.get("tie_word_embeddings"))
            self.changed[HEAD] = rotation.head(table if tied else self._matrix(HEAD), norm)
            self.changed[EMBEDDING] = rotation.embedding(table)
            self.changed[FINAL_NORM] = torch.ones_like(norm)
        if self._recipe.embedding:
            for name in (EMBEDDING, HEAD):
                if name in self.changed or name in self._weights.files:
                    table = self.changed.get(name)
                    self._put(name, round_to_nearest(self._matrix(name) if table is None else table, _BYTES))

    def _matrix(self, name: str) -> torch.Tensor:
        return self._weights.matrix(name).float()

    def _stored(self, index: int) -> dict[str, torch.Tensor]:
        """The layer's tensors, float32, rotated if they are to be."""
        stored = {name: tensor.float() for name, tensor in self._weights.layer(index).items()}
        if self._recipe.rotation is None:
            return stored
        turned = self._recipe.rotation.layer(stored)
        self._keep(index, turned)
        return turned

    def _calibrated(self, index: int, layers: DecoderLayers, states: States) -> States:
        stored = self._stored(index)
        inputs = gathered(layers, layers.layer(index, stored), states)
        made = self._layer(index, inputs, stored)
        after = layers.run(layers.layer(index, made), states)
        layers.forget(index)
        return after

    def _layer(
        self, index: int, inputs: Mapping[str, Inputs], stored: Mapping[str, torch.Tensor] | None = None
    ) -> Mapping[str, torch.Tensor]:
        """Scale and round; returns the layer as it is written."""
        stored = self._stored(index) if stored is None else stored
        made = dict(stored)
        if self._recipe.scale is not None:
            made, inputs = self._recipe.scale(made, inputs)
            self._keep(index, {name: tensor for name, tensor in made.items() if tensor is not stored[name]})
        if self._recipe.round is not None:
            for module, shared in INPUT_SHARED_WITH.items():
                rounded = self._recipe.round(made[f"{module}.weight"], inputs.get(shared))
                made[f"{module}.weight"] = self._put(matrix_name(index, module), rounded)
        return made

    def _keep(self, index: int, tensors: Mapping[str, torch.Tensor]) -> None:
        for name, tensor in tensors.items():
            self.changed[f"{LAYER_PREFIX}{index}.{name}"] = tensor

    def _put(self, name: str, rounded: Rounded) -> torch.Tensor:
        self.rounded[name] = rounded
        self.changed[name] = rounded.dense()
        return self.changed[name]
