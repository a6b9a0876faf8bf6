"""What the toy runtime does when it is told to misbehave."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from dataclasses import dataclass

from joulebench.api import Settings


@dataclass(frozen=True)
class Mischief:
    """What goes wrong, and where: ``open``, or request number ``request`` or its first step."""

    crash: str
    hang_s: float
    allocate_bytes: int
    at: str
    request: int

    @classmethod
    def of(cls, settings: Settings) -> Mischief:
        """As the profile has it."""
        return cls(
            str(settings["crash"]),
            float(settings["hang_s"]),
            int(settings["allocate"]),
            str(settings["at"]),
            int(settings["request"]),
        )

    def at_open(self) -> None:
        """The model is being loaded."""
        if self.at == "open":
            self._do()

    def at_request(self, place: str, number: int) -> None:
        """Request ``number`` (from 1) has begun, or its first step."""
        if self.at == place and number == self.request:
            self._do()

    def _do(self) -> None:
        if self.hang_s:
            time.sleep(self.hang_s)
        if self.allocate_bytes:
            held = []
            for _ in range(self.allocate_bytes // 2**20):
                held.append(b"\x01" * 2**20)
                time.sleep(0.0005)  # a leak, not an explosion: the host must see it grow
            time.sleep(30)
        if self.crash == "none":
            return
        sys.stderr.write(f"the toy goes down by {self.crash}\n")
        sys.stderr.flush()
        if self.crash == "segfault":
            ctypes.string_at(0)
        elif self.crash == "exit":
            os._exit(3)
        elif self.crash == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif self.crash == "raise":
            raise RuntimeError("the toy was told to raise")
