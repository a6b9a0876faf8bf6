"""PyTorch's own loop: the model's forward with a DynamicCache, as one writes it by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class Bare:
    """The model object of the session, a cache of its own."""

    name = "model() by hand"

    def __init__(self, session: Any) -> None:
        import torch
        import transformers

        self._torch, self._transformers = torch, transformers
        self._model = session.model
        self._device = session.model.device
        self._cache_name = session._cache_name
        self._cache: Any = None

    def _next(self, ids: Any) -> Any:
        logits = self._model(input_ids=ids, use_cache=True, logits_to_keep=1, **{self._cache_name: self._cache}).logits
        return logits[:, -1].argmax(-1, keepdim=True)

    def prefill(self, tokens: Sequence[int]) -> int:
        self._cache = self._transformers.DynamicCache(config=self._model.config)
        with self._torch.inference_mode():
            ids = self._torch.tensor([list(tokens)], device=self._device)
            return int(self._next(ids).item())

    def steps(self, first: int, count: int) -> list[int]:
        written = [0] * count
        with self._torch.inference_mode():
            token = self._torch.tensor([[first]], device=self._device)
            for step in range(count):
                token = self._next(token)
                written[step] = int(token.item())
        return written


class Generate:
    """``generate()`` of transformers, prefill included: what most people call."""

    name = "generate()"

    def __init__(self, session: Any) -> None:
        import torch

        self._torch = torch
        self._model = session.model
        self._model.generation_config.eos_token_id = None  # always the full length

    def write(self, tokens: Sequence[int], count: int) -> list[int]:
        ids = self._torch.tensor([list(tokens)], device=self._model.device)
        written = self._model.generate(
            ids, attention_mask=self._torch.ones_like(ids), max_new_tokens=count, do_sample=False, pad_token_id=0
        )
        tokens_out: list[int] = written[0, len(tokens) :].tolist()
        return tokens_out
