"""Feeds a compiled graph from buffers that stay where they are, and takes logits from it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np

from joulebench_plugins.openvino.library import openvino
from joulebench_plugins.openvino.positions import LOGIT_POSITIONS, logits_port

#: Positions that the mask's buffer first has room for; it doubles when it is full.
_ROOM: Final = 1024


class FedModel:
    """One request on a compiled graph. The position of a token is the number of those before it."""

    def __init__(self, compiled: Any) -> None:
        self._request = compiled.create_infer_request()
        self._ports = {port.get_any_name(): port for port in compiled.inputs}
        self._kinds = {name: port.get_element_type().to_dtype() for name, port in self._ports.items()}
        self._logits = logits_port(compiled)
        self.vocabulary_size = int(self._logits.get_partial_shape()[-1].get_length())
        #: Whether the graph computes logits of chosen positions only.
        self.chooses = LOGIT_POSITIONS in self._ports
        #: Tokens that are fed at once at most.
        self.piece: int | None = None
        self._length = 0
        #: What the request reads from: the library does not keep an array alive.
        self._bound: dict[str, Any] = {}
        self._mask = self._ones(_ROOM)
        self._token = np.zeros((1, 1), self._kinds["input_ids"])
        self._at = np.zeros((1, 1), self._kinds.get("position_ids", np.int64))
        self._beam = np.zeros(1, self._kinds.get("beam_idx", np.int32))
        self._first = np.zeros(1, np.int64)
        self._begun = False
        #: Of a batch: what stands before each sequence, (sequences, 1), and the tokens chosen last.
        self._fills = np.zeros((1, 1), np.int64)
        self._tokens = self._token

    def reset(self) -> None:
        """Empty the state."""
        self._request.reset_state()
        self._length = 0
        self._begun = False

    def read(self, tokens: Sequence[int]) -> int:
        """Feed tokens behind what was read; the greedy token after the last."""
        for piece in self._pieces(tokens):
            self._feed(piece, np.array([len(piece) - 1], np.int64))
        return self._choose()

    def rows(self, tokens: Sequence[int]) -> Any:
        """Feed tokens behind what was read; logits after each, float32."""
        parts = []
        for piece in self._pieces(tokens):
            self._feed(piece, np.arange(len(piece), dtype=np.int64))
            parts.append(self._output().astype(np.float32))
        return np.concatenate(parts)

    def step(self) -> int:
        """Feed the token that was chosen last; the next one."""
        if not self._begun:
            self._bind("input_ids", self._token)
            self._bind("beam_idx", self._beam)
            self._bind("position_ids", self._at)
            self._bind(LOGIT_POSITIONS, self._first)
            self._begun = True
        self._at[0, 0] = self._length
        self._advance(1)
        self._request.infer()
        return self._choose()

    @property
    def takes_positions(self) -> bool:
        """Whether the graph is told the place of each token; else it counts, what fills up a batch included."""
        return "position_ids" in self._ports

    def read_batch(self, sequences: Sequence[Sequence[int]]) -> list[int]:
        """Feed prompts from position 0 on, shorter ones filled up at their beginning; the token after each."""
        count, longest = len(sequences), max(map(len, sequences))
        ids = np.zeros((count, longest), self._kinds["input_ids"])
        for row, tokens in zip(ids, sequences, strict=True):
            row[longest - len(tokens) :] = tokens
        self._fills = np.array([[longest - len(tokens)] for tokens in sequences])
        self._tokens = np.zeros((count, 1), ids.dtype)
        return self._feed_batch(ids)

    def step_batch(self) -> list[int]:
        """Feed each sequence the token that was chosen last; the next of each."""
        return self._feed_batch(self._tokens)

    def _feed_batch(self, ids: Any) -> list[int]:
        self._begun = False
        begin, (count, new) = self._length, ids.shape
        self._length += new
        places = np.arange(self._length) - self._fills
        self._bind("input_ids", ids)
        self._bind("position_ids", places[:, begin:].clip(0).astype(self._at.dtype))
        self._bind("attention_mask", (places >= 0).astype(self._mask.dtype))
        self._bind(LOGIT_POSITIONS, np.array([new - 1]))
        self._bind("beam_idx", np.arange(count, dtype=self._beam.dtype))
        self._request.infer()
        logits = self._request.get_tensor(self._logits).data
        self._tokens[:, 0] = logits[:, -1].argmax(axis=-1)
        tokens: list[int] = self._tokens[:, 0].tolist()
        return tokens

    def state(self) -> Iterator[Any]:
        """The state's tensors as the library hands them out."""
        return (entry.state.data for entry in self._request.query_state())

    def state_numbers(self) -> int:
        """Numbers in the state."""
        return sum(int(entry.state.size) for entry in self._request.query_state())

    def _pieces(self, tokens: Sequence[int]) -> Iterator[Sequence[int]]:
        size = self.piece or len(tokens)
        return (tokens[start : start + size] for start in range(0, len(tokens), size))

    def _feed(self, tokens: Sequence[int], positions: Any) -> None:
        self._begun = False
        begin = self._length
        self._bind("input_ids", np.array([tokens], self._kinds["input_ids"]))
        self._bind("position_ids", np.arange(begin, begin + len(tokens), dtype=self._at.dtype)[None])
        self._bind(LOGIT_POSITIONS, positions)
        self._bind("beam_idx", self._beam)
        self._advance(len(tokens))
        try:
            self._request.infer()
        except RuntimeError as error:
            if "bad_alloc" in str(error):
                raise MemoryError(f"not enough memory to read {len(tokens)} tokens") from error
            raise

    def _advance(self, tokens: int) -> None:
        self._length += tokens
        if self._length > self._mask.shape[1]:
            self._mask = self._ones(2 * self._length)
        self._bind("attention_mask", self._mask[:, : self._length])

    def _ones(self, positions: int) -> Any:
        return np.ones((1, positions), self._kinds.get("attention_mask", np.int64))

    def _bind(self, name: str, values: Any) -> None:
        """Let an input be read from an array's memory; does nothing where the graph has no such input."""
        if name in self._ports:
            self._bound[name] = values
            self._request.set_tensor(self._ports[name], openvino.Tensor(values, shared_memory=True))

    def _output(self) -> Any:
        """Logits of the one sequence, (positions, vocabulary), in memory of the library."""
        return self._request.get_tensor(self._logits).data[0]

    def _choose(self) -> int:
        token = int(self._output()[-1].argmax())
        self._token[0, 0] = token
        return token
