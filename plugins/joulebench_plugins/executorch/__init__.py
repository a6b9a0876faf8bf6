"""ExecuTorch: the backend ``executorch``, the runtime of phones, and a converter from checkpoints."""

from __future__ import annotations

from joulebench.api import Backend, Converter
from joulebench.hookspecs import hookimpl

JOULEBENCH_API = 1


@hookimpl
def joulebench_backends() -> list[type[Backend]]:
    """The runtime with XNNPACK's kernels."""
    from joulebench_plugins.executorch.backend import ExecutorchBackend

    return [ExecutorchBackend]


@hookimpl
def joulebench_converters() -> list[type[Converter]]:
    """Checkpoint to a program."""
    from joulebench_plugins.executorch.exporter import ExecutorchExport

    return [ExecutorchExport]
