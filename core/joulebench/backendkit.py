"""What backends need again and again: cores, a question to another process, a session on logits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any, Final

from joulebench.api import BackendSession, Device, MemoryUse, Settings
from joulebench.cachefolder import CACHE_VARIABLE, cache_folder
from joulebench.errors import JoulebenchError
from joulebench.processes import Mark, die_with_parent, signal_name

__all__ = (
    "CACHE_VARIABLE",
    "LogitsSession",
    "Mark",
    "allowed_cores",
    "asked_elsewhere",
    "cache_folder",
    "cpu_device",
    "die_with_parent",
    "log_probabilities",
    "signal_name",
    "thread_count",
)

#: An interpreter that takes longer than this to import a runtime is given up, in seconds.
_TIMEOUT_S: Final = 60.0


def allowed_cores() -> int:
    """Processors that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def thread_count(settings: Settings) -> int:
    """Threads to use: the setting ``threads``, otherwise one for each allowed core."""
    stated = settings.get("threads")
    return allowed_cores() if stated is None else int(stated)


def cpu_device() -> Device:
    """The device ``cpu``, described by the allowed cores."""
    return Device("cpu", f"{allowed_cores()} allowed cores")


def asked_elsewhere(code: str) -> Any:
    """What ``code`` prints last, as JSON, run by another interpreter so that this stays light.

    ``None`` where it fails, takes longer than a minute, or prints no JSON.
    """
    try:
        answer = subprocess.run(
            [sys.executable, "-P", "-c", code], capture_output=True, text=True, timeout=_TIMEOUT_S, check=True
        )
        return json.loads(answer.stdout.splitlines()[-1])
    except (subprocess.SubprocessError, OSError, ValueError, IndexError):
        return None


def log_probabilities(logits: Any, targets: Sequence[int]) -> Any:
    """ln of the softmax of each row of ``logits`` at its target: float64, (rows,). Overwrites ``logits``.

    Sums are in float64 whatever the rows are in.
    """
    import numpy as np

    logits -= logits.max(axis=1, keepdims=True)
    chosen = logits[np.arange(len(targets)), np.asarray(targets, np.int64)].astype(np.float64)
    np.exp(logits, out=logits)
    return chosen - np.log(logits.sum(axis=1, dtype=np.float64))


class LogitsSession(BackendSession):
    """A session that only needs ``logits``: everything else is derived from them.

    Correct for any model, but slow: each token reads the whole sequence again. A runtime with a KV
    cache overrides ``prefill``, ``step`` and ``reset``. Capabilities ``generate``, ``score``,
    ``logits``.
    """

    def reset(self) -> None:
        """Forget the sequence."""
        self._tokens: list[int] = []

    def prefill(self, tokens: Sequence[int]) -> int:
        """The token with the largest logit after the prompt."""
        if self.context_length is not None and len(tokens) > self.context_length:
            raise JoulebenchError(f"{len(tokens)} tokens do not fit into {self.context_length}")
        token = int(self.logits(tokens)[-1].argmax())
        self._tokens = [*tokens, token]
        return token

    def step(self) -> int:
        """The token with the largest logit after the whole sequence."""
        return self.prefill(self._tokens)

    def score(self, tokens: Sequence[int]) -> Sequence[float]:
        """The logarithm of the softmax of the logits (natural), computed in double precision."""
        import numpy as np

        scores: list[float] = log_probabilities(np.array(self.logits(tokens)[:-1], np.float64), tokens[1:]).tolist()
        return scores

    def memory(self) -> MemoryUse:
        """Nothing is known."""
        return MemoryUse()
