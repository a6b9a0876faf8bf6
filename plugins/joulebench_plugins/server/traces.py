"""Traces of load: when requests arrive and how long prompts and answers are.

Read are JSON lines of Mooncake (``timestamp`` in ms, ``input_length``, ``output_length``: the trace format that
aiperf replays as well) and guidellm's ``prompt_tokens_count`` and ``output_tokens_count``, and texts of either.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from joulebench.errors import ProfileError

_NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "prompt": ("input_length", "prompt_tokens_count", "prompt_tokens"),
    "answer": ("output_length", "output_tokens_count", "output_tokens"),
    "text": ("text_input", "text", "prompt"),
}


@dataclass(frozen=True, slots=True)
class TraceLine:
    """A request of a trace; ``None`` where the line does not say."""

    at_s: float | None
    prompt_tokens: int | None
    new_tokens: int | None
    text: str | None


def read_trace(path: Path) -> list[TraceLine]:
    """The lines in the order of their times, the first at 0 s. Raises :class:`ProfileError` with file and line."""
    try:
        texts = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ProfileError(f"cannot be read: {error}", where=str(path)) from None
    lines = [_line(text, f"{path}:{number}") for number, text in enumerate(texts, start=1) if text.strip()]
    if not lines:
        raise ProfileError("holds no request", where=str(path))
    if len({line.at_s is None for line in lines}) > 1:
        raise ProfileError("some lines have a timestamp and some have none", where=str(path))
    if lines[0].at_s is None:
        return lines
    timed = sorted((line.at_s or 0.0, place) for place, line in enumerate(lines))
    first_s = timed[0][0]
    return [
        TraceLine(at_s - first_s, lines[place].prompt_tokens, lines[place].new_tokens, lines[place].text)
        for at_s, place in timed
    ]


def _line(text: str, where: str) -> TraceLine:
    try:
        record = json.loads(text)
    except ValueError:
        record = None
    if not isinstance(record, dict):
        raise ProfileError("is no JSON object", where=where, hint='such as {"timestamp": 0, "input_length": 64}')
    at_ms = record.get("timestamp")
    if at_ms is not None and (isinstance(at_ms, bool) or not isinstance(at_ms, (int, float)) or not at_ms >= 0):
        raise ProfileError(f"timestamp {at_ms!r} is no time in ms", where=where)
    prompt, answer = (_count(record, _NAMES[name], where) for name in ("prompt", "answer"))
    said = next((record[name] for name in _NAMES["text"] if isinstance(record.get(name), str)), None)
    if prompt is None and said is None:
        raise ProfileError("has neither a text nor the length of one", where=where, hint="such as input_length")
    return TraceLine(None if at_ms is None else at_ms * 1e-3, prompt, answer, said)


def _count(record: Mapping[str, Any], names: tuple[str, ...], where: str) -> int | None:
    value = next((record[name] for name in names if name in record), None)
    if value is not None and (type(value) is not int or not 1 <= value < 2**31):
        raise ProfileError(f"{value!r} is no number of tokens", where=where)
    return value
