"""What the bad backends of this folder have in common: a good one, which counts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from joulebench.api import Artifact, Backend, BackendSession, Device, MemoryUse, Settings
from joulebench.errors import JoulebenchError

CONTEXT = 256


class CountingSession(BackendSession):
    """Expects after each token the next number."""

    context_length = CONTEXT
    vocabulary_size = 256

    def __init__(self) -> None:
        self.last = 0
        self.steps = 0

    def reset(self) -> None:
        self.last = 0

    def prefill(self, tokens: Sequence[int]) -> int:
        if len(tokens) > CONTEXT:
            raise JoulebenchError(f"more than {CONTEXT} tokens do not fit")
        self.last = (tokens[-1] + 1) % 256
        return self.last

    def step(self) -> int:
        self.steps += 1
        self.last = (self.last + 1) % 256
        return self.last

    def score(self, tokens: Sequence[int]) -> Sequence[float]:
        total = math.log(math.e + 255)
        return [float((a + 1) % 256 == b) - total for a, b in pairwise(tokens)]

    def logits(self, tokens: Sequence[int]) -> Any:
        import numpy as np

        logits = np.zeros((len(tokens), 256), np.float32)
        logits[np.arange(len(tokens)), (np.asarray(tokens) + 1) % 256] = 1.0
        return logits

    def memory(self) -> MemoryUse:
        return MemoryUse(weights_bytes=0)


class CountingBackend(Backend):
    """Opens the session of its class."""

    summary = "counts"
    accepts = ("hf",)
    capabilities = frozenset({"generate", "score", "logits"})
    session: type[CountingSession] = CountingSession

    def devices(self) -> tuple[Device, ...]:
        return (Device("cpu"),)

    def open(self, artifact: Artifact, device: str, settings: Settings) -> BackendSession:
        return self.session()
