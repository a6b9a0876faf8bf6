"""A loaded model: greedy decoding, logits and scores of one sequence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np

from joulebench.api import BackendSession, MemoryUse, ModelTokenizer, Scalar, Traffic
from joulebench.errors import JoulebenchError
from joulebench_plugins.llamacpp.counting import (
    compute_facts,
    kv_allocated_bytes,
    kv_position_bytes,
    matrix_type,
    traffic_of,
)
from joulebench_plugins.llamacpp.decoder import Decoder
from joulebench_plugins.llamacpp.kvaccount import KvUse, kv_account
from joulebench_plugins.llamacpp.log import Allocations, LibraryLog, read_allocations
from joulebench_plugins.llamacpp.sequences import SequenceBatch
from joulebench_plugins.shared.tensors.gguf import GgufModel

#: Positions whose logits are held at once: bounds them to so many rows of the vocabulary's width.
LOGITS_CHUNK: Final = 128


class LlamaCppSession(BackendSession):
    """One sequence on one model; the library knows the positions."""

    def __init__(
        self,
        decoder: Decoder,
        model: GgufModel,
        log: LibraryLog,
        allocated: Allocations,
        facts: Mapping[str, Scalar],
        kv: KvUse = KvUse(),  # noqa: B008  it cannot change
    ) -> None:
        self.vocabulary_size = decoder.vocabulary_size
        self.context_length: int = decoder.context_tokens
        self._decoder = decoder
        self._model = model
        self._tensors = model.tensors
        self._log = log
        self._allocated = allocated
        self._facts = facts
        self._kv = kv
        #: Tokens of the last text that was scored.
        self._scored = 0
        self._compute = compute_facts(model.tensors, allocated, str(facts["device"]))
        self._tokens = decoder.tokens
        self._decode_one, self._last_logits = decoder.decode_one, decoder.last_logits
        self._length = 0
        self._batch: SequenceBatch | None = None

    # -- generating ------------------------------------------------------------------------

    def prefill(self, tokens: Sequence[int]) -> int:
        """Read a prompt and return the first greedy token."""
        self._check_length(len(tokens))
        if self._length:
            self.reset()
        capacity = len(self._tokens)
        for start in range(0, len(tokens), capacity):
            piece = tokens[start : start + capacity]
            self._feed(piece)
            self._forget(start + len(piece))
        self._length = len(tokens)
        token = int(self._last_logits().argmax())
        self._tokens[0] = token  # where the next step reads it
        return token

    def step(self) -> int:
        """Feed the last returned token and return the next greedy token."""
        if self._length == self.context_length or not self._length:
            self._check_step()
        code = self._decode_one()
        if code:
            raise self._failure(code)
        self._length += 1
        if self._kv.window is not None:
            self._forget(self._length)
        token = int(self._last_logits().argmax())
        self._tokens[0] = token
        return token

    def prefill_batch(self, sequences: Sequence[Sequence[int]]) -> list[int]:
        """Read several prompts at once, in a context that is made anew where it has not room for as many."""
        for tokens in sequences:
            self._check_length(len(tokens))
        batch = self._batch_of(len(sequences))
        self.reset()
        first = batch.prefill(sequences)
        self._length = max(batch.lengths)
        return first

    def step_batch(self) -> list[int]:
        """Feed each sequence its last token and return the next greedy token of each."""
        if self._batch is None or not self._length:
            raise JoulebenchError("step_batch() needs prompts: call prefill_batch() first")
        self._check_length(self._length + 1)
        tokens = self._batch.step()
        self._length += 1
        return tokens

    def _batch_of(self, sequences: int) -> SequenceBatch:
        if sequences > len(self._tokens):  # the library would end the process
            raise JoulebenchError(
                f"a step of {sequences} sequences does not fit into a batch of {len(self._tokens)} tokens",
                hint="raise batch_tokens",
            )
        if self._decoder.sequences != sequences:
            lines = len(self._log.lines)
            if not self._decoder.make_room(sequences):
                errors = self._log.last_errors()
                raise JoulebenchError(f"llama.cpp makes no context for {sequences} sequences: {errors}")
            self._allocated = replace(
                read_allocations(self._log.lines[lines:]),
                weights_bytes=self._allocated.weights_bytes,
                repacked_bytes=self._allocated.repacked_bytes,
            )
            self._drop_batch()
        if self._batch is None:
            self._batch = SequenceBatch(self._decoder.api, self._decoder, sequences)
        return self._batch

    def _drop_batch(self) -> None:
        if self._batch is not None:
            self._batch.close()
        self._batch = None

    def reset(self) -> None:
        """Forget the sequence, or the batch; the buffers stay."""
        self._decoder.clear()
        self._length = 0
        if self._batch is not None:
            self._batch.lengths = [0] * len(self._batch.lengths)

    def _feed(self, tokens: Sequence[int], *, every: bool = False) -> None:
        self._tokens[: len(tokens)] = tokens
        code = self._decoder.decode(len(tokens), every=every)
        if code:
            raise self._failure(code)

    def _forget(self, length: int) -> None:
        """Take out of the cache what does not stay when so many tokens have come."""
        gone = None if self._kv.window is None else self._kv.window.gone(length)
        if gone is not None and not self._decoder.forget(*gone):
            raise JoulebenchError("llama.cpp cannot take positions out of this model's cache")

    # -- whole sequences -------------------------------------------------------------------

    def logits(self, tokens: Sequence[int]) -> Any:
        """Logits after each token, float32, shaped (len(tokens), vocabulary_size)."""
        logits = np.empty((len(tokens), self.vocabulary_size), np.float32)
        for start, rows in self._rows(tokens):
            logits[start : start + len(rows)] = rows
        return logits

    def score(self, tokens: Sequence[int]) -> Sequence[float]:
        """Natural-log probabilities of ``tokens[1:]``, summed in float64."""
        scores: list[float] = []
        targets = np.asarray(tokens[1:], np.int64)
        for start, rows in self._rows(tokens[:-1]):
            chunk_targets = targets[start : start + len(rows)]
            greatest = rows.max(axis=1)
            # The sum of exponentials in float64 costs less than it takes to read the logits.
            total = np.exp(rows - greatest[:, None]).sum(axis=1, dtype=np.float64)
            chosen = rows[np.arange(len(rows)), chunk_targets].astype(np.float64)
            scores.extend((chosen - greatest - np.log(total)).tolist())
        return scores

    def _rows(self, tokens: Sequence[int]) -> Any:
        """(first position, logits) of pieces of a sequence that starts from nothing."""
        if tokens:
            self._check_length(len(tokens))
        self.reset()
        step = min(LOGITS_CHUNK, len(self._tokens))
        for start in range(0, len(tokens), step):
            piece = tokens[start : start + step]
            self._feed(piece, every=True)
            self._forget(start + len(piece))
            yield start, self._decoder.all_logits(len(piece))
        self.reset()
        self._scored = len(tokens)

    # -- the record ------------------------------------------------------------------------

    def memory(self) -> MemoryUse:
        """What the library said that it allocated; the used part of the KV cache is counted."""
        position_bytes = kv_position_bytes(self._tensors, self._allocated)
        return MemoryUse(
            weights_bytes=self._allocated.weights_bytes,
            kv_allocated_bytes=kv_allocated_bytes(position_bytes, self._allocated),
            kv_used_bytes=None if position_bytes is None else position_bytes * self._kept_positions(),
            workspace_bytes=self._allocated.workspace_bytes,
        )

    def _kept_positions(self) -> int:
        if self._batch is not None and any(self._batch.lengths):
            return sum(self._batch.lengths)
        return self._kv.kept(self._length)

    def traffic(self) -> Traffic:
        """Counted from the tensors in the file and the types of the KV cache.

        Under a window it reads no more for a longer text: bytes for each position are ``None``.
        """
        counted = traffic_of(self._model, self._allocated)
        if self._kv.window is not None:
            return replace(counted, kv_position_bytes=None)
        return counted

    def observed(self, capability: str) -> Mapping[str, Scalar]:
        """The KV cache after the last sequence or scored text."""
        if capability not in ("kv.quantized", "kv.window"):
            raise self.lacking(f"observed('{capability}')")
        length = self._length or self._scored
        return kv_account(self._tensors, self._allocated, self._kv, length)

    def tokenizer(self) -> ModelTokenizer | None:
        """The vocabulary of the file."""
        return self._decoder.tokenizer()

    def facts(self) -> Mapping[str, Scalar]:
        """What the file and the library say, beside what was set."""
        return {
            "dtype": matrix_type(self._tensors),
            **self._compute,
            "kv_type_k": self._allocated.kv_type_k,
            "kv_type_v": self._allocated.kv_type_v,
            "flash_attention": self._allocated.flash_attention,
            "context_length": self.context_length,
            "kv_cells": self._allocated.kv_cells,
            "kv_layers": self._allocated.kv_layers,
            "state_bytes": self._allocated.state_bytes,
            "parameters": sum(tensor.count for tensor in self._tensors),
            **self._facts,
        }

    def close(self) -> None:
        """Free the context and the model."""
        self._drop_batch()
        self._decoder.close()

    # -- faults ----------------------------------------------------------------------------

    def _check_length(self, length: int) -> None:
        if not length:
            raise JoulebenchError("an empty prompt cannot be read")
        if length > self.context_length:
            raise JoulebenchError(
                f"{length} tokens do not fit into {self.context_length} positions",
                hint="raise context_tokens, or shorten the prompt",
            )

    def _check_step(self) -> None:
        if not self._length:
            raise JoulebenchError("step() needs a prompt: call prefill() first")
        self._check_length(self._length + 1)

    def _failure(self, code: int) -> JoulebenchError:
        errors = self._log.last_errors()
        return JoulebenchError(f"llama_decode failed with code {code}: {errors or 'no message'}")
