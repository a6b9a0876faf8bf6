"""``generate``: read a prompt, write N tokens, as MELODI does for each prompt of a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from joulebench.api import (
    BackendSession,
    Option,
    Outcome,
    Recorder,
    Request,
    Settings,
    Workload,
    WorkloadContext,
)
from joulebench_workloads.prompts import prompt_requests


class Generate(Workload):
    """Prompts of a file: prefill, then a fixed number of greedy tokens, each one's time kept."""

    name: ClassVar[str] = "generate"
    summary: ClassVar[str] = "prompts of a file: prefill, then N greedy tokens"
    unit: ClassVar[str] = "token"
    requires: ClassVar[frozenset[str]] = frozenset({"generate"})
    phases: ClassVar[tuple[str, ...]] = ("prefill", "decode")
    options: ClassVar[tuple[Option, ...]] = (
        Option("prompts", "file", "builtin:prompts", "file of prompts (.jsonl or a line each)"),
        Option("new_tokens", "int", 64, "tokens to write for each prompt", minimum=1),
        Option("max_prompt_tokens", "int", 1536, "longer prompts are cut to this", minimum=1),
        Option("chat", "bool", True, "put prompts through the model's chat template, if any"),
    )

    def tokens_needed(self, settings: Settings) -> int:
        """A prompt can be cut to fit, the answer cannot."""
        return int(settings["new_tokens"]) + 1

    def requests(self, context: WorkloadContext, settings: Settings) -> Sequence[Request]:
        """One request a prompt, in an order drawn by the seed or the file's own."""
        return prompt_requests(
            context, Path(str(settings["prompts"])), bool(settings["chat"]),
            int(settings["new_tokens"]), int(settings["max_prompt_tokens"]),
        )  # fmt: skip

    def perform(
        self, session: BackendSession, request: Request, settings: Settings, record: Recorder
    ) -> Outcome:
        """Prefill and decode one prompt. The first token belongs to the prefill."""
        session.reset()
        output = [0] * request.new_tokens
        step, stamp = session.step, record.token
        record.phase("prefill")
        output[0] = session.prefill(request.tokens)
        stamp()
        record.phase("decode")
        for place in range(1, request.new_tokens):
            output[place] = step()
            stamp()
        return Outcome(
            prefill_tokens=len(request.tokens),
            decode_tokens=request.new_tokens - 1,
            units=float(request.new_tokens),
            output=output,
        )
