"""Never comes back from a step."""

from __future__ import annotations

import time

from bad_base import CountingBackend, CountingSession

from joulebench.api import Backend
from joulebench.hookspecs import hookimpl

JOULEBENCH_API = 1


class Session(CountingSession):
    """Sleeps at the fourth step."""

    def step(self) -> int:
        if self.steps == 3:
            time.sleep(3600)
        return super().step()


class Hang(CountingBackend):
    """Opens that session."""

    name = "hang"
    session = Session


@hookimpl
def joulebench_backends() -> list[type[Backend]]:
    return [Hang]
