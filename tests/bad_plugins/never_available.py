"""Is never available."""

from __future__ import annotations

from bad_base import CountingBackend

from joulebench.api import Availability, Backend
from joulebench.hookspecs import hookimpl

JOULEBENCH_API = 1


class NeverAvailable(CountingBackend):
    """Wants what nobody has."""

    name = "never-available"

    def available(self) -> Availability:
        return Availability.no("no licence", "write to its author")


@hookimpl
def joulebench_backends() -> list[type[Backend]]:
    return [NeverAvailable]
