"""Cuts MLP channels, groups of heads and layers out of a checkpoint."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from joulebench_plugins.pruning.target import smaller_config
from joulebench_plugins.shared.calibration.layers import DecoderLayers, States, embed
from joulebench_plugins.shared.calibration.text import Calibration, calibration_tokens
from joulebench_plugins.shared.llama.matrices import INPUT_SHARED_WITH, LAYER_PREFIX
from joulebench_plugins.shared.llama.shape import LayerShape, layer_shape
from joulebench_plugins.shared.tensors.weights import Weights, write_checkpoint

#: A layer's tensors by their names inside of it.
Tensors = Mapping[str, torch.Tensor]
_ATTENTION_OUT, _MLP_OUT = "self_attn.o_proj", "mlp.down_proj"


def slim(weights: Weights, output: Path, target: LayerShape, calibration: Calibration | None) -> None:
    """Write the checkpoint of shape ``target``; without ``calibration`` by the weights' norms."""
    with torch.inference_mode():
        _slim(weights, output, target, calibration)


def _slim(weights: Weights, output: Path, target: LayerShape, calibration: Calibration | None) -> None:
    shape = layer_shape(weights.config)
    activations = None if calibration is None else _Activations(weights, calibration)
    kept = _kept_layers(weights, shape, target, activations)
    config = smaller_config(weights.config, target, kept)
    (output / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    smaller = DecoderLayers(output)  # transformers takes that configuration, or says why not
    names = {name: name for name in weights.files if not name.startswith(LAYER_PREFIX)}
    changed: dict[str, torch.Tensor] = {}
    for place, index in enumerate(kept):
        stored = weights.layer(index)
        score = _by_norms(stored, shape) if activations is None else activations.scores(index, stored, shape)
        cut = _cut(stored, score, shape, target)
        for name, tensor in cut.items():
            whole = f"{LAYER_PREFIX}{place}.{name}"
            names[whole] = f"{LAYER_PREFIX}{index}.{name}"
            changed[whole] = tensor
        if activations is not None:
            layer = smaller.layer(place, cut)
            activations.states = smaller.run(layer, activations.states)
            smaller.forget(place)
    write_checkpoint(weights, output, changed, names)


@dataclass(frozen=True, slots=True)
class _Scores:
    """How much each MLP channel and each key/value head (with its query heads) matters."""

    channels: torch.Tensor
    kv_heads: torch.Tensor


class _Activations:
    """Scores from the states that the calibration has at a layer of the pruned model."""

    def __init__(self, weights: Weights, calibration: Calibration) -> None:
        self._layers = DecoderLayers(weights.folder)
        self._weights = weights
        self._first = embed(weights, calibration_tokens(weights.folder, calibration))
        self.states: States = self._first

    def scores(self, index: int, stored: Tensors, shape: LayerShape) -> _Scores:
        """Σ ‖x_j‖² · ‖W[:, j]‖² over the columns that a channel or a head feeds."""
        squares: dict[str, torch.Tensor] = {}

        def see(name: str, inputs: torch.Tensor) -> None:
            squares[name] = squares.get(name, torch.zeros(())) + inputs.square().sum(0)

        layer = self._layers.layer(index, stored)
        self._layers.watch(layer, self.states, (_ATTENTION_OUT, _MLP_OUT), see)
        added = {name: squares[name] * layer.get_submodule(name).weight.square().sum(0) for name in squares}
        self._layers.forget(index)
        heads = added[_ATTENTION_OUT].view(shape.num_key_value_heads, -1).sum(1)
        return _Scores(added[_MLP_OUT], heads)

    def influences(self, layers: int) -> list[float]:
        """Block Influence of each layer of the whole model: 1 - mean cosine of a token's states."""
        states = self._first
        influences: list[float] = []
        for index in range(layers):
            after = self._layers.run(self._layers.layer(index, self._weights.layer(index)), states)
            pairs = zip(states, after, strict=True)
            cosines = torch.cat([torch.cosine_similarity(*pair, dim=-1)[0] for pair in pairs])
            influences.append(1 - float(cosines.mean()))
            self._layers.forget(index)
            states = after
        return influences


def _by_norms(stored: Tensors, shape: LayerShape) -> _Scores:
    """Sums of squares of the weights that go with a channel or a head."""

    def squares(module: str, dim: int) -> torch.Tensor:
        return stored[f"{module}.weight"].float().square().sum(dim)

    channels = squares("mlp.gate_proj", 1) + squares("mlp.up_proj", 1) + squares(_MLP_OUT, 0)
    count = shape.num_key_value_heads
    heads = sum(
        squares(module, dim).view(count, -1).sum(1)
        for module, dim in (
            ("self_attn.q_proj", 1),
            ("self_attn.k_proj", 1),
            ("self_attn.v_proj", 1),
            (_ATTENTION_OUT, 0),
        )
    )
    return _Scores(channels, heads)


def _kept_layers(
    weights: Weights, shape: LayerShape, target: LayerShape, activations: _Activations | None
) -> list[int]:
    """Places of the layers that stay, in order."""
    everything = range(shape.num_hidden_layers)
    if target.num_hidden_layers == shape.num_hidden_layers:
        return list(everything)
    if activations is not None:
        influences = torch.tensor(activations.influences(shape.num_hidden_layers))
    else:
        influences = torch.tensor([_norm(weights.layer(index)) for index in everything])
    return [int(place) for place in _largest(influences, target.num_hidden_layers)]


def _norm(stored: Tensors) -> float:
    return sum(float(stored[f"{name}.weight"].float().square().sum()) for name in INPUT_SHARED_WITH)


def _largest(scores: torch.Tensor, count: int) -> torch.Tensor:
    """Places of the ``count`` largest, in order; of equals the first stay."""
    return scores.argsort(descending=True, stable=True)[:count].sort().values


def _cut(stored: Tensors, scores: _Scores, shape: LayerShape, target: LayerShape) -> dict[str, torch.Tensor]:
    """The layer's tensors without the rows and columns of what goes. Biases go with their rows."""
    channels = _largest(scores.channels, target.intermediate_size)
    heads = _largest(scores.kv_heads, target.num_key_value_heads)
    keys = _spread(heads, shape.head_dim)
    queries = _spread(heads, shape.group * shape.head_dim)
    rows = {
        "self_attn.q_proj": queries,
        "self_attn.k_proj": keys,
        "self_attn.v_proj": keys,
        "mlp.gate_proj": channels,
        "mlp.up_proj": channels,
    }
    columns = {_ATTENTION_OUT: queries, _MLP_OUT: channels}
    cut: dict[str, torch.Tensor] = {}
    for name, tensor in stored.items():
        module, _, kind = name.rpartition(".")
        if module in rows:
            cut[name] = tensor.index_select(0, rows[module])
        elif module in columns and kind == "weight":
            cut[name] = tensor.index_select(1, columns[module])
        else:
            cut[name] = tensor
    return cut


def _spread(blocks: torch.Tensor, size: int) -> torch.Tensor:
    """The places inside of blocks of ``size`` neighbours."""
    return (blocks[:, None] * size + torch.arange(size)).flatten()
