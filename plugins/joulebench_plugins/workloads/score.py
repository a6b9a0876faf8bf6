"""``score``: log-probabilities of a text, hence perplexity."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from joulebench.api import (
    BackendSession,
    Option,
    Outcome,
    Recorder,
    Request,
    Scalar,
    Settings,
    Workload,
    WorkloadContext,
)
from joulebench.errors import ModelError, ProfileError
from joulebench_plugins.workloads.prompts import read_text


def perplexity(nll_nats: float, tokens: float) -> float | None:
    """exp of the mean negative log-likelihood per token (natural log).

    Null without tokens, and where it is not a number or none that a float can hold.
    """
    try:
        value = math.exp(nll_nats / tokens) if tokens > 0 else math.nan
    except OverflowError:
        return None
    return value if math.isfinite(value) else None


class Score(Workload):
    """Scores consecutive windows of a text; each window starts from an empty context."""

    name: ClassVar[str] = "score"
    summary: ClassVar[str] = "log-probabilities of a text in windows: perplexity and its cost"
    unit: ClassVar[str] = "token"
    requires: ClassVar[frozenset[str]] = frozenset({"score"})
    phases: ClassVar[tuple[str, ...]] = ("score",)
    options: ClassVar[tuple[Option, ...]] = (
        Option("text", "file", "builtin:evaluation", "text to score"),
        Option("tokens", "int", 4096, "tokens of the text that are used", minimum=2),
        Option("window", "int", 512, "tokens of a window", minimum=2),
    )

    def check(self, settings: Settings) -> str | None:
        """A window longer than the text cannot be filled."""
        if int(settings["window"]) > int(settings["tokens"]):
            return "window is larger than tokens"
        return None

    def tokens_needed(self, settings: Settings) -> int:
        """One window."""
        return int(settings["window"])

    def requests(self, context: WorkloadContext, settings: Settings) -> Sequence[Request]:
        """A request for each whole window."""
        if context.tokenize is None:
            raise ModelError("this model has no tokenizer, so it cannot score a text")
        path = Path(str(settings["text"]))
        tokens = context.tokenize(read_text(path), False)
        window = int(settings["window"])
        usable = min(len(tokens), int(settings["tokens"])) // window * window
        if usable == 0:
            raise ProfileError(f"has only {len(tokens)} tokens; a window needs {window}", where=str(path))
        return [Request(start // window, tuple(tokens[start : start + window])) for start in range(0, usable, window)]

    def setup(self, session: BackendSession, request: Request, settings: Settings) -> None:
        """Empty the cache."""
        session.reset()

    def perform(self, session: BackendSession, request: Request, settings: Settings, record: Recorder) -> Outcome:
        """One window."""
        record.phase("score")
        scores = session.score(request.tokens)
        return Outcome(
            prefill_tokens=len(request.tokens),
            units=float(len(scores)),
            values={"nll_nats": -math.fsum(scores), "scored_tokens": float(len(scores))},
        )

    def quality(self, totals: Mapping[str, float]) -> Mapping[str, Scalar]:
        """Perplexity over the scored tokens."""
        count = totals.get("scored_tokens", 0.0)
        if count <= 0:
            return {}
        return {
            "perplexity": perplexity(totals["nll_nats"], count),
            "nll_nats_per_token": totals["nll_nats"] / count,
            "tokens": int(count),
        }
