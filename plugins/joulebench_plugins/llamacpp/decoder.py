"""A model's context in llama.cpp, with the token buffer that it decodes from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from joulebench.errors import JoulebenchError
from joulebench_plugins.llamacpp.native import Native

#: llama.h, enum llama_vocab_type
_NO_VOCABULARY: Final = 0


class Decoder:
    """One context and its model.

    ``tokens`` is a numpy array of int32 that the library reads: write ids there, then decode.
    The library gives each token the position after the last one.
    """

    def __init__(
        self,
        native: Native,
        model: Any,
        make_context: Callable[[int], Any],
        context: Any,
        context_tokens: int,
        batch_tokens: int,
        watch: Any,
    ) -> None:
        api = native.api
        self._watch = watch  # the library keeps the address of the callback alone
        self._native, self._api, self._model, self._context = native, api, model, context
        #: The functions of llama.h.
        self.api = api
        self._make_context = make_context
        self._memory = api.llama_get_memory(context)
        #: Sequences that the context has room for.
        self.sequences = 1
        self.vocabulary_size = int(api.llama_vocab_n_tokens(api.llama_model_get_vocab(model)))
        #: Positions that one sequence may take.
        self.context_tokens = context_tokens
        # Variables of this object: a batch holds only pointers to them.
        self._token_buffer, self.tokens = native.integers(batch_tokens)
        self._wanted = native.ones(batch_tokens)
        self._one = api.llama_batch_get_one(self._token_buffer, 1)
        self._many = api.llama_batch_get_one(self._token_buffer, batch_tokens)
        self._every = api.llama_batch_get_one(self._token_buffer, batch_tokens)
        self._every.logits = self._wanted
        self._run = api.llama_decode
        self._address = native.logits_call()
        self._seen: Any = None
        self._view: Any = None

    def decode(self, count: int, *, every: bool = False) -> int:
        """Decode the first ``count`` tokens; 0 or llama_decode's code.

        Logits follow the last token, or ``every`` one of them.
        """
        batch = self._every if every else self._many
        batch.n_tokens = count
        return int(self._run(self._context, batch))

    def decode_one(self) -> int:
        """Decode the first token alone: the step of a generation."""
        return int(self._run(self._context, self._one))

    def last_logits(self) -> Any:
        """Logits after the last token: a float32 array on the library's own memory."""
        address = self._address(self._context, -1)
        if address != self._seen:  # the library moves its buffer when it needs a larger one
            self._view = self._native.floats(address, self.vocabulary_size)
            self._seen = address
        return self._view

    def all_logits(self, count: int) -> Any:
        """Logits after each of the ``count`` tokens of the last call with ``every``."""
        address = self._address(self._context, 0)
        return self._native.floats(address, count * self.vocabulary_size).reshape(count, -1)

    def decode_rows(self, rows: Any, count: int) -> None:
        """Decode the first ``count`` rows of a ``llama_batch``. Raises :class:`JoulebenchError` where it fails."""
        rows.n_tokens = count
        code = int(self._run(self._context, rows))
        if code:
            raise JoulebenchError(f"llama_decode failed with code {code} on {count} rows of {self.sequences} sequences")

    def greedy_after(self, row: int) -> int:
        """The most likely token after a row whose logits were wanted."""
        return int(self._native.floats(self._address(self._context, row), self.vocabulary_size).argmax())

    def make_room(self, sequences: int) -> bool:
        """Take a context of so many sequences in place of this one; False where the library has no memory for it."""
        self._api.llama_free(self._context)
        self._seen = self._view = None
        self._context = self._make_context(sequences)
        if not self._context:
            self._context = self._make_context(self.sequences)
            sequences = 0
        self._memory = self._api.llama_get_memory(self._context)
        self.sequences = sequences or self.sequences
        return bool(sequences)

    def forget(self, first: int, end: int) -> bool:
        """Forget the positions [first, end); the others keep theirs. False where it cannot."""
        return bool(self._api.llama_memory_seq_rm(self._memory, 0, first, end))

    def clear(self) -> None:
        """Forget all positions; what is allocated stays."""
        self._api.llama_memory_clear(self._memory, False)

    def close(self) -> None:
        """Free the context and the model."""
        if self._context is None:
            return
        self._view = None
        self._api.llama_free(self._context)
        self._api.llama_model_free(self._model)
        self._context = self._model = None

    # -- text --------------------------------------------------------------------------------

    def tokenize(self, text: str) -> list[int] | None:
        """Ids of a text without special tokens; ``None`` if the file has no vocabulary."""
        tokenizer = self.tokenizer()
        return None if tokenizer is None else tokenizer.ids(text, special=False, named=False)

    def tokenizer(self) -> FileTokenizer | None:
        """The tokenizer of the file; ``None`` if it has no vocabulary."""
        vocabulary = self._api.llama_model_get_vocab(self._model)
        if self._api.llama_vocab_type(vocabulary) == _NO_VOCABULARY:
            return None
        template = self._api.llama_model_chat_template(self._model, self._native.null)
        return FileTokenizer(self._native, vocabulary, self._native.text(template) if template else None)


class FileTokenizer:
    """The vocabulary of a GGUF file as llama.cpp reads it; it lives as long as its model."""

    def __init__(self, native: Native, vocabulary: Any, chat_template: str | None) -> None:
        self._native, self._api, self._vocabulary = native, native.api, vocabulary
        self.chat_template = chat_template
        count = int(self._api.llama_vocab_n_tokens(vocabulary))
        ends = self._api.llama_vocab_is_eog
        self.eos_tokens = frozenset(token for token in range(count) if ends(vocabulary, token))
        self.special_texts: Mapping[str, str] = {
            name: self._native.text(self._api.llama_vocab_get_text(vocabulary, token))
            for name, token in (
                ("bos_token", int(self._api.llama_vocab_bos(vocabulary))),
                ("eos_token", int(self._api.llama_vocab_eos(vocabulary))),
            )
            if 0 <= token < count
        }

    def encode(self, text: str, special: bool) -> list[int]:
        """Ids of a text, in which names of special tokens count as these."""
        return self.ids(text, special=special, named=True)

    def ids(self, text: str, *, special: bool, named: bool) -> list[int]:
        """Ids of a text.

        ``special`` adds what the file begins and ends texts with; ``named`` takes names of special
        tokens for these.
        """
        content = text.encode()
        # No token is shorter than a byte; a few are put around the text.
        room = len(content) + 8
        buffer, tokens = self._native.integers(room)
        count = self._api.llama_tokenize(self._vocabulary, content, len(content), buffer, room, special, named)
        if count < 0:
            buffer, tokens = self._native.integers(-count)
            count = self._api.llama_tokenize(self._vocabulary, content, len(content), buffer, -count, special, named)
        listed: list[int] = tokens[: max(0, count)].tolist()
        return listed

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of token ids, special tokens left out."""
        buffer, room = self._native.integers(max(1, len(tokens)))
        room[: len(tokens)] = tokens
        size = 16 * (len(tokens) + 1)
        while True:
            characters = self._native.characters(size)
            count = self._api.llama_detokenize(self._vocabulary, buffer, len(tokens), characters, size, False, False)
            if count >= 0:
                return self._native.bytes_of(characters, count).decode("utf-8", "replace")
            size = -count
