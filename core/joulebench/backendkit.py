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

        rows = np.asarray(self.logits(tokens), np.float64)[:-1]
        rows -= rows.max(-1, keepdims=True)
        totals = np.log(np.exp(rows).sum(-1))
        return [float(row[token] - total) for row, total, token in zip(rows, totals, tokens[1:], strict=True)]

    def memory(self) -> MemoryUse:
        """Nothing is known."""
        return MemoryUse()
