"""Prompts from a file, as token ids; or random ids for a model without a tokenizer."""

from __future__ import annotations

import json
import random
from pathlib import Path

from joulebench.api import Request, WorkloadContext
from joulebench.errors import ProfileError


def read_prompts(path: Path) -> list[str]:
    """Prompts of a file: JSON lines with ``text`` (or ``prompt``), else one prompt a line."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ProfileError(f"cannot be read: {error}", where=str(path)) from None
    prompts: list[str] = []
    for number, line in enumerate(lines, start=1):
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
            'is no JSON object with a "text"', where=f"{path}:{number}",
            hint='each line: {"id": "…", "text": "…"}',
        )  # fmt: skip
    return text


def prompt_requests(
    context: WorkloadContext, path: Path, chat: bool, new_tokens: int, limit: int
) -> list[Request]:
    """A request for each prompt, in an order shuffled by the seed, cut to ``limit`` tokens.

    The prompt's middle is kept out of the cut: only its end is, so that the question at its start
    stays. A model without a tokenizer gets random ids of lengths as the prompts' words.
    """
    prompts = read_prompts(path)
    order = random.Random(context.seed)  # noqa: S311  an order, not a secret
    order.shuffle(prompts)
    if context.context_length is not None:
        limit = min(limit, context.context_length - new_tokens)
    requests: list[Request] = []
    for index, text in enumerate(prompts):
        if context.tokenize is not None:
            tokens = context.tokenize(text, chat)
            requests.append(Request(index, tuple(tokens[:limit]), new_tokens, text))
        else:
            length = min(limit, max(1, round(len(text.split()) * 1.3)))
            requests.append(Request(index, random_tokens(order, context, length), new_tokens))
    return requests


def random_tokens(source: random.Random, context: WorkloadContext, length: int) -> tuple[int, ...]:
    """Token ids drawn evenly from the vocabulary."""
    size = context.vocabulary_size or 256
    return tuple(source.randrange(size) for _ in range(length))
