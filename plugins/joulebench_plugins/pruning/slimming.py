"""Cuts MLP channels, groups of heads and layers out of a checkpoint."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch

from joulebench_plugins.pruning.target import NEEDED, smaller_config
from joulebench_plugins.shared.calibration.blocks import Block, walk
from joulebench_plugins.shared.calibration.text import Calibration, calibration_tokens
from joulebench_plugins.shared.decoder.changes import Changes
from joulebench_plugins.shared.decoder.model import Decoder, Source
from joulebench_plugins.shared.decoder.parts import BlockTensors, rows_of
from joulebench_plugins.shared.decoder.roles import layer_shape, roles_of
from joulebench_plugins.shared.llama.shape import LayerShape
from joulebench_plugins.shared.tensors.weights import Weights, write_checkpoint

#: Kinds of layers, in a configuration's ``layer_types``, whose cache holds positions.
_ATTENTION: Final = ("full_attention", "sliding_attention")


def slim(weights: Weights, output: Path, target: LayerShape, calibration: Calibration | None) -> None:
    """Write the checkpoint of shape ``target``; without ``calibration`` by the weights' norms."""
    with torch.inference_mode():
        _Slimming(weights, output, target, calibration).run()


@dataclass(frozen=True, slots=True)
class _Scores:
    """How much each MLP channel and each key/value head (with its query heads) matters."""

    channels: torch.Tensor | None
    kv_heads: torch.Tensor | None


class _Slimming:
    """One pass over the layers that stay."""

    def __init__(self, weights: Weights, output: Path, target: LayerShape, calibration: Calibration | None) -> None:
        self._weights, self._output, self._target = weights, output, target
        self._shape = layer_shape(weights.config)
        self._roles = roles_of(weights.config, NEEDED)
        self._decoder = Decoder(weights.folder, weights.files)
        self._changes = Changes(weights)
        self._sequences = None if calibration is None else calibration_tokens(weights.folder, calibration)
        #: The source's name of each tensor that is written.
        self._names: dict[str, str] = {}

    def run(self) -> None:
        """Choose the layers, cut them one after another, and write what is left."""
        kept = self._kept_layers()
        config = smaller_config(self._weights.config, self._target, kept)
        (self._output / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        self._names = self._decoder.renumbered({layer: place for place, layer in enumerate(kept)})
        smaller = Decoder(self._output, self._names)  # transformers takes that configuration, or says why not
        if self._sequences is None:
            for layer in kept:
                self._cut(layer, self._by_norms(layer))
        else:
            for block in walk(smaller, self._sequences, self._read, str(self._output)):
                layer = kept[block.index]
                self._cut(layer, self._by_activations(Block(self._decoder, layer, block.calls, self._changes.read)))
        changed = {
            name: self._changes.tensors[old] for name, old in self._names.items() if old in self._changes.tensors
        }
        write_checkpoint(self._weights, self._output, changed, self._names)

    def _read(self, name: str) -> torch.Tensor:
        return self._changes.read(self._names[name])

    def _kept_layers(self) -> list[int]:
        """Places of the layers that stay, in order."""
        everything = range(self._shape.num_hidden_layers)
        if self._target.num_hidden_layers == len(everything):
            return list(everything)
        if self._sequences is None:
            influences = [self._norm(layer) for layer in everything]
        else:
            walked = walk(self._decoder, self._sequences, self._changes.read, str(self._weights.folder))
            influences = [block.influence() for block in walked]
        kept = [int(place) for place in _largest(torch.tensor(influences), self._target.num_hidden_layers)]
        return self._with_attention(kept, influences)

    def _with_attention(self, kept: list[int], scores: Sequence[float]) -> list[int]:
        """The same with one layer of attention if the model had some: transformers counts positions by its cache."""
        kinds = self._weights.config.get("layer_types") or []
        attending = [layer for layer, kind in enumerate(kinds) if kind in _ATTENTION]
        if not attending or set(kept) & set(attending):
            return kept
        best, least = max(attending, key=scores.__getitem__), min(kept, key=scores.__getitem__)
        return sorted({*kept, best} - {least})

    def _norm(self, layer: int) -> float:
        linears = [linear for linear in self._decoder.linears if linear.block == layer]
        return sum(float(self._changes.matrix(linear).float().square().sum()) for linear in linears)

    def _block(self, layer: int) -> BlockTensors:
        return BlockTensors(self._decoder, self._changes, layer)

    def _by_norms(self, layer: int) -> _Scores:
        """Sums of squares of the weights that go with a channel or a head."""
        tensors, roles = self._block(layer), self._roles

        def squares(roles_of_rows: Sequence[str], output: str, groups: int) -> torch.Tensor | None:
            if not tensors.there([output]):
                return None
            total = tensors.get(f"{output}.weight").square().sum(0).view(groups, -1).sum(1)
            for role in roles_of_rows:
                if getattr(roles, role):
                    rows = rows_of(roles, self._shape, role)
                    matrix = rows.of(tensors.get(f"{rows.module}.weight"))
                    total = total + matrix.square().sum(1).view(groups, -1).sum(1)
            return total

        return _Scores(
            squares(("gate", "up"), roles.down, self._shape.intermediate_size),
            squares(("query", "key", "value"), roles.output, self._shape.num_key_value_heads),
        )

    def _by_activations(self, block: Block) -> _Scores:
        """Σ ‖x_j‖² · ‖W[:, j]‖² over the columns that a channel or a head feeds."""
        squares: dict[Source, torch.Tensor] = {}

        def see(source: Source, inputs: torch.Tensor) -> None:
            squares[source] = squares.get(source, torch.zeros(())) + inputs.square().sum(0)

        shared, tensors = block.watch(see), self._block(block.index)

        def added(module: str, groups: int) -> torch.Tensor | None:
            if not tensors.there([module]):
                return None
            columns = tensors.get(f"{module}.weight").square().sum(0)
            return (squares[shared[tensors.linears[module].source]] * columns).view(groups, -1).sum(1)

        return _Scores(
            added(self._roles.down, self._shape.intermediate_size),
            added(self._roles.output, self._shape.num_key_value_heads),
        )

    def _cut(self, layer: int, scores: _Scores) -> None:
        """Take the rows and columns of what goes out of the layer's tensors. Biases go with their rows."""
        shape, target = self._shape, self._target
        if target.intermediate_size < shape.intermediate_size and scores.channels is not None:
            channels = _largest(scores.channels, target.intermediate_size)
            self._keep(layer, {"gate": channels, "up": channels}, self._roles.down, channels)
        if target.num_key_value_heads < shape.num_key_value_heads and scores.kv_heads is not None:
            heads = _largest(scores.kv_heads, target.num_key_value_heads)
            keys = _spread(heads, shape.head_dim)
            queries = _spread(heads, shape.group * shape.head_dim)
            self._keep(layer, {"query": queries, "key": keys, "value": keys}, self._roles.output, queries)

    def _keep(self, layer: int, rows: Mapping[str, torch.Tensor], output: str, columns: torch.Tensor) -> None:
        """Keep these rows of each role, and these columns of what they feed."""
        tensors = self._block(layer)
        by_module: dict[str, list[torch.Tensor]] = {}
        for role, places in rows.items():
            if getattr(self._roles, role):
                whole = rows_of(self._roles, self._shape, role)
                by_module.setdefault(whole.module, []).append(places + (whole.start or 0))
        for module, parts in by_module.items():
            for kind in ("weight", "bias"):
                if tensors.has(f"{module}.{kind}"):
                    tensors.cut(f"{module}.{kind}", 0, torch.cat(parts))
        tensors.cut(f"{output}.weight", 1, columns)


def _largest(scores: torch.Tensor, count: int) -> torch.Tensor:
    """Places of the ``count`` largest, in order; of equals the first stay."""
    return scores.argsort(descending=True, stable=True)[:count].sort().values


def _spread(blocks: torch.Tensor, size: int) -> torch.Tensor:
    """The places inside of blocks of ``size`` neighbours."""
    return (blocks[:, None] * size + torch.arange(size)).flatten()
