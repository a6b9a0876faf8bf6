"""Servers: the backend `server` (any OpenAI-compatible endpoint) and the workload `serve` (requests under load)."""

from __future__ import annotations

from joulebench.api import Backend, Workload
from joulebench.hookspecs import hookimpl

JOULEBENCH_API = 1


@hookimpl
def joulebench_backends() -> list[type[Backend]]:
    """The backend ``server``."""
    from joulebench_plugins.server.backend import ServerBackend

    return [ServerBackend]


@hookimpl
def joulebench_workloads() -> list[type[Workload]]:
    """The workload ``serve``."""
    from joulebench_plugins.server.workload import Serve

    return [Serve]
