"""Several sequences in one ``llama_batch``: rows of tokens, each with its sequence and its place in it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from joulebench_plugins.llamacpp.decoder import Decoder


class SequenceBatch:
    """Sequences that a context of as many reads and writes at once; greedy."""

    def __init__(self, api: Any, decoder: Decoder, sequences: int) -> None:
        self._api, self._decoder = api, decoder
        self._capacity = len(decoder.tokens)
        #: Tokens of each sequence so far.
        self.lengths = [0] * sequences
        self._rows = api.llama_batch_init(self._capacity, 0, 1)
        for row in range(self._capacity):
            self._rows.n_seq_id[row] = 1

    def prefill(self, prompts: Sequence[Sequence[int]]) -> list[int]:
        """The first token after each prompt; prompts follow each other in as few calls as they fit in."""
        first = [0] * len(prompts)
        rows = list(_prompt_rows(prompts))
        for start in range(0, len(rows), self._capacity):
            piece = rows[start : start + self._capacity]
            for row, (token, place, sequence, last) in enumerate(piece):
                self._put(row, token, place, sequence, wanted=last)
            self._decoder.decode_rows(self._rows, len(piece))
            for row, (_, _, sequence, last) in enumerate(piece):
                if last:
                    first[sequence] = self._decoder.greedy_after(row)
        self.lengths = list(map(len, prompts))
        self._feed_back(first)
        return first

    def step(self) -> list[int]:
        """The next token of each."""
        count = len(self.lengths)
        for sequence, length in enumerate(self.lengths):
            self._rows.pos[sequence] = length
            self.lengths[sequence] = length + 1
        self._decoder.decode_rows(self._rows, count)
        tokens: list[int] = self._decoder.all_logits(count).argmax(axis=1).tolist()
        for row, token in enumerate(tokens):
            self._rows.token[row] = token
        return tokens

    def close(self) -> None:
        """Free the rows."""
        self._api.llama_batch_free(self._rows)

    def _feed_back(self, tokens: Sequence[int]) -> None:
        for sequence, token in enumerate(tokens):
            self._put(sequence, token, self.lengths[sequence], sequence, wanted=True)

    def _put(self, row: int, token: int, place: int, sequence: int, *, wanted: bool) -> None:
        rows = self._rows
        rows.token[row], rows.pos[row], rows.seq_id[row][0], rows.logits[row] = token, place, sequence, wanted


def _prompt_rows(prompts: Sequence[Sequence[int]]) -> Iterator[tuple[int, int, int, bool]]:
    """(token, place, sequence, whether it is its prompt's last)."""
    for sequence, tokens in enumerate(prompts):
        for place, token in enumerate(tokens):
            yield token, place, sequence, place == len(tokens) - 1
