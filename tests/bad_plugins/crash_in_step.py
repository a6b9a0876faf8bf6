"""Takes its process down in a step."""

from __future__ import annotations

import os
import sys

from bad_base import CountingBackend, CountingSession

from joulebench.api import Backend
from joulebench.hookspecs import hookimpl

JOULEBENCH_API = 1


class Session(CountingSession):
    """Ends its process at the fourth step."""

    def step(self) -> int:
        if self.steps == 3:
            sys.stderr.write("the kernel lost its grid\n")
            sys.stderr.flush()
            os._exit(3)
        return super().step()


class CrashInStep(CountingBackend):
    """Opens that session."""

    name = "crash-in-step"
    session = Session


@hookimpl
def joulebench_backends() -> list[type[Backend]]:
    return [CrashInStep]
