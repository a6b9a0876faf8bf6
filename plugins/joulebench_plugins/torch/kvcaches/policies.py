"""Which entries of a layer are worth keeping: one class for each published way of telling.

A policy ranks entries; what always stays (first and last positions) is not its matter. Ranks are
(KV heads, entries), the higher the better.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Final

import torch

from joulebench_plugins.torch.kvcaches.layer import EvictingLayer
from joulebench_plugins.torch.kvcaches.options import Eviction
from joulebench_plugins.torch.kvcaches.weighing import attend_and_sum, weights_of_rows

#: Width of SnapKV's average over neighbours (its published code's default).
_POOLING: Final = 5
#: Future positions that Expected Attention averages over (its published code's default).
_FUTURE: Final = 512
#: Last rows of a prompt that FastGen's heads are profiled on.
_PROFILED: Final = 128

#: Tables of cosine and sine, (positions, head size) each, for positions.
Rotary = Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]


@dataclass(frozen=True, slots=True)
class AttentionInputs:
    """What one layer's attention has before it, shapes as in :mod:`.weighing`.

    ``reading``: this is a text that is given, not one token of an answer. ``due``: the layer is
    cut to its budget right after.
    """

    query: torch.Tensor
    keys: torch.Tensor
    values: torch.Tensor
    scaling: float
    layer: EvictingLayer
    reading: bool
    due: bool

    def weights(self, rows: int) -> torch.Tensor:
        """Weights of the last rows, at most as many as there are."""
        last = self.query[:, :, -min(rows, self.query.shape[2]) :]
        return weights_of_rows(last, self.keys, self.scaling)


@dataclass(frozen=True, slots=True)
class Looked:
    """What a policy found: ranks where it was due, the attention's output if it came with them.

    ``count`` is set where the policy decides how many stay, ``claimed`` how many it asked for in
    the mean of the heads.
    """

    ranks: torch.Tensor | None = None
    output: torch.Tensor | None = None
    count: int | None = None
    claimed: float | None = None


class Policy:
    """The common part. ``every_step`` policies cut while an answer is written, too."""

    every_step: ClassVar[bool] = False
    #: Prompts are read in pieces, each seeing what was kept of those before it.
    in_pieces: ClassVar[bool] = False
    #: The layer keeps count of the attention that each entry receives.
    sums: ClassVar[bool] = False

    def __init__(self, eviction: Eviction, rotary: Rotary) -> None:
        self.wanted = eviction
        self._rotary = rotary

    def look(self, seen: AttentionInputs) -> Looked:
        """Look at a layer at work, before its cut."""
        raise NotImplementedError


class WindowPolicy(Policy):
    """The last positions, behind the first ones: StreamingLLM.

    Xiao et al. 2023, "Efficient Streaming Language Models with Attention Sinks" (arXiv
    2309.17453); here keys stay at their true positions, where the paper counts within the cache.
    """

    every_step = in_pieces = True

    def look(self, seen: AttentionInputs) -> Looked:
        """The later the better."""
        return Looked(seen.layer.entries()[2].float() if seen.due else None)


class H2o(Policy):
    """Entries that have received most attention so far, beside the last ones: heavy hitters.

    Zhang et al. 2023, "H2O: Heavy-Hitter Oracle for Efficient Generative Inference of Large
    Language Models" (arXiv 2306.14048). Query heads that share keys are added up.
    """

    every_step = sums = True

    def look(self, seen: AttentionInputs) -> Looked:
        """All weights have to be seen: the output comes from them."""
        output, received = attend_and_sum(seen.query, seen.keys, seen.values, seen.scaling)
        total = seen.layer.received
        assert total is not None  # noqa: S101
        total = total[:, : seen.layer.length]
        total += received
        return Looked(total if seen.due else None, output)


class SnapKv(Policy):
    """Entries that the prompt's last queries look at, averaged over neighbours.

    Li et al. 2024, "SnapKV: LLM Knows What You are Looking for Before Generation" (arXiv
    2404.14469). Query heads that share keys are averaged.
    """

    def look(self, seen: AttentionInputs) -> Looked:
        """Weights of the observation window, which itself always stays."""
        if not seen.due:
            return Looked()
        rows = max(1, self.wanted.window_for(self.wanted.budget))
        weights = seen.weights(rows).mean(dim=(1, 2))
        return Looked(
            torch.nn.functional.avg_pool1d(
                weights[None], _POOLING, stride=1, padding=_POOLING // 2, count_include_pad=False
            )[0]
        )


class Tova(Policy):
    """Entries that the last query looks at, the same ones in all heads of a layer.

    Oren et al. 2024, "Transformers are Multi-State RNNs" (arXiv 2401.06104).
    """

    every_step = True

    def look(self, seen: AttentionInputs) -> Looked:
        """Weights of the last row, averaged over the layer's heads."""
        if not seen.due:
            return Looked()
        weights = seen.weights(1)
        ranks = weights.mean(dim=(0, 1, 2)).expand(seen.keys.shape[0], -1)
        output = None
        if seen.query.shape[2] == 1:
            output = torch.matmul(weights.to(seen.values.dtype), seen.values[:, None])
        return Looked(ranks, output)


class ExpectedAttention(Policy):
    """Entries that queries yet to come are expected to look at, by the queries' distribution.

    Devoto et al. 2025, "Expected Attention: KV Cache Compression by Estimating Attention from
    Future Queries Distribution" (arXiv 2510.00636): queries before their rotation are taken for
    normal, N(μ, Σ); with the rotation averaged over the next positions, an entry's expected
    weight is exp(μ·k/√d + kᵀΣk/2d), and its rank that times ‖v‖.
    """

    def look(self, seen: AttentionInputs) -> Looked:
        """Gather the queries' moments while a text is read; rank by them."""
        if not seen.reading:
            return Looked()
        layer = seen.layer
        first = layer.seen - layer.arrived
        positions = torch.arange(first, layer.seen, device=seen.query.device)
        layer.moments = _add_moments(
            layer.moments, self._unrotated(seen.query.float(), positions), positions, self.wanted.sinks
        )
        if not seen.due or layer.moments is None:
            return Looked(seen.layer.entries()[2].float() if seen.due else None)
        mean, covariance = _normal(layer.moments)
        ahead = torch.arange(layer.seen, layer.seen + _FUTURE, device=seen.query.device)
        cosine, sine = (table.float().mean(0) for table in self._rotary(ahead))
        mean = _rotated(mean, cosine, sine)
        covariance = _rotated(covariance, cosine, sine)
        covariance = _rotated(covariance.transpose(-1, -2), cosine, sine)
        keys = seen.keys.float()[:, None]
        expected = torch.matmul(keys, mean[..., None])[..., 0] * seen.scaling
        spread = (torch.matmul(keys, covariance) * keys).sum(-1)
        expected += spread * (seen.scaling**2 / 2)
        # The first positions take most of it and always stay: they would leave the others none.
        sinks = layer.entries()[2] < self.wanted.sinks
        expected.masked_fill_(sinks[:, None], float("-inf"))
        ranks = torch.softmax(expected, dim=-1).mean(1) * seen.values.float().norm(dim=-1)
        if layer.seen == layer.arrived:
            layer.moments = None  # the prompt has been read; no more of it will come
        return Looked(ranks)

    def _unrotated(self, query: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """Queries as they were before positions were rotated in."""
        cosine, sine = (table.float() for table in self._rotary(positions))
        return _rotated(query, cosine, -sine) / (cosine**2 + sine**2)


class FastGen(Policy):
    """Each head by the cheapest of five ways that keeps enough of its attention.

    After Ge et al. 2023, "Model Tells You What to Discard: Adaptive KV Cache Compression for
    LLMs" (arXiv 2310.01801): first positions; those and a local window; those and the most
    looked-at; all of these; everything. Punctuation, which the paper knows too, is none of it: a
    session sees token ids only. A layer's entries are a rectangle, as wide as its widest head;
    heads that need less keep their next best entries beside.
    """

    def look(self, seen: AttentionInputs) -> Looked:
        """Profile the heads on the last rows of what was read."""
        if not seen.due:
            return Looked()
        received = seen.weights(_PROFILED).mean(dim=(1, 2))
        heads, entries = received.shape
        positions = seen.layer.entries()[2]
        length = seen.layer.seen
        sinks = positions < self.wanted.sinks
        local = positions >= length - round(self.wanted.local * length)
        frequent = torch.zeros_like(sinks)
        most = received.topk(min(max(round(self.wanted.frequent * length), 1), entries)).indices
        frequent.scatter_(1, most, True)
        every = torch.ones_like(sinks)
        ways = (sinks, sinks | local, sinks | frequent, sinks | local | frequent, every)
        chosen = torch.zeros_like(sinks)
        settled = torch.zeros(heads, dtype=torch.bool, device=received.device)
        for way in ways:
            enough = (received * way).sum(1) >= self.wanted.recovery
            take = ~settled & (enough | (way is every))
            chosen |= way & take[:, None]
            settled |= take
        counts = chosen.sum(1)
        return Looked(
            received + chosen,  # weights are at most 1
            count=int(counts.max().item()),
            claimed=float(counts.float().mean().item()),
        )


#: Classes by the names in :data:`.options.POLICIES`.
CLASSES: Final[dict[str, type[Policy]]] = {
    "window": WindowPolicy,
    "h2o": H2o,
    "snapkv": SnapKv,
    "tova": Tova,
    "expected-attention": ExpectedAttention,
    "fastgen": FastGen,
}

#: Number of queries, their sum (KV heads, queries per KV head, size) and the sum of their outer
#: products (…, size, size).
Moments = tuple[int, torch.Tensor, torch.Tensor]


def _add_moments(moments: Moments | None, query: torch.Tensor, positions: torch.Tensor, sinks: int) -> Moments | None:
    """With these queries, but for those of the first positions, which are unlike all others."""
    later = query[:, :, positions >= sinks]
    count = later.shape[2]
    if not count:
        return moments
    total, outer = later.sum(2), torch.matmul(later.transpose(-1, -2), later)
    if moments is None:
        return count, total, outer
    return moments[0] + count, moments[1] + total, moments[2] + outer


def _normal(moments: Moments) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and covariance."""
    count, total, outer = moments
    mean = total / count
    return mean, outer / count - mean[..., :, None] * mean[..., None, :]


def _rotated(vectors: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor) -> torch.Tensor:
    """Vectors on the last axis with positions rotated in, as llama-type models do it."""
    half = vectors.shape[-1] // 2
    turned = torch.cat((-vectors[..., half:], vectors[..., :half]), dim=-1)
    return vectors * cosine + turned * sine
