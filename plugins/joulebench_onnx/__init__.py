"""ONNX Runtime: the backend ``onnx`` and the converters ``onnx-export`` and ``ort-format``."""

from __future__ import annotations

JOULEBENCH_API = 1
