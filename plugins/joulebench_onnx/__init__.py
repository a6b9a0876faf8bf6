"""ONNX Runtime: backends ``onnx``, ``onnx-mobile``; converters ``onnx-export``, ``ort-format``."""

from __future__ import annotations

from joulebench.api import Backend, Converter
from joulebench.hookspecs import hookimpl

JOULEBENCH_API = 1


@hookimpl
def joulebench_backends() -> list[type[Backend]]:
    """The runtime as on a desktop and as on a phone."""
    from joulebench_onnx.backend import OnnxBackend, OnnxMobileBackend

    return [OnnxBackend, OnnxMobileBackend]


@hookimpl
def joulebench_converters() -> list[type[Converter]]:
    """Checkpoint to ONNX, ONNX to ORT format."""
    from joulebench_onnx.exporter import OnnxExport
    from joulebench_onnx.ortformat import OrtFormat

    return [OnnxExport, OrtFormat]
