"""A loaded encoder: sentences to embeddings, in batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import transformers

from joulebench.api import BackendSession, MemoryUse, Scalar, Traffic
from joulebench.errors import JoulebenchError
from joulebench_plugins.torch.memory import weight_bytes
from joulebench_plugins.torch.states import context_length
from joulebench_plugins.torch.weightcount import weight_facts


class EncoderSession(BackendSession):
    """Embeddings are the mean of the last layer's states over a sentence's tokens (Reimers and Gurevych 2019)."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self._device = model.device
        self.vocabulary_size = int(model.config.vocab_size)
        self.context_length = context_length(model.config)

    def encode(self, sequences: Sequence[Sequence[int]]) -> Any:
        """One forward pass; shorter sequences are filled up at their end and masked."""
        return embeddings(self.model, sequences, self.context_length)

    def reset(self) -> None:
        """Nothing is kept between batches."""

    def synchronize(self) -> None:
        """Wait for a CUDA device."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)

    def memory(self) -> MemoryUse:
        """Weights by their storages; an encoder keeps no keys and values."""
        peak = int(torch.cuda.max_memory_allocated(self._device)) if self._device.type == "cuda" else None
        return MemoryUse(weights_bytes=weight_bytes(self.model), device_peak_bytes=peak)

    def traffic(self) -> Traffic:
        """``None``: what is counted is a decoded token's."""
        return Traffic()

    def facts(self) -> Mapping[str, Scalar]:
        """What the loaded model says of itself."""
        return {
            **weight_facts(self.model),
            "attention": self.model.config._attn_implementation,
            "pooling": "mean",
            "context_length": self.context_length,
            "device": str(self._device),
            "threads": torch.get_num_threads(),
            "interop_threads": torch.get_num_interop_threads(),
            "cpu_capability": torch.backends.cpu.get_cpu_capability(),
            "torch": str(torch.__version__),
            "transformers": str(transformers.__version__),
        }

    def close(self) -> None:
        """Drop the model."""
        self.model = None
        if self._device.type == "cuda":
            torch.cuda.empty_cache()


def embeddings(model: Any, sequences: Sequence[Sequence[int]], limit: int | None) -> Any:
    """Mean of the last hidden states over each sequence: float32, (sequences, hidden size)."""
    longest = max(map(len, sequences), default=0)
    if not sequences or not min(map(len, sequences)):
        raise JoulebenchError("an empty sentence cannot be read")
    if limit is not None and longest > limit:
        raise JoulebenchError(f"{longest} tokens do not fit into {limit} positions", hint="shorten the sentences")
    ids = torch.zeros((len(sequences), longest), dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, tokens in enumerate(sequences):
        ids[row, : len(tokens)] = torch.tensor(tokens)
        mask[row, : len(tokens)] = 1
    with torch.inference_mode():
        ids, mask = ids.to(model.device), mask.to(model.device)
        # Some recurrent models take no mask; without filling there is nothing to mask.
        masked = {} if mask.all() else {"attention_mask": mask}
        states = model.base_model(input_ids=ids, **masked).last_hidden_state.float()
        weights = mask.unsqueeze(-1)
        return ((states * weights).sum(1) / weights.sum(1)).cpu().numpy()
