"""Goes through a checkpoint's matrices and writes it anew with zeros in them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from joulebench_plugins.pruning.masks import Pattern, keep_in_matrix, keep_in_rows, keep_pattern
from joulebench_plugins.pruning.sparsegpt import prune_and_correct
from joulebench_plugins.shared.calibration.layers import DecoderLayers, States, embed
from joulebench_plugins.shared.calibration.text import Calibration, calibration_tokens
from joulebench_plugins.shared.llama.matrices import INPUT_SHARED_WITH, matrix_name
from joulebench_plugins.shared.llama.shape import layer_shape
from joulebench_plugins.shared.tensors.weights import Weights, write_checkpoint

#: Adds a batch of inputs, (tokens, features), to what was gathered of earlier ones.
Gather = Callable[[torch.Tensor], torch.Tensor]
#: Makes a pruned matrix of a matrix and what was gathered of its inputs, all float32.
Prune = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def prune_by_magnitude(source: Path, output: Path, sparsity: float, pattern: Pattern) -> None:
    """Zero the smallest weights of each matrix, or of each group of the pattern."""
    weights = Weights(source)
    changed: dict[str, torch.Tensor] = {}
    for layer in range(layer_shape(weights.config).num_hidden_layers):
        for module in INPUT_SHARED_WITH:
            name = matrix_name(layer, module)
            matrix = weights.matrix(name)
            scores = matrix.float().abs()
            keep = keep_in_matrix(scores, sparsity) if pattern is None else keep_pattern(scores, pattern)
            changed[name] = matrix.masked_fill(~keep, 0)
    write_checkpoint(weights, output, changed)


def prune_by_wanda(source: Path, output: Path, calibration: Calibration, sparsity: float, pattern: Pattern) -> None:
    """Zero the weights with the least \\|weight\\| · ‖input‖₂ in each row or group."""

    def prune(matrix: torch.Tensor, squares: torch.Tensor) -> torch.Tensor:
        scores = matrix.abs() * squares.sqrt()
        keep = keep_in_rows(scores, sparsity) if pattern is None else keep_pattern(scores, pattern)
        return matrix.masked_fill(~keep, 0)

    _prune_layers(source, output, calibration, lambda inputs: inputs.square().sum(0), prune)


def prune_by_sparsegpt(
    source: Path, output: Path, calibration: Calibration, sparsity: float, pattern: Pattern, damping: float
) -> None:
    """Zero weights by SparseGPT and correct the others."""

    def prune(matrix: torch.Tensor, gram: torch.Tensor) -> torch.Tensor:
        return prune_and_correct(matrix, gram, sparsity, pattern, damping)

    _prune_layers(source, output, calibration, lambda inputs: inputs.T @ inputs, prune)


def _prune_layers(source: Path, output: Path, calibration: Calibration, gather: Gather, prune: Prune) -> None:
    """Prune layer by layer; a layer's inputs are those that the pruned layers before it give."""
    weights = Weights(source)
    sequences = calibration_tokens(source, calibration)
    with torch.inference_mode():
        changed = _pruned_layers(weights, sequences, gather, prune)
    write_checkpoint(weights, output, changed)


def _pruned_layers(
    weights: Weights, sequences: Sequence[Sequence[int]], gather: Gather, prune: Prune
) -> dict[str, torch.Tensor]:
    layers = DecoderLayers(weights.folder)
    states = embed(weights, sequences)
    changed: dict[str, torch.Tensor] = {}
    for index in range(layer_shape(weights.config).num_hidden_layers):
        stored = weights.layer(index)
        layer = layers.layer(index, stored)
        gathered = _gathered(layers, layer, states, gather)
        for module, shared in INPUT_SHARED_WITH.items():
            linear = layer.get_submodule(module)
            pruned = prune(linear.weight, gathered[shared]).to(stored[f"{module}.weight"].dtype)
            changed[matrix_name(index, module)] = pruned
            linear.weight.copy_(pruned)  # rounded to what the file holds
        states = layers.run(layer, states)
        layers.forget(index)
    return changed


def _gathered(layers: DecoderLayers, layer: torch.nn.Module, states: States, gather: Gather) -> dict[str, torch.Tensor]:
    """What is gathered of each distinct input of the layer's matrices, over all sequences."""
    grams: dict[str, torch.Tensor] = {}

    def see(name: str, inputs: torch.Tensor) -> None:
        grams[name] = grams[name] + gather(inputs) if name in grams else gather(inputs)

    layers.watch(layer, states, set(INPUT_SHARED_WITH.values()), see)
    return grams
