"""Keeps a MiB of every step."""

from __future__ import annotations

import time

from bad_base import CountingBackend, CountingSession

from joulebench.api import Backend
from joulebench.hookspecs import hookimpl

JOULEBENCH_API = 1

_KEPT: list[bytes] = []


class Session(CountingSession):
    """A cache without a limit; slow enough for the host to see it grow."""

    def step(self) -> int:
        _KEPT.append(b"\x01" * 2**20)
        time.sleep(0.002)
        return super().step()


class Leak(CountingBackend):
    """Opens that session."""

    name = "leak"
    session = Session


@hookimpl
def joulebench_backends() -> list[type[Backend]]:
    return [Leak]
