"""The workloads of a language model: generate, prefill, decode, score, encode, idle."""

from __future__ import annotations

from joulebench.api import Workload
from joulebench.hookspecs import hookimpl

JOULEBENCH_API = 1


@hookimpl
def joulebench_workloads() -> list[type[Workload]]:
    """The workload classes."""
    from joulebench_plugins.workloads.encode import Encode
    from joulebench_plugins.workloads.generate import Generate
    from joulebench_plugins.workloads.idle import Idle
    from joulebench_plugins.workloads.phases import Decode, Prefill
    from joulebench_plugins.workloads.score import Score

    return [Generate, Prefill, Decode, Score, Encode, Idle]
