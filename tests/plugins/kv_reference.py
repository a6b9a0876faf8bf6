"""A llama computed by hand that forgets nothing: what a policy evicts is only hidden by a mask.

Slow and plain on purpose: loops over heads, sets of positions, rotations as whole matrices. It
shares no code with the caches that it is compared with.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

FUTURE = 512


@dataclass
class Rules:
    """One policy's settings, as the backend's options name them."""

    policy: str
    budget: int
    sinks: int = 0
    window: int = 0
    chunk: int = 8
    recovery: float = 0.95
    local: float = 0.3
    frequent: float = 0.3

    @property
    def every_step(self) -> bool:
        return self.policy in ("window", "h2o", "tova")


class MaskedLlama:
    """Keys and values of every position, and for each layer and KV head which can be seen."""

    def __init__(self, model: Any, rules: Rules) -> None:
        self.model, self.rules = model, rules
        config = model.config
        self.heads, self.kv_heads = config.num_attention_heads, config.num_key_value_heads
        self.size = config.head_dim
        self.theta = config.rope_parameters["rope_theta"]
        self.eps = config.rms_norm_eps
        layers = config.num_hidden_layers
        self.keys: list[Any] = [None] * layers
        self.values: list[Any] = [None] * layers
        self.visible = [torch.zeros((self.kv_heads, 0), dtype=torch.bool) for _ in range(layers)]
        self.received = [torch.zeros((self.kv_heads, 0)) for _ in range(layers)]
        self.queries: list[list[Any]] = [[] for _ in range(layers)]
        self.asked: list[list[int]] = [[] for _ in range(layers)]
        self.length = 0

    # -- the two ways to use it ----------------------------------------------------------------

    def generate(self, prompt: Sequence[int], count: int) -> tuple[list[int], Any]:
        """Greedy tokens, and the logits that they were taken from."""
        logits = self.score(prompt)[-1:] if self.rules.policy == "window" else self.feed(prompt, reading=True)[-1:]
        rows, tokens = [logits[0]], [int(logits[0].argmax())]
        for _ in range(count - 1):
            rows.append(self.feed([tokens[-1]], reading=False)[0])
            tokens.append(int(rows[-1].argmax()))
        return tokens, torch.stack(rows)

    def score(self, tokens: Sequence[int]) -> Any:
        """Logits after each token of a text, in chunks, cut after each of them."""
        chunk = self.rules.chunk
        return torch.cat(
            [self.feed(tokens[start : start + chunk], reading=True) for start in range(0, len(tokens), chunk)]
        )

    # -- the model -----------------------------------------------------------------------------

    @torch.no_grad()
    def feed(self, tokens: Sequence[int], reading: bool) -> Any:
        """Logits after each of these tokens."""
        first, count = self.length, len(tokens)
        self.length += count
        state = self.model.model.embed_tokens.weight[torch.tensor(tokens)]
        rotations = torch.stack([self.rotation(p) for p in range(first, self.length)])
        for index, layer in enumerate(self.model.model.layers):
            normed = self.norm(state, layer.input_layernorm.weight)
            part = layer.self_attn
            query, key, value = (
                (normed @ proj.weight.T).view(count, -1, self.size).transpose(0, 1)
                for proj in (part.q_proj, part.k_proj, part.v_proj)
            )
            self.queries[index].append(query)
            query = (rotations @ query[..., None])[..., 0]
            key = (rotations @ key[..., None])[..., 0]
            self.extend(index, key, value)
            state = state + self.attend(index, query, reading) @ part.o_proj.weight.T
            normed = self.norm(state, layer.post_attention_layernorm.weight)
            gate = torch.nn.functional.silu(normed @ layer.mlp.gate_proj.weight.T)
            opened = gate * (normed @ layer.mlp.up_proj.weight.T)
            state = state + opened @ layer.mlp.down_proj.weight.T
        return self.norm(state, self.model.model.norm.weight) @ self.model.lm_head.weight.T

    def norm(self, state: Any, weight: Any) -> Any:
        return state * torch.rsqrt(state.pow(2).mean(-1, keepdim=True) + self.eps) * weight

    def rotation(self, position: int) -> Any:
        """The whole matrix that rotates positions in: channel i turns with channel i + half."""
        half = self.size // 2
        matrix = torch.zeros((self.size, self.size))
        for channel in range(half):
            angle = position * self.theta ** (-2 * channel / self.size)
            matrix[channel, channel] = matrix[channel + half, channel + half] = math.cos(angle)
            matrix[channel, channel + half] = -math.sin(angle)
            matrix[channel + half, channel] = math.sin(angle)
        return matrix

    def extend(self, index: int, key: Any, value: Any) -> None:
        old = self.keys[index]
        self.keys[index] = key if old is None else torch.cat((old, key), 1)
        old = self.values[index]
        self.values[index] = value if old is None else torch.cat((old, value), 1)
        new = torch.ones((self.kv_heads, key.shape[1]), dtype=torch.bool)
        self.visible[index] = torch.cat((self.visible[index], new), 1)
        self.received[index] = torch.cat((self.received[index], torch.zeros(new.shape)), 1)

    def attend(self, index: int, query: Any, reading: bool) -> Any:
        """(tokens, heads × size); then the layer's cut."""
        count, length = query.shape[1], self.length
        group = self.heads // self.kv_heads
        weights = torch.zeros((self.heads, count, length))
        outputs = torch.zeros((count, self.heads, self.size))
        for head in range(self.heads):
            shared = head // group
            scores = query[head] @ self.keys[index][shared].T / math.sqrt(self.size)
            for row in range(count):
                later = torch.arange(length) > length - count + row
                scores[row][later | ~self.visible[index][shared]] = -math.inf
            weights[head] = scores.softmax(-1)
            outputs[:, head] = weights[head] @ self.values[index][shared]
        by_kv_head = weights.view(self.kv_heads, group, count, length)
        self.received[index] += by_kv_head.sum((1, 2))
        if reading or self.rules.every_step:
            self.cut(index, by_kv_head)
        return outputs.reshape(count, -1)

    # -- the policies --------------------------------------------------------------------------

    def cut(self, index: int, weights: Any) -> None:
        if self.rules.policy == "fastgen":
            self.cut_by_head(index, weights)
            return
        if self.visible[index][0].sum() <= self.rules.budget:
            return
        for head in range(self.kv_heads):
            self.keep_best(index, head, self.ranks(index, head, weights), self.rules.budget)

    def keep_best(self, index: int, head: int, ranks: Any, count: int) -> None:
        """Hide all but the first, the last, and the best of the others."""
        here = self.visible[index][head].nonzero()[:, 0].tolist()
        always = [p for p in here if p < self.rules.sinks or p >= self.length - self.rules.window]
        others = sorted((p for p in here if p not in always), key=lambda p: -float(ranks[p]))
        kept = [*always, *others[: count - len(always)]]
        self.visible[index][head] = False
        self.visible[index][head, kept] = True

    def ranks(self, index: int, head: int, weights: Any) -> Any:
        rules = self.rules
        if rules.policy == "window":
            return torch.arange(self.length).float()
        if rules.policy == "h2o":
            return self.received[index][head]
        if rules.policy == "tova":
            return weights[:, :, -1].mean((0, 1))
        if rules.policy == "snapkv":
            looked = weights[head][:, -rules.window :].mean((0, 1))
            return self.smoothed(index, head, looked)
        return self.expected(index, head)

    def smoothed(self, index: int, head: int, looked: Any) -> Any:
        """The mean over five neighbours among what is here."""
        here = self.visible[index][head].nonzero()[:, 0].tolist()
        ranks = torch.zeros(self.length)
        for place, position in enumerate(here):
            near = here[max(0, place - 2) : place + 3]
            ranks[position] = looked[near].mean()
        return ranks

    def expected(self, index: int, head: int) -> Any:
        """exp(mean of q·k/√d + half of its variance), over queries yet to come, times ‖v‖."""
        group = self.heads // self.kv_heads
        every = torch.cat(self.queries[index], 1)[:, self.rules.sinks :]
        ahead = torch.stack([self.rotation(p) for p in range(self.length, self.length + FUTURE)]).mean(0)
        here = self.visible[index][head].clone()
        here[: self.rules.sinks] = False
        total = torch.zeros(self.length)
        for query_head in range(head * group, (head + 1) * group):
            mean = ahead @ every[query_head].mean(0)
            away = every[query_head] - every[query_head].mean(0)
            covariance = ahead @ (away.T @ away / len(away)) @ ahead.T
            keys = self.keys[index][head]
            score = keys @ mean / math.sqrt(self.size)
            score += torch.stack([k @ covariance @ k for k in keys]) / self.size / 2
            score[~here] = -math.inf
            total += score.softmax(-1) / group
        return total * self.values[index][head].norm(dim=-1)

    def cut_by_head(self, index: int, weights: Any) -> None:
        """Each head's cheapest way; the layer keeps as many as the head that needs most."""
        rules, length = self.rules, self.length
        kept: list[set[int]] = []
        received = weights[:, :, -128:].mean((1, 2))
        for head in range(self.kv_heads):
            here = set(self.visible[index][head].nonzero()[:, 0].tolist())
            sinks = {p for p in here if p < rules.sinks}
            local = {p for p in here if p >= length - round(rules.local * length)}
            best = sorted(here, key=lambda p: -float(received[head, p]))
            frequent = set(best[: max(round(rules.frequent * length), 1)])
            for way in (sinks, sinks | local, sinks | frequent, sinks | local | frequent, here):
                share = sum(float(received[head, p]) for p in way)
                if share >= rules.recovery or way is here:
                    kept.append(way)
                    break
        self.asked[index] = [len(positions) for positions in kept]
        count = max(self.asked[index])
        for head in range(self.kv_heads):
            ranks = received[head].clone()
            for position in kept[head]:
                ranks[position] += 1
            self.keep_best(index, head, ranks, count)
