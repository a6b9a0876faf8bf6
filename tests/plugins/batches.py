"""Greedy answers of a session, one by one and at once."""

from __future__ import annotations

from collections.abc import Sequence

from joulebench.api import BackendSession


def answer_alone(session: BackendSession, prompt: Sequence[int], tokens: int = 12) -> list[int]:
    session.reset()
    return [session.prefill(prompt), *(session.step() for _ in range(tokens - 1))]


def answers_at_once(session: BackendSession, prompts: Sequence[Sequence[int]], tokens: int = 12) -> list[list[int]]:
    session.reset()
    columns = [session.prefill_batch(prompts), *(session.step_batch() for _ in range(tokens - 1))]
    return [list(answer) for answer in zip(*columns, strict=True)]
