"""Hardware microbenchmarks and a model's operators, as workloads.

Every workload of joulebench has a model; here it lies loaded and idle in memory, and its backend
says on which threads, device and number type the kernels run.
"""

from __future__ import annotations

from joulebench.api import Workload
from joulebench.hookspecs import hookimpl

JOULEBENCH_API = 1


@hookimpl
def joulebench_workloads() -> list[type[Workload]]:
    """The workloads."""
    from joulebench_plugins.hardware.bandwidth import Bandwidth
    from joulebench_plugins.hardware.launch import Launch
    from joulebench_plugins.hardware.operators import Operators
    from joulebench_plugins.hardware.products import MatMul, MatVec

    return [Bandwidth, MatMul, MatVec, Launch, Operators]
