"""A compiled graph: greedy decoding and scoring of one sequence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from joulebench.api import BackendSession, MemoryUse, Scalar, Settings, Traffic
from joulebench.backendkit import log_probabilities
from joulebench.errors import JoulebenchError
from joulebench_plugins.openvino.executed import ExecutedGraph, model_property, property_facts
from joulebench_plugins.openvino.feeding import FedModel
from joulebench_plugins.openvino.graph import Inventory
from joulebench_plugins.openvino.kvstate import stored_type
from joulebench_plugins.openvino.library import openvino
from joulebench_plugins.openvino.numbertypes import LIBRARY

#: Positions scored at once: bounds the logits to this many rows of the vocabulary's width.
_SCORE_CHUNK: Final = 128
#: The same where the KV cache is narrower than the computation: tokens that are read together see each other's
#: keys and values as they were computed, so that only the earlier ones are read as they are stored.
_NARROW_CHUNK: Final = 16
#: Tokens that are read once after loading, to see which type their keys and values are stored in.
_LOOK_TOKENS: Final = 4
#: Bytes of a number that the state holds; what integers have beside them is not told.
_STATE_BYTES: Final = {"float32": 4, "float16": 2, "bfloat16": 2}


class OpenVinoSession(BackendSession):
    """One sequence on one model, whose KV cache is the request's state; scoring uses that as well."""

    def __init__(
        self, compiled: Any, inventory: Inventory, *, context: int | None, piece: int | None, settings: Settings
    ) -> None:
        self._compiled, self._inventory, self._settings = compiled, inventory, settings
        self._model = model = FedModel(compiled)
        self.context_length = context
        self.vocabulary_size = model.vocabulary_size
        self._length = 0
        model.piece = piece
        self._executed = ExecutedGraph.of(compiled)
        self._kv_type = self._look_at_state()
        self._chunk = _SCORE_CHUNK if self._kv_type in (None, "float32") else _NARROW_CHUNK

    def _look_at_state(self) -> str | None:
        """Type of the stored keys and values; ``None`` where no attention holds a cache of its own."""
        if not self._executed.fused_attention:
            return None
        if model_property(self._compiled, "KV_CACHE_PRECISION") == "f32":
            return "float32"  # any attention can hold that; of narrower types the property is a claim
        self.prefill([token % (self.vocabulary_size or 1) for token in range(_LOOK_TOKENS)])
        group = model_property(self._compiled, "VALUE_CACHE_GROUP_SIZE") or "0"
        kind = stored_type(self._model.state(), int(group))
        self.reset()
        return kind

    # -- generating ------------------------------------------------------------------------

    def prefill(self, tokens: Sequence[int]) -> int:
        """Read a prompt and return the first greedy token."""
        if not tokens:
            raise JoulebenchError("an empty prompt cannot be read")
        self._check_length(len(tokens))
        self.reset()
        token = self._model.read(tokens)
        self._length = len(tokens)
        return token

    def step(self) -> int:
        """Feed the last returned token and return the next greedy token."""
        if not self._length or self._length == self.context_length:
            self._check_step()
        token = self._model.step()
        self._length += 1
        return token

    def prefill_batch(self, sequences: Sequence[Sequence[int]]) -> list[int]:
        """Read several prompts at once.

        Raises :class:`JoulebenchError` where a graph with states would carry what fills a shorter one up into them,
        or counts places itself.
        """
        lengths = [len(tokens) for tokens in sequences]
        if not min(lengths):
            raise JoulebenchError("an empty prompt cannot be read")
        if min(lengths) < max(lengths) and (self._inventory.recurrent or not self._model.takes_positions):
            raise JoulebenchError(
                "this graph reads prompts of one length only at once",
                hint="use the workloads 'prefill' and 'decode', or batch = 1",
            )
        self._check_length(max(lengths))
        self.reset()
        first = self._model.read_batch(sequences)
        self._length = max(lengths)
        return first

    def step_batch(self) -> list[int]:
        """Feed each sequence its last token and return the next greedy token of each."""
        if not self._length or self._length == self.context_length:
            self._check_step()
        tokens = self._model.step_batch()
        self._length += 1
        return tokens

    def reset(self) -> None:
        """Forget the sequence; the model stays compiled."""
        self._length = 0
        self._model.reset()

    def _check_length(self, length: int) -> None:
        if self.context_length is not None and length > self.context_length:
            raise JoulebenchError(
                f"{length} tokens do not fit into {self.context_length} positions", hint="shorten the text"
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
        for start in range(0, len(tokens) - 1, self._chunk):
            chunk = tokens[start : min(start + self._chunk, len(tokens) - 1)]
            targets = tokens[start + 1 : start + 1 + len(chunk)]
            scores.extend(log_probabilities(self._model.rows(chunk), targets).tolist())
        self.reset()
        return scores

    def logits(self, tokens: Sequence[int]) -> Any:
        """Logits after each of ``tokens``: float32, (len(tokens), vocabulary_size)."""
        self._check_length(len(tokens))
        self.reset()
        chunks = [self._model.rows(tokens[start : start + self._chunk]) for start in range(0, len(tokens), self._chunk)]
        self.reset()
        return np.concatenate(chunks)

    # -- the record ------------------------------------------------------------------------

    def memory(self) -> MemoryUse:
        """Weights as the graph's file stores them, and the bytes of the state's numbers.

        The library repacks weights when it compiles and does not say what that takes, nor what it keeps
        beside the state; the state is ``None`` where it is stored as integers, whose scales are not told.
        """
        size = _STATE_BYTES.get(self._kv_type or "float32")
        used = None if size is None else size * (self._model.state_numbers() if self._length else 0)
        return MemoryUse(weights_bytes=self._inventory.stored_bytes, kv_used_bytes=used)

    def traffic(self) -> Traffic:
        """Counted from the graph's constants and variables.

        ``None`` where what a token uses depends on the text, and for keys and values that are stored in
        another type than the graph's own.
        """
        inventory = self._inventory
        head = inventory.head_weight()
        return Traffic(
            weights_bytes=inventory.bytes_per_token(),
            kv_position_bytes=inventory.state_bytes if self._kv_type in (None, "float32") else None,
            operations=inventory.operations(),
            head_operations=None if head is None or inventory.has_experts else 2 * head.count,
        )

    def facts(self) -> Mapping[str, Scalar]:
        """What the executed graph and the compiled model say, the file's types, and the state's values."""
        inventory, executed = self._inventory, self._executed
        properties = property_facts(self._compiled)
        return {
            "dtype": executed.weight_types or inventory.product_types,
            "compute": executed.computed_in(int(properties["activation_group"] or 0)) or None,
            **executed.facts(),
            **properties,
            "weight_types": inventory.types,
            "bits_per_weight": inventory.bits,
            "parameters": inventory.parameters,
            "kv_type": self._kv_type,
            "kv_note": self._kv_note(),
            "context_length": self.context_length,
            "prompt_pieces": self._model.piece,
            "logits_at": "chosen positions" if self._model.chooses else "all positions",
            "openvino": str(openvino.__version__),
        }

    def _kv_note(self) -> str | None:
        """What is to be said where keys and values are not stored as was asked."""
        asked = str(self._settings["kv_type"])
        if self._kv_type is None:
            return "no attention of the executed graph holds a KV cache: kv_type has no effect"
        if asked not in (LIBRARY, self._kv_type):
            return f"asked for {asked}; the values in the state are {self._kv_type}"
        return None

    def close(self) -> None:
        """Drop the model and its state; a second call does nothing."""
        for name in ("_model", "_compiled"):
            vars(self).pop(name, None)
