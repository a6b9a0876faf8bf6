"""A loaded model: greedy decoding, scoring, embedding and training of one sequence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import torch
import transformers

from joulebench.api import BackendSession, Kernel, MemoryUse, Scalar, Traffic
from joulebench.errors import JoulebenchError
from joulebench_plugins.torch.contextual import SparseMlps
from joulebench_plugins.torch.kvcaches.opening import Caches
from joulebench_plugins.torch.layerkinds import PLAIN_TYPES
from joulebench_plugins.torch.memory import cache_bytes, cache_bytes_used, weight_bytes
from joulebench_plugins.torch.states import Reader, context_length
from joulebench_plugins.torch.traffic import count_traffic
from joulebench_plugins.torch.weightcount import can_train, weight_facts

#: Positions scored at once: bounds the logits to this many rows of the vocabulary's width.
_SCORE_CHUNK: Final = 128


class TorchSession(BackendSession):
    """One sequence on one model. ``model`` is the transformers model, open to inspection."""

    def __init__(
        self,
        model: Any,
        *,
        cache: str,
        cache_tokens: int,
        optimizer: str,
        learning_rate: float,
        caches: Caches | None = None,
        mlps: SparseMlps | None = None,
    ) -> None:
        self.model = model
        config = model.config.get_text_config(decoder=True)
        self._reader = Reader(model)
        # What everybody runs is proved by tests; another class of transformers may not fit its own caches.
        self._step_off = None if config.model_type in PLAIN_TYPES else self._reader.try_step()
        self.vocabulary_size = int(config.vocab_size)
        limit = context_length(config)
        if cache == "static":
            limit = cache_tokens if limit is None else min(cache_tokens, limit)
        self.context_length = limit
        self._kind = cache
        #: Compressed caches, and what they were seen to hold of the last text that was scored.
        self._caches, self._scored = caches, dict[str, Scalar]()
        self._mlps = mlps
        self._device = model.device
        self._optimizer_name, self._learning_rate = optimizer, learning_rate
        self._optimizer: Any = None
        self._compiled = False
        self._decode: Any = self._decode_eagerly
        # Token and position live on the device: a step sends nothing there and allocates little.
        with torch.inference_mode():
            self._token = torch.zeros((1, 1), dtype=torch.long, device=self._device)
            self._at = torch.zeros((1, 1), dtype=torch.long, device=self._device)
        #: Which positions of a batch hold tokens; ``None`` where all do.
        self._mask: torch.Tensor | None = None
        self._length = 0
        self._cache = self._new_cache()

    # -- generating ------------------------------------------------------------------------

    def prefill(self, tokens: Sequence[int]) -> int:
        """Read a prompt and return the first greedy token."""
        self._check_length(len(tokens))
        if self._length:
            self.reset()
        with torch.inference_mode():
            ids = torch.tensor([tokens], dtype=torch.long, device=self._device)
            logits = self._read(ids)
            if len(self._token) > 1:  # a batch was before it
                self._token, self._at = self._token[:1].clone(), self._at[:1].clone()
            self._token.copy_(logits[:, -1].argmax(-1, keepdim=True))
            self._at.fill_(len(tokens))
            self._length = len(tokens)
            return int(self._token.item())

    def step(self) -> int:
        """Feed the last returned token and return the next greedy token."""
        if self._length == self.context_length or not self._length:
            self._check_step()
        with torch.inference_mode():
            self._token = token = self._decode(self._token, self._at)
            self._at += 1
            self._length += 1
            return int(token.item())

    def prefill_batch(self, sequences: Sequence[Sequence[int]]) -> list[int]:
        """Read prompts at once; shorter ones are filled up at their beginning, which attention is told to leave out.

        Raises :class:`JoulebenchError` for prompts of different lengths where a model cannot be told that.
        """
        if not self._reader.takes_batches:
            raise JoulebenchError("this model's own state is one sequence's in transformers", hint="set batch = 1")
        longest = max(map(len, sequences))
        self._check_length(min(map(len, sequences)))
        self._check_length(longest)
        self.reset()
        with torch.inference_mode():
            rows = [[0] * (longest - len(tokens)) + list(tokens) for tokens in sequences]
            lengths = torch.tensor([len(tokens) for tokens in sequences], device=self._device)[:, None]
            places = torch.arange(longest, device=self._device) - (longest - lengths)
            self._mask = None if bool((lengths == longest).all()) else (places >= 0).long()
            if self._mask is not None and not self._reader.takes_padding:
                raise JoulebenchError(
                    "this model reads prompts of one length only at once",
                    hint="use the workloads 'prefill' and 'decode', or batch = 1",
                )
            ids = torch.tensor(rows, dtype=torch.long, device=self._device)
            self._token, self._at = self._next_tokens(ids, places.clamp(min=0)), lengths
            self._length = longest
            return [int(token) for token in self._token[:, 0].tolist()]

    def step_batch(self) -> list[int]:
        """Feed each sequence its last token and return the next greedy token of each."""
        if self._length == self.context_length or not self._length:
            self._check_step()
        with torch.inference_mode():
            if self._mask is not None:
                self._mask = torch.cat([self._mask, self._mask.new_ones((len(self._mask), 1))], dim=1)
            self._token, self._at = self._next_tokens(self._token, self._at), self._at + 1
            self._length += 1
            return [int(token) for token in self._token[:, 0].tolist()]

    def _next_tokens(self, ids: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        logits, self._cache = self._reader.read(ids, self._cache, positions, last=True, mask=self._mask)
        return logits[:, -1].argmax(-1, keepdim=True)

    def reset(self) -> None:
        """Forget the sequence; a static cache and what is compiled for it stay."""
        self._length = 0
        if self._kind == "dynamic":
            self._cache = self._new_cache()
            return
        with torch.inference_mode():
            self._cache.reset()

    def compile(self) -> None:
        """Compile the decode step by running one, so that no measured step pays for it."""
        self._decode = torch.compile(self._decode_eagerly, dynamic=False)
        self.prefill([0])
        self.step()
        self.reset()
        self._compiled = True

    def _read(self, ids: torch.Tensor) -> torch.Tensor:
        """Logits after a prompt, in pieces where the cache is cut between them."""
        caches = self._caches
        if caches is None:
            return self._forward(ids, None)
        self._cache = caches.for_answer(ids.shape[1])
        pieces = ids.split(caches.chunk, dim=1) if caches.in_pieces else (ids,)
        return [self._forward(piece, None) for piece in pieces][-1]

    def _decode_eagerly(self, token: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
        return self._forward(token, at)[:, -1].argmax(-1, keepdim=True)

    def _forward(self, ids: torch.Tensor, positions: torch.Tensor | None) -> torch.Tensor:
        """Logits after the last of ``ids``, shaped (1, 1, vocabulary)."""
        logits, self._cache = self._reader.read(ids, self._cache, positions, last=True)
        return logits

    def _new_cache(self) -> Any:
        if self._kind == "static":
            return transformers.StaticCache(config=self.model.config, max_cache_len=self.context_length)
        if self._caches is not None:
            return self._caches.for_answer(0)
        return self._reader.new()

    def _check_length(self, length: int) -> None:
        if not length:
            raise JoulebenchError("an empty prompt cannot be read")
        if self.context_length is not None and length > self.context_length:
            hint = "raise cache_tokens" if self._kind == "static" else "shorten the prompt"
            raise JoulebenchError(f"{length} tokens do not fit into {self.context_length} positions", hint=hint)

    def _check_step(self) -> None:
        if not self._length:
            raise JoulebenchError("step() needs a prompt: call prefill() first")
        self._check_length(self._length + 1)

    # -- whole sequences -------------------------------------------------------------------

    def score(self, tokens: Sequence[int]) -> Sequence[float]:
        """Natural-log probabilities of ``tokens[1:]``, from logits taken to float32."""
        self._check_length(len(tokens))
        scores: list[float] = []
        with torch.inference_mode():
            ids = torch.tensor([tokens], dtype=torch.long, device=self._device)
            # A cache of its own: scoring leaves the sequence that is being generated alone.
            cache, size = self._text_cache(len(tokens))
            for start in range(0, len(tokens) - 1, size):
                chunk = ids[:, start : min(start + size, len(tokens) - 1)]
                logits, cache = self._reader.read(chunk, cache)
                targets = ids[0, start + 1 : start + 1 + chunk.shape[1]]
                loss = torch.nn.functional.cross_entropy(logits[0].float(), targets, reduction="none")
                scores.extend((-loss).tolist())
            if self._caches is not None:
                self._scored = self._caches.account(cache)
        return scores

    def logits(self, tokens: Sequence[int]) -> Any:
        """Logits after each token, taken to float32 and to the host."""
        self._check_length(len(tokens))
        with torch.inference_mode():
            ids = torch.tensor([tokens], dtype=torch.long, device=self._device)
            # A cache of its own, as for scores; a chunk at a time bounds what the device holds.
            cache, size = self._text_cache(len(tokens))
            chunks: list[torch.Tensor] = []
            for chunk in ids.split(size, dim=1):
                logits, cache = self._reader.read(chunk, cache)
                chunks.append(logits[0].float().cpu())
            return torch.cat(chunks).numpy()

    def _text_cache(self, tokens: int) -> tuple[Any, int]:
        """An empty cache for a text, and how many of its tokens are read at once."""
        if self._caches is not None:
            return self._caches.for_text(tokens), self._caches.chunk
        return self._reader.new(), _SCORE_CHUNK if self._reader.goes_on_in_pieces else tokens

    def encode(self, sequences: Sequence[Sequence[int]]) -> Any:
        """The mean of the last hidden states over each sequence."""
        from joulebench_plugins.torch.encoding import embeddings

        return embeddings(self.model, sequences, self.context_length)

    def train_step(self, tokens: Sequence[int]) -> float:
        """One optimiser step on the sequence; returns the loss before it in nats per token."""
        self._check_length(len(tokens))
        if len(tokens) < 2:
            raise JoulebenchError("a train step needs two tokens: one to predict the other from")
        if not can_train(self.model):
            raise JoulebenchError("quantized weights cannot be trained", hint="set weights = 'dtype'")
        if self._optimizer is None:
            self._optimizer = self._new_optimizer()
        ids = torch.tensor([tokens], dtype=torch.long, device=self._device)
        self.model.train()
        try:
            loss = self.model(input_ids=ids, labels=ids, use_cache=False).loss
            loss.backward()
            self._optimizer.step()
            self._optimizer.zero_grad(set_to_none=True)
        finally:
            self.model.eval()
        return float(loss.item())

    def _new_optimizer(self) -> Any:
        self.model.requires_grad_(True)
        if self._optimizer_name == "sgd":
            return torch.optim.SGD(self.model.parameters(), lr=self._learning_rate)
        return torch.optim.AdamW(self.model.parameters(), lr=self._learning_rate)

    # -- the record ------------------------------------------------------------------------

    def synchronize(self) -> None:
        """Wait for a CUDA device; a CPU has nothing outstanding."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)

    def memory(self) -> MemoryUse:
        """Weights, and keys and values (or states) by their storages; the workspace is not known."""
        # Of a model that keeps nothing, the text itself stands in its place.
        kept = None if self._reader.interface.argument is None else self._cache
        return MemoryUse(
            weights_bytes=weight_bytes(self.model),
            kv_allocated_bytes=cache_bytes(kept),
            kv_used_bytes=(
                cache_bytes_used(kept, self._length) if self._caches is None else self._caches.used_bytes(self._cache)
            ),
            device_peak_bytes=self._device_peak_bytes(),
        )

    def traffic(self) -> Traffic:
        """Of one token, by the model's parameters and what a short text leaves in its cache.

        What a compressed cache reads is not so many bytes for each position before the token, and
        what a sparse MLP computes depends on the token: those figures are ``None``.
        """
        counted = count_traffic(self.model, self._reader).traffic
        if self._caches is not None:
            counted = replace(counted, kv_position_bytes=None)
        if self._mlps is not None and self._mlps.skips:
            counted = replace(counted, weights_bytes=None, operations=None, head_operations=None)
        return counted

    def _traffic_unknown(self) -> str | None:
        """Why a part of :meth:`traffic` is not known, for the model as it is."""
        if self._mlps is not None or self._caches is not None:
            return None  # to count is to read a text, which they would keep account of
        return count_traffic(self.model, self._reader).unknown

    def hardware_kernel(self, name: str, size: int) -> Kernel:
        """A piece of work on the bare device; the model stays loaded and idle."""
        from joulebench_plugins.torch.hardware import hardware_kernel

        if name in ("matmul", "matvec") and not can_train(self.model):
            raise JoulebenchError(
                f"'{name}' multiplies plain numbers, not the quantized ones of this session",
                hint="measure the hardware without a technique, in a dtype of its own",
            )
        return hardware_kernel(name, size, self._device, self.model.dtype)

    def operators(self, context: int) -> Sequence[Kernel]:
        """The model's own operators, eager even where the decode step is compiled."""
        from joulebench_plugins.torch.operators import model_operators

        if self._caches is not None or self._mlps is not None:
            raise JoulebenchError(
                "the operators of a compressed KV cache or a sparse MLP are not known",
                hint="leave the technique out for the workload 'operators'",
            )
        self._check_length(context + 1)
        static = self.context_length if self._kind == "static" else None
        return model_operators(self.model, self._reader, context, static_positions=static, device=self._device)

    def _device_peak_bytes(self) -> int | None:
        """The allocator's peak on an accelerator; on the CPU there is no such account."""
        if self._device.type != "cuda":
            return None
        return int(torch.cuda.max_memory_allocated(self._device))

    def facts(self) -> Mapping[str, Scalar]:
        """What the loaded model says of itself, not what was asked for."""
        return {
            **weight_facts(self.model),
            "attention": self.model.config._attn_implementation if self._reader.has_attention() else "none",
            "cache": self._kind,
            "cache_layers": _joined(self._reader.kept()),
            "context_length": self.context_length,
            "step_off": self._step_off,
            "traffic_unknown": self._traffic_unknown(),
            "compiled": self._compiled,
            "device": str(self._device),
            "threads": torch.get_num_threads(),
            "interop_threads": torch.get_num_interop_threads(),
            "cpu_capability": torch.backends.cpu.get_cpu_capability(),
            "torch": str(torch.__version__),
            "transformers": str(transformers.__version__),
            **(self._caches.facts() if self._caches is not None else {}),
            **(self._mlps.facts() if self._mlps is not None else {}),
        }

    def observed(self, capability: str) -> Mapping[str, Scalar]:
        """The cache of the last sequence or scored text, or the MLPs of the last tokens."""
        if capability == "mlp.contextual" and self._mlps is not None:
            return self._mlps.account()
        if capability.startswith("kv.") and self._caches is not None:
            return self._caches.account(self._cache) if self._length else self._scored
        raise self.lacking(f"observed('{capability}')")

    def close(self) -> None:
        """Drop the model, its cache and its optimiser state."""
        self._decode = self._cache = self._optimizer = self.model = None
        if self._device.type == "cuda":
            torch.cuda.empty_cache()


def _joined(kept: Mapping[str, int]) -> str:
    """What layers keep, with their numbers."""
    words = [f"{count} × {what}" if count > 1 else what for what, count in kept.items()]
    return ", ".join(words) or "nothing: the whole text is read for each token"
