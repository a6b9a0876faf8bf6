"""Writes to standard output wherever it can."""

from __future__ import annotations

import os

from bad_base import CountingBackend, CountingSession

from joulebench.api import Backend
from joulebench.hookspecs import hookimpl

JOULEBENCH_API = 1

print("prints 1.0 (c) by its author")


class Session(CountingSession):
    """Tells of each step, once past Python."""

    def step(self) -> int:
        print("step", self.steps)
        os.write(1, b'{"op": "nonsense"}\n')
        return super().step()


class Prints(CountingBackend):
    """Opens that session."""

    name = "prints"
    session = Session


@hookimpl
def joulebench_backends() -> list[type[Backend]]:
    return [Prints]
