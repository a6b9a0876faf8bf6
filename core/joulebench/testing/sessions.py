"""A session that computes nothing, for tests of workloads: it answers, and notes what it did."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from joulebench.api import Arrival, BackendSession, Kernel, MemoryUse, Served

VOCABULARY: Final = 264
CONTEXT: Final = 4096
#: What one run of a made-up kernel takes, so that its repetitions can be counted.
_KERNEL_S: Final = 1e-4


class ScriptedSession(BackendSession):
    """Each token is the last one plus 1; everything that a session can be asked is answered.

    ``log`` holds the calls in their order, and what a :class:`LoggingRecorder` on it notes.
    """

    context_length = CONTEXT
    vocabulary_size = VOCABULARY

    def __init__(self) -> None:
        self.log: list[str] = []
        self._last: int | None = None
        self._length = 0

    def prefill(self, tokens: Sequence[int]) -> int:
        """The last token plus 1."""
        self.log.append("prefill")
        self._last = tokens[-1]
        self._length = len(tokens)
        return self._next()

    def step(self) -> int:
        """The token before plus 1; needs a prompt."""
        self.log.append("step")
        if self._last is None:
            raise RuntimeError("step() before prefill()")
        self._length += 1
        return self._next()

    def _next(self) -> int:
        self._last = ((self._last or 0) + 1) % VOCABULARY
        return self._last

    def serve(
        self, arrivals: Sequence[Arrival], limit_s: float, concurrency: int | None = None, until_s: float = math.inf
    ) -> Sequence[Served]:
        """Each request is answered at once, with as many tokens as it asks for."""
        self.log.append("serve")
        now_ns = time.perf_counter_ns()
        return [
            Served(now_ns, now_ns, now_ns + 1, now_ns + one.new_tokens, one.prompt_tokens, one.new_tokens)
            for one in arrivals
        ]

    def score(self, tokens: Sequence[int]) -> Sequence[float]:
        """As if all tokens were equally likely."""
        self.log.append("score")
        return [-math.log(VOCABULARY)] * (len(tokens) - 1)

    def logits(self, tokens: Sequence[int]) -> Any:
        """1 for the next token, 0 for the others."""
        import numpy as np

        self.log.append("logits")
        logits = np.zeros((len(tokens), VOCABULARY), np.float32)
        logits[np.arange(len(tokens)), (np.asarray(tokens) + 1) % VOCABULARY] = 1.0
        return logits

    def encode(self, sequences: Sequence[Sequence[int]]) -> Any:
        """Eight numbers for each sequence: how often it has each token, modulo eight."""
        import numpy as np

        self.log.append("encode")
        return np.array([np.bincount(np.asarray(s) % 8, minlength=8) for s in sequences], np.float32)

    def train_step(self, tokens: Sequence[int]) -> float:
        """The loss of a model that knows nothing."""
        self.log.append("train_step")
        return math.log(VOCABULARY)

    def reset(self) -> None:
        """Forget the sequence."""
        self.log.append("reset")
        self._last, self._length = None, 0

    def hardware_kernel(self, name: str, size: int) -> Kernel:
        """Some work of a known time."""
        return Kernel(name, self._working(name), max(1, size), max(1, size))

    def operators(self, context: int) -> Sequence[Kernel]:
        """Two of them."""
        return [
            Kernel(name, self._working(name), 1024, 2048, per_token=count) for name, count in (("norm", 2), ("head", 1))
        ]

    def _working(self, name: str) -> Callable[[int], None]:
        def run(times: int) -> None:
            self.log.append(name)
            time.sleep(times * _KERNEL_S)

        return run

    def memory(self) -> MemoryUse:
        """A byte for each token."""
        return MemoryUse(weights_bytes=0, kv_allocated_bytes=CONTEXT, kv_used_bytes=self._length)


class LoggingRecorder:
    """Notes phases as ``phase NAME`` and tokens as ``token`` in a log."""

    def __init__(self, log: list[str]) -> None:
        self._log = log

    def phase(self, name: str) -> None:
        """A phase begins."""
        self._log.append(f"phase {name}")

    def token(self) -> None:
        """A token is known."""
        self._log.append("token")
