"""OpenVINO: the backend ``openvino``, a converter from checkpoints, and weights in fewer bits by NNCF."""

from __future__ import annotations

from joulebench.api import Backend, Converter, Technique
from joulebench.hookspecs import hookimpl

JOULEBENCH_API = 1


@hookimpl
def joulebench_backends() -> list[type[Backend]]:
    """The runtime on a CPU, or on an Intel GPU or NPU."""
    from joulebench_plugins.openvino.backend import OpenVinoBackend

    return [OpenVinoBackend]


@hookimpl
def joulebench_converters() -> list[type[Converter]]:
    """Checkpoint to a stateful graph."""
    from joulebench_plugins.openvino.exporter import OpenVinoExport

    return [OpenVinoExport]


@hookimpl
def joulebench_techniques() -> list[type[Technique]]:
    """NNCF's compression of weights."""
    from joulebench_plugins.openvino.compressing import OpenVinoWeights

    return [OpenVinoWeights]
