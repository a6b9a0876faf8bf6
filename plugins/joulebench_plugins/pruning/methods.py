"""Goes through a checkpoint's linear layers and writes it anew with zeros in them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from joulebench.errors import ArtifactError
from joulebench_plugins.pruning.masks import keep_in_matrix, keep_in_rows, keep_pattern
from joulebench_plugins.pruning.options import Pattern, divides
from joulebench_plugins.pruning.sparsegpt import prune_and_correct
from joulebench_plugins.shared.calibration.blocks import Block, walk
from joulebench_plugins.shared.calibration.text import Calibration, calibration_tokens
from joulebench_plugins.shared.decoder.changes import Changes
from joulebench_plugins.shared.decoder.model import Decoder, Linear, Source
from joulebench_plugins.shared.tensors.weights import Weights, write_checkpoint

#: Adds a batch of inputs, (tokens, features), to what was gathered of earlier ones.
Gather = Callable[[torch.Tensor], torch.Tensor]
#: Makes a pruned matrix of a matrix and what was gathered of its inputs, all float32.
Prune = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def prune_by_magnitude(source: Path, output: Path, sparsity: float, pattern: Pattern) -> None:
    """Zero the smallest weights of each matrix, or of each group of the pattern."""
    weights = Weights(source)
    changes = Changes(weights)
    for linear in prunable(Decoder(source, weights.files), weights, pattern):
        matrix = changes.matrix(linear)
        scores = matrix.float().abs()
        keep = keep_in_matrix(scores, sparsity) if pattern is None else keep_pattern(scores, pattern)
        changes.put(linear, matrix.masked_fill(~keep, 0))
    write_checkpoint(weights, output, changes.tensors)


def prune_by_wanda(source: Path, output: Path, calibration: Calibration, sparsity: float, pattern: Pattern) -> None:
    """Zero the weights with the least \\|weight\\| · ‖input‖₂ in each row or group."""

    def prune(matrix: torch.Tensor, squares: torch.Tensor) -> torch.Tensor:
        scores = matrix.abs() * squares.sqrt()
        keep = keep_in_rows(scores, sparsity) if pattern is None else keep_pattern(scores, pattern)
        return matrix.masked_fill(~keep, 0)

    _prune_blocks(source, output, calibration, pattern, lambda inputs: inputs.square().sum(0), prune)


def prune_by_sparsegpt(
    source: Path, output: Path, calibration: Calibration, sparsity: float, pattern: Pattern, damping: float
) -> None:
    """Zero weights by SparseGPT and correct the others."""

    def prune(matrix: torch.Tensor, gram: torch.Tensor) -> torch.Tensor:
        return prune_and_correct(matrix, gram, sparsity, pattern, damping)

    _prune_blocks(source, output, calibration, pattern, lambda inputs: inputs.T @ inputs, prune)


def prunable(decoder: Decoder, weights: Weights, pattern: Pattern) -> list[Linear]:
    """The linear layers that the pattern's groups divide. Raises :class:`ArtifactError` where there are none."""
    linears = [linear for linear in decoder.linears if divides(pattern, linear.columns(weights.shape(linear.tensor)))]
    if not linears:
        raise ArtifactError("has no linear layers that can be pruned so", where=str(weights.folder))
    return linears


def _prune_blocks(
    source: Path, output: Path, calibration: Calibration, pattern: Pattern, gather: Gather, prune: Prune
) -> None:
    """Prune block by block; a block's inputs are those that the pruned blocks before it give."""
    weights = Weights(source)
    sequences = calibration_tokens(source, calibration)
    decoder = Decoder(source, weights.files)
    linears = set(prunable(decoder, weights, pattern))
    changes = Changes(weights)
    with torch.inference_mode():
        for block in walk(decoder, sequences, changes.read, str(source)):
            _prune_block(block, [linear for linear in block.linears if linear in linears], changes, gather, prune)
    write_checkpoint(weights, output, changes.tensors)


def _prune_block(block: Block, linears: Sequence[Linear], changes: Changes, gather: Gather, prune: Prune) -> None:
    gathered: dict[Source, torch.Tensor] = {}

    def see(source: Source, inputs: torch.Tensor) -> None:
        part = gather(inputs)
        gathered[source] = gathered[source] + part if source in gathered else part

    shared = block.watch(see)
    for linear in linears:
        matrix = changes.matrix(linear)
        # An expert that no token came to is judged by its weights alone.
        seen = gathered[shared[linear.source]] if linear.source in shared else gather(torch.eye(matrix.shape[1]))
        changes.put(linear, prune(matrix.float().contiguous(), seen).to(matrix.dtype))
