"""The converter ``onnx-export``: from a checkpoint folder to an ONNX model for onnxruntime."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from joulebench.api import Availability, Converter, Option, Settings, distribution_versions, require_modules
from joulebench.errors import ArtifactError
from joulebench_plugins.onnx.shape import graph_shape
from joulebench_plugins.shared.llama.configuration import UnfitModelError
from joulebench_plugins.shared.llama.shape import ARCHITECTURES
from joulebench_plugins.shared.tensors.integers import PACK_CHOICES

PACK: Final = Option(
    "pack",
    "str",
    "auto",
    "a quantized checkpoint's integers: as MatMulNBits of the very same integers (auto), or dense in float32",
    choices=PACK_CHOICES,
)
ACTIVATIONS: Final = Option(
    "activations",
    "str",
    "float32",
    "what packed integers are multiplied in: float32, or int8, which rounds activations as well",
    choices=("float32", "int8"),
)


class OnnxExport(Converter):
    """Writes the graph of a llama-type model operator by operator, without tracing it.

    ``model.onnx`` (IR 10, opset 21, onnxruntime's own GroupQueryAttention) takes its weights as
    float32 from ``model.onnx.data``, or as a quantized checkpoint's integers. The same checkpoint
    gives the same bytes.
    """

    name = "onnx-export"
    summary = "checkpoint of a llama-type model to ONNX with a KV cache, float32 or packed integers"
    source = "hf"
    target = "onnx"
    options = (PACK, ACTIVATIONS)

    def available(self) -> Availability:
        """Needs the ``onnx`` package and numpy; no model runtime."""
        return require_modules(("onnx", "numpy"), "onnx")

    def versions(self) -> Mapping[str, str]:
        """Versions of what writes the model, this package included."""
        return distribution_versions(("onnx", "numpy"))

    def supports(self, architecture: str | None) -> str | None:
        """Only llama-type models; an unknown architecture is checked when the model is read."""
        if architecture is None or architecture in ARCHITECTURES:
            return None
        return f"exports {', '.join(ARCHITECTURES)} only, not '{architecture}'"

    def convert(self, source: Path, output: Path, settings: Settings) -> None:
        """Write ``model.onnx`` and its weights into ``output``.

        Raises :class:`ModelError` for a damaged checkpoint and :class:`ArtifactError` for a model
        whose graph is not known.
        """
        from joulebench_plugins.onnx.graphfile import GraphFile
        from joulebench_plugins.onnx.llamagraph import write_llama
        from joulebench_plugins.onnx.nbits import Packing
        from joulebench_plugins.shared.tensors.arrays import Checkpoint

        checkpoint = Checkpoint(source)
        try:
            shape = graph_shape(checkpoint.config)
        except UnfitModelError as error:
            raise ArtifactError(
                str(error),
                where=str(source / "config.json"),
                hint="use a llama-type checkpoint, or a backend that reads checkpoints as they are",
            ) from None
        packing = None
        if settings.get("pack") != "dense":
            packing = Packing.beside(source, str(settings.get("activations", "float32")))
        with GraphFile(output) as graph:
            write_llama(graph, checkpoint, shape, packing)
