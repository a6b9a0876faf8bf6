"""Prompts from a file, as token ids; or random ids for a model without a tokenizer."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from joulebench.api import BATCH, Option, Request, WorkloadContext
from joulebench.errors import ProfileError

#: English tokens per word of common byte-level BPE vocabularies, for models without a tokenizer.
TOKENS_PER_WORD: Final = 1.3


def read_text(path: Path) -> str:
    """The text of a UTF-8 file."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ProfileError(f"cannot be read: {error.strerror}", where=str(path)) from None
    except UnicodeDecodeError:
        raise ProfileError("is not UTF-8 text", where=str(path)) from None


def read_prompts(path: Path) -> list[str]:
    """Prompts of a file: JSON lines with ``text`` (or ``prompt``), else one prompt a line."""
    prompts: list[str] = []
    # Not splitlines(): a JSON string may hold U+2028 and its like, which end no line here.
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if line.strip():
            prompts.append(_prompt(line, path, number))
    if not prompts:
        raise ProfileError("holds no prompt", where=str(path))
    return prompts


def _prompt(line: str, path: Path, number: int) -> str:
    if path.suffix != ".jsonl":
        return line.strip()
    try:
        record = json.loads(line)
        text = record.get("text", record.get("prompt"))
    except (ValueError, AttributeError):
        text = None
    if not isinstance(text, str) or not text:
        raise ProfileError(
            'is not a JSON object with a "text"', where=f"{path}:{number}", hint='each line: {"id": "…", "text": "…"}'
        )
    return text


def prompt_requests(context: WorkloadContext, path: Path, chat: bool, new_tokens: int, limit: int) -> list[Request]:
    """A request for each prompt, in an order drawn by the seed (or the file's), cut to ``limit``.

    What is cut is the prompt's end. A model without a tokenizer gets random ids, as many as the
    prompt would roughly have.
    """
    prompts = read_prompts(path)
    order = random.Random(context.seed)  # noqa: S311  an order, not a secret
    if context.shuffle:
        order.shuffle(prompts)
    if context.context_length is not None:
        limit = min(limit, context.context_length - new_tokens)
        if limit < 1:
            raise ProfileError(
                f"{new_tokens} new tokens leave no room for a prompt in the model's context of "
                f"{context.context_length} tokens",
                where="new_tokens",
            )
    requests: list[Request] = []
    for index, text in enumerate(prompts):
        if context.tokenize is not None:
            tokens = context.tokenize(text, chat)
            requests.append(Request(index, tuple(tokens[:limit]), new_tokens, text))
        else:
            length = min(limit, max(1, round(len(text.split()) * TOKENS_PER_WORD)))
            requests.append(Request(index, random_tokens(order, context, length), new_tokens))
    return requests


#: As :data:`joulebench.api.BATCH` names it.
BATCH_OPTION: Final = Option(BATCH, "int", 1, "sequences that are read and written at once", minimum=1)


def batched(requests: Sequence[Request], batch: int) -> list[Request]:
    """A request for each ``batch`` of sequences; the last is filled up from the start of the list."""
    starts = range(0, len(requests), batch)
    return [
        replace(requests[start], index=place, others=_others(requests, start, batch))
        for place, start in enumerate(starts)
    ]


def _others(requests: Sequence[Request], start: int, batch: int) -> tuple[tuple[int, ...], ...]:
    return tuple(requests[(start + place) % len(requests)].tokens for place in range(1, batch))


def random_tokens(source: random.Random, context: WorkloadContext, length: int) -> tuple[int, ...]:
    """Token ids drawn evenly from the vocabulary."""
    size = context.vocabulary_size or 256
    return tuple(source.randrange(size) for _ in range(length))
