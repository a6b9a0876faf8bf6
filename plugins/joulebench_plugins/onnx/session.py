"""A loaded ONNX model: greedy decoding and scoring of one sequence."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime

from joulebench.api import BackendSession, Kernel, MemoryUse, Scalar, Settings, Traffic
from joulebench.backendkit import log_probabilities
from joulebench.errors import JoulebenchError
from joulebench_plugins.onnx.binding import BoundModel
from joulebench_plugins.onnx.graphmodel import GraphModel
from joulebench_plugins.onnx.inventory import Inventory, take_inventory
from joulebench_plugins.onnx.llamagraph import LOGIT_POSITIONS
from joulebench_plugins.onnx.numbertypes import type_facts

#: Positions scored at once: bounds the logits to this many rows of the vocabulary's width.
_SCORE_CHUNK: Final = 128


class OnnxSession(BackendSession):
    """One sequence on one model. The KV cache is one, which scoring uses as well.

    ``files`` are the graphs, ``runtimes`` loaded from them; the last is the one that follows a prompt.
    """

    def __init__(
        self,
        runtimes: Sequence[Any],
        files: Sequence[Path],
        model: BoundModel | GraphModel,
        *,
        mode: str,
        settings: Settings,
    ) -> None:
        self._runtimes, self._files = tuple(runtimes), tuple(files)
        self._mode, self._settings = mode, settings
        self._model = model
        self.context_length = model.cache_tokens
        self.vocabulary_size = model.vocabulary_size
        self._length = 0
        #: A model of its own for several sequences at once, and what each of them has read and written.
        self._batch: BoundModel | None = None
        self._lengths: list[int] = []
        self._step = model.step

    # -- generating ------------------------------------------------------------------------

    def prefill(self, tokens: Sequence[int]) -> int:
        """Read a prompt and return the first greedy token."""
        if not tokens:
            raise JoulebenchError("an empty prompt cannot be read")
        self._check_length(len(tokens))
        self._length = 0
        token = self._model.read(tokens, at=0)
        self._length = len(tokens)
        return token

    def step(self) -> int:
        """Feed the last returned token and return the next greedy token."""
        length = self._length
        if length == self.context_length or not length:
            self._check_step()
        token = self._step(length)
        self._length = length + 1
        return token

    def prefill_batch(self, sequences: Sequence[Sequence[int]]) -> list[int]:
        """Read several prompts at once, on a cache that has room for each."""
        if not min(map(len, sequences)):
            raise JoulebenchError("an empty prompt cannot be read")
        longest = max(map(len, sequences))
        self._check_length(longest)
        batch = self._batch_of(len(sequences))
        self._length = 0
        first = batch.read_batch(sequences)
        self._lengths, self._length = [len(tokens) for tokens in sequences], longest
        return first

    def step_batch(self) -> list[int]:
        """Feed each sequence its last token and return the next greedy token of each."""
        if self._batch is None or not self._lengths:
            raise JoulebenchError("step_batch() needs prompts: call prefill_batch() first")
        self._check_length(self._length + 1)
        tokens = self._batch.step_batch()
        self._length += 1
        self._lengths = [length + 1 for length in self._lengths]
        return tokens

    def _batch_of(self, sequences: int) -> BoundModel:
        if not isinstance(self._model, BoundModel) or not self._model.takes_batches:
            raise JoulebenchError(
                "this graph reads one sequence at a time",
                where=str(self._files[-1]),
                hint="onnx-export writes graphs of llama-type models that read several",
            )
        if self._batch is None or self._batch.sequences != sequences:
            self._batch = BoundModel(self._runtimes[-1], self._model.cache_tokens, sequences)
        return self._batch

    def reset(self) -> None:
        """Forget the sequence, or the batch."""
        self._model.reset()
        self._length, self._lengths = 0, []

    def _check_length(self, length: int) -> None:
        if length > self._model.cache_tokens:
            raise JoulebenchError(
                f"{length} tokens do not fit into {self._model.cache_tokens} positions",
                hint="raise cache_tokens, as far as the model's context goes, or shorten the text",
            )

    def _check_step(self) -> None:
        if not self._length:
            raise JoulebenchError("step() needs a prompt: call prefill() first")
        self._check_length(self._length + 1)

    # -- whole sequences -------------------------------------------------------------------

    def score(self, tokens: Sequence[int]) -> Sequence[float]:
        """Natural-log probabilities of ``tokens[1:]``. Ends the sequence that was begun."""
        self._check_length(len(tokens))
        self.reset()
        scores: list[float] = []
        rows = np.empty((min(_SCORE_CHUNK, len(tokens)), self._model.vocabulary_size), np.float32)
        for start in range(0, len(tokens) - 1, _SCORE_CHUNK):
            chunk = tokens[start : min(start + _SCORE_CHUNK, len(tokens) - 1)]
            logits = rows[: len(chunk)]
            self._model.fill(chunk, at=start, logits=logits)
            targets = tokens[start + 1 : start + 1 + len(chunk)]
            scores.extend(log_probabilities(logits, targets).tolist())
        return scores

    def logits(self, tokens: Sequence[int]) -> Any:
        """Logits after each of ``tokens``: float32, (len(tokens), vocabulary_size)."""
        self._check_length(len(tokens))
        self.reset()
        rows = np.empty((len(tokens), self._model.vocabulary_size), np.float32)
        for start in range(0, len(tokens), _SCORE_CHUNK):
            chunk = tokens[start : start + _SCORE_CHUNK]
            self._model.fill(chunk, at=start, logits=rows[start : start + len(chunk)])
        return rows

    def operators(self, context: int) -> Sequence[Kernel]:
        """Each operator alone on the model's weights; ends the sequence that was begun."""
        from joulebench_plugins.onnx.operators import model_operators

        self.reset()
        if not isinstance(self._model, BoundModel):
            raise JoulebenchError(
                "the operators of this model are not known",
                where=str(self._files[-1]),
                hint="they are those of the graph that onnx-export writes; leave the workload out for this model",
            )
        return model_operators(self._model, self._files[-1], self._inventory, self._settings, context)

    # -- the record ------------------------------------------------------------------------

    @functools.cached_property
    def _inventory(self) -> Inventory:
        return take_inventory(self._files[-1])

    def memory(self) -> MemoryUse:
        """Weights as the files store them, KV cache and states as allocated; the workspace is not told."""
        model = self._model
        others = sum(take_inventory(file).weights_bytes for file in self._files[:-1])
        return MemoryUse(
            weights_bytes=self._inventory.weights_bytes + others,
            kv_allocated_bytes=(self._batch if self._batch is not None and self._lengths else model).allocated_bytes(),
            kv_used_bytes=model.used_bytes(sum(self._lengths) or self._length),
        )

    def traffic(self) -> Traffic:
        """Counted from the tensors in the file and the shapes of the KV cache, as far as these tell it."""
        inventory = self._inventory
        if inventory.uncounted() is not None:
            return Traffic(kv_position_bytes=self._model.position_bytes)
        return Traffic(
            weights_bytes=inventory.bytes_per_token(),
            kv_position_bytes=self._model.position_bytes,
            operations=inventory.operations_per_token(),
            head_operations=self._head_operations(),
        )

    def _head_operations(self) -> int:
        """Operations that are done once for a whole prompt, since only its last position gets logits."""
        model = self._model
        if isinstance(model, BoundModel):
            return self._inventory.operations_after(LOGIT_POSITIONS)
        chosen = next((name for name, kind in model.decoder.feeds.items() if kind.startswith("kept")), None)
        if chosen is not None:
            return self._inventory.operations_after(chosen)
        return self._inventory.operations_of(model.decoder.logits.name) if model.last_only else 0

    def facts(self) -> Mapping[str, Scalar]:
        """What the runtime and the model's file say, and the settings that they do not tell."""
        runtime, settings = self._runtimes[-1], self._settings
        options = runtime.get_session_options()
        return {
            "mode": self._mode,
            "graph": ",".join(file.name for file in self._files),
            **self._graph_facts(),
            **type_facts(self._inventory, prepacking=bool(settings["prepacking"])),
            "context_length": self.context_length,
            "cache_tokens": self._model.cache_tokens,
            "threads": options.intra_op_num_threads,
            # A model in ORT format was optimised when it was written.
            "graph_optimization": settings.get("graph_optimization", "as stored"),
            "prepacking": bool(settings["prepacking"]),
            "spinning": bool(settings["spinning"]),
            "arena": options.enable_cpu_mem_arena,
            "providers": ",".join(runtime.get_providers()),
            "providers_built": ",".join(onnxruntime.get_available_providers()),
            "onnxruntime": str(onnxruntime.__version__),
        }

    def _graph_facts(self) -> dict[str, Scalar]:
        """What a graph that was not written for this session lets it do."""
        model = self._model
        facts: dict[str, Scalar] = {"uncounted": reason} if (reason := self._inventory.uncounted()) else {}
        if isinstance(model, GraphModel):
            facts["states"] = model.state_handling
            facts["prompt"] = "in one run" if model.reads_prompts_at_once else "token by token"
        return facts

    def close(self) -> None:
        """Drop the model and its cache; a second call does nothing."""
        for name in ("_step", "_model", "_batch", "_runtimes"):
            vars(self).pop(name, None)
