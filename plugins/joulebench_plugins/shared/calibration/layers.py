"""Runs calibration through the decoder layers, one layer in memory at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import torch

from joulebench.errors import ModelError
from joulebench_plugins.shared.llama.matrices import EMBEDDING
from joulebench_plugins.shared.tensors.weights import Weights

#: Hidden states of each sequence, (1, tokens, hidden size), float32.
States = list[torch.Tensor]


class DecoderLayers:
    """The layers of the model that a folder's ``config.json`` describes, in float32.

    Their code is transformers' own; their weights are put in when a layer is asked for and go with
    it.
    """

    def __init__(self, folder: Path) -> None:
        from transformers import AutoConfig, AutoModelForCausalLM

        try:
            config = AutoConfig.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
            # Without a mask this attention is causal; the sequences have no padding.
            config._attn_implementation = "sdpa"
            with torch.device("meta"):
                model = AutoModelForCausalLM.from_config(config, dtype=torch.float32, trust_remote_code=False)
        except (OSError, ValueError, KeyError) as error:
            raise ModelError(f"transformers does not take it: {error}", where=str(folder / "config.json")) from None
        self._folder = folder
        self._layers = model.model.layers
        self._rotary = type(model.model.rotary_emb)(config)

    def layer(self, index: int, tensors: Mapping[str, torch.Tensor]) -> torch.nn.Module:
        """A layer with these weights, by their names inside of it."""
        module = self._layers[index]
        whole = {name: tensor.float() for name, tensor in tensors.items()}
        try:
            module.load_state_dict(whole, strict=True, assign=True)
        except RuntimeError as error:
            raise ModelError(f"layer {index}: {error}", where=str(self._folder)) from None
        return module

    def forget(self, index: int) -> None:
        """Free a layer's weights."""
        self._layers[index].to("meta")

    def run(self, layer: torch.nn.Module, states: States) -> States:
        """What the layer makes of each sequence."""
        return [self._step(layer, state) for state in states]

    def _step(self, layer: torch.nn.Module, state: torch.Tensor) -> torch.Tensor:
        positions = torch.arange(state.shape[1])[None]
        return layer(
            state, attention_mask=None, position_ids=positions, position_embeddings=self._rotary(state, positions)
        )

    def watch(
        self, layer: torch.nn.Module, states: States, modules: Iterable[str], see: Callable[[str, torch.Tensor], None]
    ) -> States:
        """Run the sequences and show each of ``modules``' inputs, (tokens, features)."""

        def shower(name: str) -> Callable[[torch.nn.Module, tuple[torch.Tensor, ...]], None]:
            return lambda _, inputs: see(name, inputs[0].reshape(-1, inputs[0].shape[-1]))

        hooks = [layer.get_submodule(name).register_forward_pre_hook(shower(name)) for name in modules]
        try:
            return self.run(layer, states)
        finally:
            for hook in hooks:
                hook.remove()


def embed(weights: Weights, sequences: Sequence[Sequence[int]], table: torch.Tensor | None = None) -> States:
    """The states before the first layer, by the checkpoint's embedding or another ``table``."""
    if table is None:
        table = weights.matrix(EMBEDDING)
    largest = max(max(sequence) for sequence in sequences)
    if largest >= len(table):
        raise ModelError(
            f"its tokenizer gives the id {largest}; the embedding has {len(table)} rows", where=str(weights.folder)
        )
    return [table[torch.tensor(sequence)].float()[None] for sequence in sequences]
