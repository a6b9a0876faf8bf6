"""Runtimes in any language: the backend ``command`` drives a program over its input and output."""

from __future__ import annotations

from joulebench.api import Backend
from joulebench.hookspecs import hookimpl

JOULEBENCH_API = 1


@hookimpl
def joulebench_backends() -> list[type[Backend]]:
    """The backend ``command``."""
    from joulebench_plugins.command.backend import CommandBackend

    return [CommandBackend]
