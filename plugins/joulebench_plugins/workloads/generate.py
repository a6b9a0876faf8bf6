"""``generate``: read a prompt, write N tokens, as MELODI does for each prompt of a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from joulebench.api import BackendSession, Option, Outcome, Recorder, Request, Settings, Workload, WorkloadContext
from joulebench.errors import ProfileError
from joulebench_plugins.workloads.prompts import BATCH_OPTION, batched, prompt_requests


class Generate(Workload):
    """Prompts of a file: prefill, then a fixed number of greedy tokens, each one's time kept.

    With ``stop`` an answer ends where the model ends it, as MELODI's do. Cells whose answers differ
    in length then do unequal work, and what they say per token rests on different tokens.
    """

    name: ClassVar[str] = "generate"
    summary: ClassVar[str] = "prompts of a file: prefill, then N greedy tokens"
    unit: ClassVar[str] = "token"
    requires: ClassVar[frozenset[str]] = frozenset({"generate"})
    phases: ClassVar[tuple[str, ...]] = ("prefill", "decode")
    options: ClassVar[tuple[Option, ...]] = (
        Option("prompts", "file", "builtin:prompts", "file of prompts (.jsonl or a line each)"),
        Option("new_tokens", "int", 64, "tokens to write for each prompt", minimum=1),
        Option("stop", "bool", False, "end at the model's end token; new_tokens is then the maximum"),
        Option("max_prompt_tokens", "int", 1536, "longer prompts are cut to this", minimum=1),
        Option("chat", "bool", True, "put prompts through the model's chat template, if any"),
        BATCH_OPTION,
    )

    def __init__(self) -> None:
        self._ends: frozenset[int] = frozenset()

    def check(self, settings: Settings) -> str | None:
        """A batch ends as a whole."""
        if settings["stop"] and int(settings["batch"]) > 1:
            return "stop ends one answer at a time: leave it out, or set batch = 1"
        return None

    def batch_size(self, settings: Settings) -> int:
        """As set."""
        return int(settings["batch"])

    def tokens_needed(self, settings: Settings) -> int:
        """A prompt can be cut to fit, the answer cannot."""
        return int(settings["new_tokens"]) + 1

    def requests(self, context: WorkloadContext, settings: Settings) -> Sequence[Request]:
        """One request a prompt, in an order drawn by the seed or the file's own."""
        if settings["stop"]:
            if not context.eos_tokens:
                raise ProfileError(
                    "the model names no token that ends an answer",
                    where="workload option 'stop'",
                    hint="leave 'stop' out: every answer then has new_tokens tokens",
                )
            self._ends = context.eos_tokens
        prompts = prompt_requests(
            context,
            Path(str(settings["prompts"])),
            bool(settings["chat"]),
            int(settings["new_tokens"]),
            int(settings["max_prompt_tokens"]),
        )
        return batched(prompts, int(settings["batch"]))

    def setup(self, session: BackendSession, request: Request, settings: Settings) -> None:
        """Empty the cache: forgetting the request before is no work of this one."""
        session.reset()

    def perform(self, session: BackendSession, request: Request, settings: Settings, record: Recorder) -> Outcome:
        """Prefill and decode one prompt, or a batch of them. The first token belongs to the prefill."""
        if request.others:
            return self._perform_batch(session, request, record)
        output = [0] * request.new_tokens
        step, stamp = session.step, record.token
        record.phase("prefill")
        output[0] = session.prefill(request.tokens)
        stamp()
        record.phase("decode")
        if self._ends:
            ends, written = self._ends, 1
            while written < request.new_tokens and output[written - 1] not in ends:
                output[written] = step()
                stamp()
                written += 1
            del output[written:]
        else:
            for place in range(1, request.new_tokens):
                output[place] = step()
                stamp()
        return Outcome(
            prefill_tokens=len(request.tokens), decode_tokens=len(output) - 1, units=float(len(output)), output=output
        )

    def _perform_batch(self, session: BackendSession, request: Request, record: Recorder) -> Outcome:
        """A time is kept for each step: its tokens become known together."""
        prompts = (request.tokens, *request.others)
        step, stamp = session.step_batch, record.token
        record.phase("prefill")
        written = [session.prefill_batch(prompts)]
        stamp()
        record.phase("decode")
        for _ in range(1, request.new_tokens):
            written.append(step())
            stamp()
        batch = len(prompts)
        return Outcome(
            prefill_tokens=sum(map(len, prompts)),
            decode_tokens=batch * (request.new_tokens - 1),
            units=float(batch * request.new_tokens),
            sequences=batch,
            output=[tokens[0] for tokens in written],
        )
