"""Gives texts for numbers."""

from __future__ import annotations

from bad_base import CountingBackend, CountingSession

from joulebench.api import Backend
from joulebench.hookspecs import hookimpl

JOULEBENCH_API = 1


class Session(CountingSession):
    """Its tokens are texts."""

    def step(self) -> int:
        return str(super().step())  # type: ignore[return-value]


class WrongTypes(CountingBackend):
    """Opens that session."""

    name = "wrong-types"
    session = Session


@hookimpl
def joulebench_backends() -> list[type[Backend]]:
    return [WrongTypes]
