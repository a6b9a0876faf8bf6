"""Takes its process down when a model is loaded."""

from __future__ import annotations

import ctypes

from bad_base import CountingBackend

from joulebench.api import Artifact, Backend, BackendSession, Settings
from joulebench.hookspecs import hookimpl

JOULEBENCH_API = 1


class CrashAtOpen(CountingBackend):
    """Reads the address 0."""

    name = "crash-at-open"

    def open(self, artifact: Artifact, device: str, settings: Settings) -> BackendSession:
        ctypes.string_at(0)
        raise AssertionError


@hookimpl
def joulebench_backends() -> list[type[Backend]]:
    return [CrashAtOpen]
