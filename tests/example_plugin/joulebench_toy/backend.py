"""The backend ``toy``: the next token is a hash of all before it, a step is a wait.

Its logits are 10 for that token, less for the one after it (by 3, or by a hair), and 0 for others.
"""

from __future__ import annotations

import math
import os
import sys
import threading
import time
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from joulebench.api import Artifact, Backend, BackendSession, Device, MemoryUse, Option, Scalar, Settings
from joulebench_toy.mischief import Mischief

VOCABULARY = 256
CONTEXT = 512


class Toy(Backend):
    """Accepts any HF-format checkpoint and reads nothing of it but its config."""

    name: ClassVar[str] = "toy"
    summary: ClassVar[str] = "a hash for a language model; misbehaves when told to"
    accepts: ClassVar[tuple[str, ...]] = ("hf",)
    capabilities: ClassVar[frozenset[str]] = frozenset({"generate", "score", "logits"})
    options: ClassVar[tuple[Option, ...]] = (
        Option("step_s", "float", 0.002, "time that a token takes"),
        Option("prefill_s", "float", 0.004, "time that a prompt takes"),
        Option("noise", "float", 0.0, "relative spread of the time of a request"),
        Option("print", "bool", False, "print to standard output and read standard input"),
        Option("odd_facts", "bool", False, "tell facts that no JSON can hold"),
        Option("spin", "bool", False, "keep a thread spinning"),
        Option("load_file", "str", "", "a file that holds 1 while a prompt or token is made"),
        Option("dtype", "str", "float32", "number type that it says it computes in"),
        Option(
            "errs",
            "str",
            "never",
            "when it writes the second best token",
            choices=("never", "at ties", "at the third token"),
        ),
        Option("blur", "float", 0.0, "what its logits of the best token lack"),
        Option("scratch", "bytes", 0, "memory that its logits take for a moment"),
        Option("crash", "str", "none", "how to go down", choices=("none", "segfault", "exit", "kill", "raise")),
        Option("hang_s", "float", 0.0, "hang for so long"),
        Option("allocate", "bytes", 0, "allocate so much"),
        Option("at", "str", "open", "where to misbehave", choices=("open", "request", "step", "logits")),
        Option("request", "int", 1, "in which request, counted from 1"),
    )

    def devices(self) -> tuple[Device, ...]:
        """The processor."""
        return (Device("cpu"),)

    def check(self, device: str, settings: Settings, config: Mapping[str, object]) -> str | None:
        """A config may refuse the toy, for tests of what only the files can tell."""
        reason = config.get("toy_refuses")
        return str(reason) if reason else None

    def open(self, artifact: Artifact, device: str, settings: Settings) -> BackendSession:
        """Load, or misbehave."""
        if settings["print"]:
            print("a banner on standard output, without an end of line", end="")
            os.write(1, b'{"op": "nonsense"}\n')
            sys.stdin.read(1)
        Mischief.of(settings).at_open()
        return ToySession(settings)


class Mute(Toy):
    """A toy that does not show its logits."""

    name: ClassVar[str] = "mutetoy"
    summary: ClassVar[str] = "a toy that does not show its logits"
    capabilities: ClassVar[frozenset[str]] = frozenset({"generate"})


class ToySession(BackendSession):
    """The toy while it is loaded."""

    context_length = CONTEXT
    vocabulary_size = VOCABULARY

    def __init__(self, settings: Settings) -> None:
        self._step_s = float(settings["step_s"])
        self._prefill_s = float(settings["prefill_s"])
        self._noise = float(settings["noise"])
        self._odd_facts = bool(settings["odd_facts"])
        self._print = bool(settings["print"])
        self._dtype = str(settings["dtype"])
        self._errs = str(settings["errs"])
        self._blur = float(settings["blur"])
        self._scratch_bytes = int(settings["scratch"])
        self._mischief = Mischief.of(settings)
        self._load_file = Path(str(settings["load_file"])) if settings["load_file"] else None
        self._tokens: list[int] = []
        self._requests = 0
        self._steps = 0
        self._slowness = 1.0
        self._prompt_length = 0
        if settings["spin"]:
            threading.Thread(target=_spin, daemon=True).start()

    def prefill(self, tokens: Sequence[int]) -> int:
        """Take the prompt."""
        self._requests += 1
        self._steps = 0
        self._mischief.at_request("request", self._requests)
        digest = zlib.crc32(str(self._requests).encode()) / 0xFFFFFFFF
        self._slowness = 1 + self._noise * (digest - 0.5)
        self._tokens = list(tokens)
        self._prompt_length = len(tokens)
        self._wait(self._prefill_s)
        return self._next()

    def step(self) -> int:
        """The next token."""
        self._steps += 1
        if self._steps == 1:
            self._mischief.at_request("step", self._requests)
        if self._print:
            print("step", self._steps)
        self._wait(self._step_s)
        return self._next()

    def _next(self) -> int:
        token, gap = expected(self._tokens)
        written = len(self._tokens) - self._prompt_length
        if (self._errs == "at ties" and gap < 1) or (self._errs == "at the third token" and written == 2):
            token = (token + 1) % VOCABULARY
        self._tokens.append(token)
        return token

    def _wait(self, seconds: float) -> None:
        if self._load_file is not None:
            self._load_file.write_text("1", encoding="ascii")
        time.sleep(seconds * self._slowness)
        if self._load_file is not None:
            self._load_file.write_text("0", encoding="ascii")

    def logits(self, tokens: Sequence[int]) -> object:
        """Of each prefix."""
        import numpy as np

        self._mischief.at_request("logits", 1)
        scratch = b"\x01" * self._scratch_bytes
        logits = np.zeros((len(tokens), VOCABULARY), np.float32)
        for place in range(len(tokens)):
            token, gap = expected(tokens[: place + 1])
            logits[place, token] = 10 - self._blur
            logits[place, (token + 1) % VOCABULARY] = 10 - gap
        del scratch
        return logits

    def score(self, tokens: Sequence[int]) -> Sequence[float]:
        """As if all tokens were equally likely; a blurred toy is more surprised."""
        return [-math.log(VOCABULARY) - self._blur] * (len(tokens) - 1)

    def reset(self) -> None:
        """Forget the sequence."""
        self._tokens = []

    def memory(self) -> MemoryUse:
        """A byte for each token."""
        return MemoryUse(weights_bytes=0, kv_allocated_bytes=CONTEXT, kv_used_bytes=len(self._tokens))

    def facts(self) -> Mapping[str, Scalar]:
        """What it is."""
        kind = object() if self._odd_facts else "toy"
        return {"kind": kind, "dtype": self._dtype}  # type: ignore[dict-item]


def expected(tokens: Sequence[int]) -> tuple[int, float]:
    """The best token after these, and how much more likely than the next one it is (in logits).

    One time in sixteen it is a tie.
    """
    digest = zlib.crc32(bytes(tokens))
    return digest % VOCABULARY, 1e-4 if digest >> 8 & 15 == 3 else 3.0


def _spin() -> None:
    while True:
        pass
