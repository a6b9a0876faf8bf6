"""Caches that keep some positions: the attention that shows a policy what it needs, and the cut."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Final

import torch
import transformers
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from joulebench.api import Scalar
from joulebench_plugins.torch.kvcaches.layer import EvictingLayer
from joulebench_plugins.torch.kvcaches.options import Eviction
from joulebench_plugins.torch.kvcaches.policies import CLASSES, AttentionInputs, Policy
from joulebench_plugins.torch.kvcaches.weighing import grouped, hidden_entries
from joulebench_plugins.torch.memory import cache_bytes, storage_bytes

#: The attention's name in transformers' register. For a name that has no mask registered, the
#: models make none: what a query may see is settled here, layer by layer.
ATTENTION: Final = "joulebench-kv"
_OWNER: Final = "joulebench_kv"


class EvictingCache(transformers.Cache):  # type: ignore[misc]
    """A cache of :class:`EvictingLayer` for a prompt or a text of so many ``tokens``.

    ``budget`` entries stay in each layer, as many as the policy says where it is ``None``.
    ``always``: the layers are cut after every piece that comes, as for a text that is scored.
    """

    def __init__(
        self, layers: list[EvictingLayer], owner: EvictingCaches, tokens: int, budget: int | None, *, always: bool
    ) -> None:
        super().__init__(layers=layers)
        self.tokens, self.budget, self.always = tokens, budget, always
        self._owner = owner

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Take a layer's new keys and values; its attention comes next."""
        layer = self.layers[layer_idx]
        self._owner.updated(self, layer)
        states: tuple[torch.Tensor, torch.Tensor] = layer.update(key_states, value_states)
        return states


class EvictingCaches:
    """Makes a model's caches under one policy, and is its attention."""

    in_pieces: bool

    def __init__(self, model: Any, eviction: Eviction) -> None:
        self._model, self._wanted = model, eviction
        self._config = model.config.get_text_config(decoder=True)
        self._policy: Policy = CLASSES[eviction.policy](eviction, self._rotary)
        self.in_pieces = self._policy.in_pieces
        self.chunk = eviction.chunk
        self._at: tuple[EvictingCache, EvictingLayer] | None = None
        AttentionInterface.register(ATTENTION, _attend)
        for layer in model.base_model.layers:
            setattr(layer.self_attn, _OWNER, self)
        model.set_attn_implementation(ATTENTION)

    # -- caches --------------------------------------------------------------------------------

    def for_answer(self, tokens: int) -> EvictingCache:
        """An empty cache for a prompt of so many tokens and its answer."""
        if self.in_pieces:
            return self.for_text(tokens)
        budget = self._wanted.budget_for(tokens)
        # Where a policy looks at prompts only, what an answer adds is not bounded.
        most = budget if self._policy.every_step else None
        return self._cache(tokens, budget, most, 1, always=False)

    def for_text(self, tokens: int) -> EvictingCache:
        """An empty cache for a text that is read in pieces of :attr:`chunk` tokens."""
        budget = self._wanted.budget_for(tokens)
        return self._cache(tokens, budget, budget, self.chunk, always=True)

    def _cache(self, tokens: int, budget: int | None, most: int | None, room: int, *, always: bool) -> EvictingCache:
        layers = [EvictingLayer(most, room, sums=self._policy.sums) for _ in range(self._config.num_hidden_layers)]
        return EvictingCache(layers, self, tokens, budget, always=always)

    # -- attention -----------------------------------------------------------------------------

    def updated(self, cache: EvictingCache, layer: EvictingLayer) -> None:
        """The next attention is this layer's."""
        self._at = cache, layer

    def attend(
        self, module: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float
    ) -> torch.Tensor:
        """Attention over all entries that are here; then the layer's cut, if it is due.

        Output (1, rows, heads, head size), as transformers wants it.
        """
        at, self._at = self._at, None
        plain = partial(sdpa_attention_forward, module, query, key, value, scaling=scaling)
        if at is None:  # a forward pass without a cache
            return plain(None)[0]
        cache, layer = at
        whole = layer.seen == layer.arrived
        reading = cache.always or whole
        seen = AttentionInputs(
            grouped(query, key.shape[1]),
            key[0],
            value[0],
            scaling,
            layer,
            reading,
            due=self._is_due(cache, layer, reading),
        )
        looked = self._policy.look(seen)
        if looked.output is not None:
            rows = query.shape[2]
            output = looked.output.reshape(1, -1, rows, value.shape[-1]).transpose(1, 2)
        else:
            output = plain(self._mask(query, key))[0]
        if looked.ranks is not None:
            count = cache.budget if looked.count is None else looked.count
            assert count is not None  # noqa: S101
            layer.claimed = looked.claimed
            self._cut(layer, looked.ranks, count)
        return output

    def _is_due(self, cache: EvictingCache, layer: EvictingLayer, reading: bool) -> bool:
        if not (reading or self._policy.every_step):
            return False
        return cache.budget is None or layer.length > cache.budget

    @staticmethod
    def _mask(query: torch.Tensor, key: torch.Tensor) -> torch.Tensor | None:
        """None where sdpa knows: one row sees all; as many rows as entries are causal."""
        rows, entries = query.shape[2], key.shape[2]
        if rows in (1, entries):
            return None
        return ~hidden_entries(rows, entries, query.device)[None, None]

    def _cut(self, layer: EvictingLayer, ranks: torch.Tensor, count: int) -> None:
        length = layer.length
        if length <= count:
            return
        positions = layer.entries()[2]
        window = self._wanted.window_for(count)
        stays = (positions < self._wanted.sinks) | (positions >= layer.seen - window)
        ranks = ranks.masked_fill(stays, float("inf"))
        if length == count + 1 and layer.arrived == 1:
            layer.drop_one(ranks.argmin(1))
            return
        # In the order of their places, which is that of the text as long as none was dropped alone.
        layer.keep(ranks.topk(count, dim=1).indices.sort(dim=1).values)

    def _rotary(self, positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        like = torch.empty(0, dtype=torch.float32, device=positions.device)
        cosine, sine = self._model.base_model.rotary_emb(like, positions[None])
        return cosine[0], sine[0]

    # -- the record ----------------------------------------------------------------------------

    def facts(self) -> Mapping[str, Scalar]:
        """What the caches are, for the session's facts."""
        return {
            "cache": "evicting",
            "kv_policy": self._wanted.policy,
            "kv_budget": self._wanted.budget,
            "kv_chunk": self.chunk,
        }

    def position_bytes(self) -> int:
        """Keys and values of one position over all layers, in the model's number type."""
        config = self._config
        heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        return int(config.num_hidden_layers * 2 * heads * size * self._model.dtype.itemsize)

    def used_bytes(self, cache: EvictingCache) -> int:
        """Keys and values of the entries that are here."""
        layer_bytes = self.position_bytes() // len(cache.layers)
        return sum(layer.length * layer_bytes for layer in cache.layers)

    def account(self, cache: EvictingCache) -> dict[str, Scalar]:
        """Tokens and bytes of a cache at work, claimed by formula and counted in its storages."""
        position = self.position_bytes()
        kept = [layer.length for layer in cache.layers]
        seen = max((layer.seen for layer in cache.layers), default=0)
        stored = [tensor for layer in cache.layers for tensor in (layer.keys, layer.values) if tensor is not None]
        allocated = storage_bytes(stored)
        evicted = any(length < layer.seen for length, layer in zip(kept, cache.layers, strict=True))
        return {
            "kv_policy": self._wanted.policy,
            "kv_budget_tokens": cache.budget,
            "kv_tokens_seen": seen,
            "kv_tokens_kept_min": min(kept, default=0),
            "kv_tokens_kept_mean": sum(kept) / max(len(kept), 1),
            "kv_tokens_kept_max": max(kept, default=0),
            "kv_tokens_claimed_mean": self._claimed(cache, seen),
            "kv_full_bytes": seen * position,
            "kv_claimed_bytes": round(self._claimed(cache, seen) * position),
            "kv_used_bytes": self.used_bytes(cache),
            "kv_allocated_bytes": allocated,
            "kv_bookkeeping_bytes": cache_bytes(cache) - allocated,
            "kv_type": str(self._model.dtype).removeprefix("torch."),
            "kv_evicted": evicted,
            "note": None if evicted else "nothing was evicted: no sequence was longer than what is kept",
        }

    def _claimed(self, cache: EvictingCache, seen: int) -> float:
        """Entries of a layer by the method's own formula, in the mean of layers and heads.

        The budget, with what an answer adds where a policy looks at prompts only. FastGen claims
        what each head asked for.
        """
        answered = 0 if cache.always else max(seen - cache.tokens, 0)
        if cache.budget is None:
            asked = [
                float(layer.length) if layer.claimed is None else layer.claimed + answered for layer in cache.layers
            ]
            return sum(asked) / max(len(asked), 1)
        if cache.always or self._policy.every_step:
            return float(min(seen, cache.budget))
        return float(min(seen - answered, cache.budget) + answered)


def _attend(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """What transformers calls; the module knows whose attention it is."""
    owner: EvictingCaches = getattr(module, _OWNER)
    size = query.shape[-1]
    output = owner.attend(module, query, key, value, size**-0.5 if scaling is None else scaling)
    return output, None
