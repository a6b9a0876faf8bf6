"""llama.cpp: the backend ``llamacpp``."""

from __future__ import annotations

from joulebench.api import Backend
from joulebench.hookspecs import hookimpl

JOULEBENCH_API = 1


@hookimpl
def joulebench_backends() -> list[type[Backend]]:
    """The backend."""
    from joulebench_llamacpp.backend import LlamaCppBackend

    return [LlamaCppBackend]
