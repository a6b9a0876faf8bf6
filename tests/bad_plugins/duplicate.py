"""Provides a backend by a name that is taken."""

from __future__ import annotations

from bad_base import CountingBackend

from joulebench.api import Backend
from joulebench.hookspecs import hookimpl

JOULEBENCH_API = 1


class Duplicate(CountingBackend):
    """Calls itself as one that comes with joulebench."""

    name = "torch"


@hookimpl
def joulebench_backends() -> list[type[Backend]]:
    return [Duplicate]
