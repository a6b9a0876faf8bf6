"""A model's inputs and outputs, bound once to buffers that stay where they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import onnxruntime

from joulebench_plugins.onnx.failures import lacks_memory
from joulebench_plugins.onnx.llamagraph import (
    INPUT_IDS,
    LAST_POSITION,
    LOGIT_POSITIONS,
    LOGITS,
    TOTAL_LENGTH,
    past_name,
    present_name,
)

_KEY_VALUE: Final = ("key", "value")


class BoundModel:
    """Runs the graph of ``onnx-export`` on one KV cache of ``cache_tokens`` positions.

    Each layer's past and present are the same buffer: the runtime writes the new positions into
    it and copies nothing. A step passes three numbers in, through arrays that the runtime reads in
    place, and finds its logits in a fourth.
    """

    def __init__(self, runtime: Any, cache_tokens: int, sequences: int = 1) -> None:
        self.cache_tokens = cache_tokens
        #: Sequences that it has room for.
        self.sequences = sequences
        #: Whether the graph was written for any number of them.
        self.takes_batches = not isinstance(runtime.get_inputs()[0].shape[0], int)
        self._runtime = runtime
        (vocabulary,) = (value.shape[1] for value in runtime.get_outputs() if value.name == LOGITS)
        self.vocabulary_size = int(vocabulary)
        #: Keys and values by (layer, ``key`` or ``value``): (sequences, KV heads, cache_tokens, head size).
        self.cache = _new_cache(runtime, cache_tokens, sequences)
        total_bytes = sum(buffer.nbytes for buffer in self.cache.values())
        #: Bytes of one position's keys and values of a sequence in all layers.
        self.position_bytes: int = total_bytes // cache_tokens // sequences
        self._last = np.zeros(sequences, np.int32)
        self._total = np.zeros(1, np.int32)
        self._token = np.zeros((sequences, 1), np.int64)
        self._only = np.arange(sequences)
        self._row = np.zeros((sequences, self.vocabulary_size), np.float32)
        self._step_binding = self._bind()
        self._many_binding = self._bind()
        bind_input(self._step_binding, INPUT_IDS, self._token)
        bind_input(self._step_binding, LOGIT_POSITIONS, self._only)
        bind_output(self._step_binding, LOGITS, self._row)

    def _bind(self) -> Any:
        binding = self._runtime.io_binding()
        bind_input(binding, LAST_POSITION, self._last)
        bind_input(binding, TOTAL_LENGTH, self._total)
        for (layer, part), buffer in self.cache.items():
            value = onnxruntime.OrtValue.ortvalue_from_numpy(buffer)
            binding.bind_ortvalue_input(past_name(layer, part), value)
            binding.bind_ortvalue_output(present_name(layer, part), value)
        return binding

    #: A run gives logits of the positions that it is asked for.
    last_only = False

    def reset(self) -> None:
        """Nothing to do: what stands in the cache behind a sequence is never looked at."""

    def allocated_bytes(self) -> int:
        """Bytes of the KV cache."""
        return self.sequences * self.cache_tokens * self.position_bytes

    def used_bytes(self, length: int) -> int:
        """Bytes of the positions that a sequence has reached."""
        return length * self.position_bytes

    def read(self, tokens: Sequence[int], at: int) -> int:
        """Feed ``tokens`` from position ``at`` on; returns the greedy token after the last."""
        end = at + len(tokens)
        self._last[0], self._total[0] = end - 1, end
        self._feed(np.array([tokens], np.int64), np.array([len(tokens) - 1], np.int64), self._row)
        return self._choose()

    def fill(self, tokens: Sequence[int], at: int, logits: Any) -> None:
        """Feed ``tokens`` from position ``at`` on; ``logits`` (tokens, vocabulary) is filled."""
        end = at + len(tokens)
        self._last[0], self._total[0] = end - 1, end
        self._feed(np.array([tokens], np.int64), np.arange(len(tokens), dtype=np.int64), logits)

    def step(self, at: int) -> int:
        """Feed the token that was chosen last, at position ``at``; returns the next."""
        self._last[0] = at
        self._total[0] = at + 1
        self._runtime.run_with_iobinding(self._step_binding)
        return self._choose()

    def read_batch(self, sequences: Sequence[Sequence[int]]) -> list[int]:
        """Feed prompts from position 0 on; returns the greedy token after each.

        What fills up the end of a shorter one is overwritten by its answer before anything looks at it.
        """
        lengths = np.array([len(tokens) for tokens in sequences])
        longest = int(lengths.max())
        ids = np.zeros((len(sequences), longest), np.int64)
        for row, tokens in zip(ids, sequences, strict=True):
            row[: len(tokens)] = tokens
        self._last[:], self._total[0] = lengths - 1, longest
        self._feed(ids, np.arange(len(sequences)) * longest + lengths - 1, self._row)
        return self._choose_all()

    def step_batch(self) -> list[int]:
        """Feed each sequence the token that was chosen last; returns the next of each."""
        self._last += 1
        self._total[0] = self._last.max() + 1
        self._runtime.run_with_iobinding(self._step_binding)
        return self._choose_all()

    def _feed(self, ids: Any, positions: Any, logits: Any) -> None:
        binding = self._many_binding
        bind_input(binding, INPUT_IDS, ids)
        bind_input(binding, LOGIT_POSITIONS, positions)
        bind_output(binding, LOGITS, logits)
        try:
            self._runtime.run_with_iobinding(binding)
        except Exception as error:  # onnxruntime's own errors have no common class
            if lacks_memory(error):
                raise MemoryError(f"not enough memory to read {ids.size} tokens") from error
            raise

    def _choose(self) -> int:
        # numpy's argmax takes a few µs; ArgMax in the graph took longer than the call it saves.
        token = int(self._row.argmax())
        self._token[0, 0] = token
        return token

    def _choose_all(self) -> list[int]:
        self._token[:, 0] = self._row.argmax(axis=1)
        tokens: list[int] = self._token[:, 0].tolist()
        return tokens


def _new_cache(runtime: Any, cache_tokens: int, sequences: int) -> dict[tuple[int, str], Any]:
    """A zeroed buffer for the keys and one for the values of each layer.

    The graph says heads and head size. Pages that no token has reached take no memory yet.
    """
    shapes = {value.name: value.shape for value in runtime.get_inputs()}
    layers = sum(name.endswith(f".{_KEY_VALUE[0]}") for name in shapes)
    cache: dict[tuple[int, str], Any] = {}
    for layer in range(layers):
        for part in _KEY_VALUE:
            _, heads, _, head_dim = shapes[past_name(layer, part)]
            cache[layer, part] = np.zeros((sequences, heads, cache_tokens, head_dim), np.float32)
    return cache


def bind_input(binding: Any, name: str, values: Any) -> None:
    """Let an input be read from an array's memory at each run."""
    # The value is the array's own memory, without keeping it alive: the caller must, while it runs.
    binding.bind_ortvalue_input(name, onnxruntime.OrtValue.ortvalue_from_numpy(values))


def bind_output(binding: Any, name: str, values: Any) -> None:
    """Let an output be written into an array's memory at each run."""
    binding.bind_ortvalue_output(name, onnxruntime.OrtValue.ortvalue_from_numpy(values))
