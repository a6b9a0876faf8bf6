"""``prefill`` and ``decode``: each phase alone, at a set length."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import ClassVar, Final

from joulebench.api import BackendSession, Option, Outcome, Recorder, Request, Settings, Workload, WorkloadContext
from joulebench.errors import ProfileError
from joulebench_plugins.workloads.prompts import BATCH_OPTION, batched, random_tokens, read_text

#: Different random sequences that the blocks walk through.
SEQUENCES: Final = 16
#: Characters of a text that surely give a token, unless it is no text.
_CHARACTERS: Final = 12


class Prefill(Workload):
    """Reads prompts of random tokens of one length, and no more."""

    name: ClassVar[str] = "prefill"
    summary: ClassVar[str] = "prompts of N random tokens, read only"
    unit: ClassVar[str] = "token"
    requires: ClassVar[frozenset[str]] = frozenset({"generate"})
    phases: ClassVar[tuple[str, ...]] = ("prefill",)
    options: ClassVar[tuple[Option, ...]] = (
        Option("length", "int", 512, "tokens of a prompt", minimum=1),
        BATCH_OPTION,
    )

    def batch_size(self, settings: Settings) -> int:
        """As set."""
        return int(settings["batch"])

    def tokens_needed(self, settings: Settings) -> int:
        """The prompt and its first token."""
        return int(settings["length"]) + 1

    def requests(self, context: WorkloadContext, settings: Settings) -> Sequence[Request]:
        """Random sequences from the seed."""
        source = random.Random(context.seed)  # noqa: S311
        length = int(settings["length"])
        batch = int(settings["batch"])
        drawn = [Request(index, random_tokens(source, context, length), 1) for index in range(SEQUENCES * batch)]
        return batched(drawn, batch)

    def setup(self, session: BackendSession, request: Request, settings: Settings) -> None:
        """Empty the cache."""
        session.reset()

    def perform(self, session: BackendSession, request: Request, settings: Settings, record: Recorder) -> Outcome:
        """One prefill, of one prompt or several; its unit is the prompt token."""
        record.phase("prefill")
        if request.others:
            [first, *_] = session.prefill_batch((request.tokens, *request.others))
        else:
            first = session.prefill(request.tokens)
        record.token()
        batch = 1 + len(request.others)
        length = batch * len(request.tokens)
        return Outcome(prefill_tokens=length, units=float(length), sequences=batch, output=[first])


class Decode(Workload):
    """Writes tokens after a context of set length, which is read outside of the window.

    What a context says does not change what a token costs, but for techniques that look at it.
    """

    name: ClassVar[str] = "decode"
    summary: ClassVar[str] = "N tokens after a context of C tokens; the context not measured"
    unit: ClassVar[str] = "token"
    requires: ClassVar[frozenset[str]] = frozenset({"generate"})
    phases: ClassVar[tuple[str, ...]] = ("decode",)
    options: ClassVar[tuple[Option, ...]] = (
        Option("context", "int", 512, "tokens in the KV cache when decoding starts", minimum=1),
        Option("new_tokens", "int", 32, "tokens to write in a request", minimum=1),
        Option(
            "text",
            "file",
            None,
            "text that contexts are cut from; random tokens when not set, and for a model without a tokenizer",
        ),
        BATCH_OPTION,
    )

    def batch_size(self, settings: Settings) -> int:
        """As set."""
        return int(settings["batch"])

    def tokens_needed(self, settings: Settings) -> int:
        """Context, its first token, and what is written."""
        return int(settings["context"]) + int(settings["new_tokens"]) + 1

    def requests(self, context: WorkloadContext, settings: Settings) -> Sequence[Request]:
        """Contexts that the seed draws."""
        source = random.Random(context.seed)  # noqa: S311
        length, new, batch = int(settings["context"]), int(settings["new_tokens"]), int(settings["batch"])
        count = SEQUENCES * batch
        if "text" in settings and context.tokenize is not None:
            stretches = _stretches(source, context.tokenize, Path(str(settings["text"])), length, count)
            return batched([Request(index, tokens, new) for index, tokens in enumerate(stretches)], batch)
        drawn = (random_tokens(source, context, length) for _ in range(count))
        return batched([Request(index, tokens, new) for index, tokens in enumerate(drawn)], batch)

    def setup(self, session: BackendSession, request: Request, settings: Settings) -> None:
        """Fill the KV cache."""
        session.reset()
        if request.others:
            session.prefill_batch((request.tokens, *request.others))
        else:
            session.prefill(request.tokens)

    def perform(self, session: BackendSession, request: Request, settings: Settings, record: Recorder) -> Outcome:
        """Only steps."""
        output = [0] * request.new_tokens
        batch, stamp = 1 + len(request.others), record.token
        step = session.step if batch == 1 else _first_of(session.step_batch)
        record.phase("decode")
        for place in range(request.new_tokens):
            output[place] = step()
            stamp()
        return Outcome(
            decode_tokens=batch * request.new_tokens,
            units=float(batch * request.new_tokens),
            sequences=batch,
            output=output,
            # Read outside of the window, so it is no prefill of this request.
            values={"context_tokens": float(len(request.tokens))},
        )


def _first_of(step: Callable[[], list[int]]) -> Callable[[], int]:
    return lambda: step()[0]


def _stretches(
    source: random.Random, tokenize: Callable[[str, bool], list[int]], path: Path, length: int, count: int
) -> Iterator[tuple[int, ...]]:
    """Stretches of a text that begin anywhere in it.

    Only as much of a long text is tokenized as a stretch can need: a book would take seconds.
    """
    text = read_text(path)
    enough = length * _CHARACTERS
    for _ in range(count):
        start = source.randrange(max(1, len(text) - enough))
        tokens = tokenize(text[start : start + enough], False)
        if len(tokens) < length:
            raise ProfileError(f"gives only {len(tokens)} tokens; a context needs {length}", where=str(path))
        first = source.randrange(len(tokens) - length + 1)
        yield tuple(tokens[first : first + length])
