"""Small llamas in the forms of ONNX Runtime, for its tests."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import llama_models

from joulebench.api import Artifact, BackendSession
from joulebench_plugins.onnx.backend import OnnxBackend, OnnxMobileBackend
from joulebench_plugins.onnx.exporter import OnnxExport
from joulebench_plugins.onnx.ortformat import OrtFormat

#: A context that takes longer texts, and heads that are no power of two.
TIED: Mapping[str, Any] = {**llama_models.TIED, "max_position_embeddings": 160}
UNTIED: Mapping[str, Any] = {**llama_models.UNTIED, "max_position_embeddings": 160, "head_dim": 48}
LINEAR: Mapping[str, Any] = {**llama_models.LINEAR, "max_position_embeddings": 160}
LLAMA3: Mapping[str, Any] = {**llama_models.LLAMA3, "max_position_embeddings": 160}

BACKENDS = {"onnx": OnnxBackend, "ort": OnnxMobileBackend}


def export(checkpoint: Path, output: Path) -> Path:
    """The checkpoint as ONNX in a new folder ``output``."""
    output.mkdir()
    OnnxExport().convert(checkpoint, output, {})
    return output


def to_ort(model: Path, output: Path) -> Path:
    """An ONNX model in ORT format in a new folder ``output``."""
    output.mkdir()
    OrtFormat().convert(model, output, {})
    return output


def opened(folder: Path, format_: str = "onnx", **settings: str | int | bool) -> BackendSession:
    """A session on a converted model, on one thread."""
    artifact = Artifact(format_, folder, "", 0)
    return BACKENDS[format_]().open(artifact, "cpu", {"threads": 1, **settings})
