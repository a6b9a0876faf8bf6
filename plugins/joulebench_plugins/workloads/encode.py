"""``encode``: sentences to embeddings, in batches."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Final

from joulebench.api import BackendSession, Option, Outcome, Recorder, Request, Settings, Workload, WorkloadContext
from joulebench_plugins.workloads.prompts import BATCH_OPTION, batched, prompt_requests, random_tokens

#: Different random batches that the blocks walk through.
_BATCHES: Final = 16


class Encode(Workload):
    """Reads sentences, ``batch`` at once, and takes their embeddings.

    Its phase is ``prefill``: reading is all that an encoder does. Tokens are those of the sentences,
    without what fills a batch up.
    """

    name: ClassVar[str] = "encode"
    summary: ClassVar[str] = "sentences to embeddings, N at once: joules for each sentence"
    unit: ClassVar[str] = "sentence"
    requires: ClassVar[frozenset[str]] = frozenset({"encode"})
    phases: ClassVar[tuple[str, ...]] = ("prefill",)
    options: ClassVar[tuple[Option, ...]] = (
        Option("sentences", "file", "builtin:prompts", "file of sentences (.jsonl or a line each)"),
        Option("length", "int", None, "random tokens of this length instead of the sentences", minimum=1),
        BATCH_OPTION,
    )

    def tokens_needed(self, settings: Settings) -> int:
        """The set length; a sentence can be cut to fit."""
        return int(settings.get("length") or 0)

    def requests(self, context: WorkloadContext, settings: Settings) -> Sequence[Request]:
        """A request for each batch; a file's last batch is filled up from its start."""
        batch, length = int(settings["batch"]), settings.get("length")
        if length is None:
            path = Path(str(settings["sentences"]))
            sentences = prompt_requests(context, path, chat=False, new_tokens=0, limit=1 << 30)
        else:
            source = random.Random(context.seed)  # noqa: S311
            drawn = (random_tokens(source, context, int(length)) for _ in range(_BATCHES * batch))
            sentences = [Request(index, tokens) for index, tokens in enumerate(drawn)]
        return batched(sentences, batch)

    def perform(self, session: BackendSession, request: Request, settings: Settings, record: Recorder) -> Outcome:
        """One batch."""
        batch = (request.tokens, *request.others)
        record.phase("prefill")
        session.encode(batch)
        return Outcome(prefill_tokens=sum(map(len, batch)), units=float(len(batch)), sequences=len(batch))
