"""ONNX Runtime: two backends, two converters, and techniques that store in fewer bits."""

from __future__ import annotations

from joulebench.api import Backend, Converter, Technique
from joulebench.hookspecs import hookimpl

JOULEBENCH_API = 1


@hookimpl
def joulebench_backends() -> list[type[Backend]]:
    """The runtime as on a desktop and as on a phone."""
    from joulebench_plugins.onnx.backend import OnnxBackend, OnnxMobileBackend

    return [OnnxBackend, OnnxMobileBackend]


@hookimpl
def joulebench_converters() -> list[type[Converter]]:
    """Checkpoint to ONNX, ONNX to ORT format."""
    from joulebench_plugins.onnx.exporter import OnnxExport
    from joulebench_plugins.onnx.ortformat import OrtFormat

    return [OnnxExport, OrtFormat]


@hookimpl
def joulebench_techniques() -> list[type[Technique]]:
    """ONNX Runtime's own types."""
    from joulebench_plugins.onnx.quantizing import OnnxDynamicInt8, OnnxMatMulNBits

    return [OnnxDynamicInt8, OnnxMatMulNBits]
