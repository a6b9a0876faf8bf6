"""The techniques ``onnx-dynamic-int8`` and ``onnx-matmul-nbits``: ONNX Runtime's own types."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Final, Literal

from joulebench.api import (
    ArtifactTechnique,
    Availability,
    Option,
    Scalar,
    Settings,
    distribution_versions,
    require_modules,
)

_FULL: Final = 32


class _OnnxTypes(ArtifactTechnique):
    """What both have in common."""

    stage: ClassVar[Literal["checkpoint", "artifact"]] = "artifact"
    accepts = "onnx"
    produces = "onnx"

    def available(self) -> Availability:
        """Needs onnxruntime, whose quantizers these are, and the onnx package."""
        return require_modules(("onnxruntime", "onnx", "numpy"), "onnx")

    def versions(self) -> Mapping[str, str]:
        """What decides the numbers and writes the file."""
        return distribution_versions(("onnxruntime", "onnx", "numpy"))

    def check(self, settings: Settings, config: Mapping[str, object]) -> str | None:
        """Any model that comes as one graph; what its graph lacks is known when it is here."""
        return None

    def evidence(self, before: Path, after: Path, settings: Settings) -> Mapping[str, Scalar]:
        """Operators, types and bits that the file really holds, and what its rounding cost."""
        from joulebench_plugins.onnx.typeevidence import type_evidence

        return type_evidence(before, after)


class OnnxDynamicInt8(_OnnxTypes):
    """Matrices in int8, inputs rounded to uint8 at each run (``quantize_dynamic``).

    The embedding that is only looked up stays float32.
    """

    name = "onnx-dynamic-int8"
    summary = "ONNX: int8 matrices, inputs rounded to 8 bits at each run"
    options = (
        Option("per_channel", "bool", True, "a scale for each output of a matrix, not one for all"),
        Option("head", "bool", True, "also the output head, which is then separate from a tied embedding"),
        Option(
            "reduce_range",
            "bool",
            False,
            "7 bits for the matrices: for processors without VNNI, whose sums may overflow",
        ),
    )

    def apply(self, source: Path, output: Path, settings: Settings) -> None:
        """Write the model and its weights; raises ModelError or ArtifactError."""
        from joulebench_plugins.onnx.dynamicint8 import quantize_to_int8

        quantize_to_int8(
            source,
            output,
            per_channel=bool(settings["per_channel"]),
            head=bool(settings["head"]),
            reduce_range=bool(settings["reduce_range"]),
        )


class OnnxMatMulNBits(_OnnxTypes):
    """Matrices in 4 or 8 bits by blocks along the inputs, each with a scale (``MatMulNBits``)."""

    name = "onnx-matmul-nbits"
    summary = "ONNX: matrices in 4 or 8 bits by blocks (MatMulNBits)"
    options = (
        Option("bits", "int", 4, "bits of a weight", choices=(4, 8)),
        Option("block", "int", 32, "inputs that share a scale", choices=(32, 64, 128)),
        Option("symmetric", "bool", True, "without a zero point for each block"),
        Option(
            "accuracy_level",
            "int",
            4,
            "how the kernels may compute: 4 rounds inputs to int8, 1 keeps float32, 0 leaves it to the runtime",
            choices=(0, 1, 4),
        ),
        Option("head_bits", "int", None, "bits of the output head; as bits when not set", choices=(4, 8, _FULL)),
        Option("embedding_bits", "int", _FULL, "bits of the embedding that is looked up", choices=(4, 8, _FULL)),
    )

    def apply(self, source: Path, output: Path, settings: Settings) -> None:
        """Write the model and its weights; raises ModelError or ArtifactError."""
        from joulebench_plugins.onnx.blockwise import Blockwise, quantize_in_blocks

        bits = int(settings["bits"])
        scheme = Blockwise(
            bits=bits,
            block=int(settings["block"]),
            symmetric=bool(settings["symmetric"]),
            accuracy_level=int(settings["accuracy_level"]),
            head_bits=int(settings.get("head_bits", bits)),
            embedding_bits=int(settings["embedding_bits"]),
        )
        quantize_in_blocks(source, output, scheme)

    def check(self, settings: Settings, config: Mapping[str, object]) -> str | None:
        """As for all, and rows of a quantized embedding must be whole blocks."""
        hidden, block = config.get("hidden_size"), int(settings["block"])
        if settings["embedding_bits"] != _FULL and isinstance(hidden, int) and hidden % block:
            return f"embedding_bits needs rows of whole blocks; {block} does not divide {hidden}"
        return super().check(settings, config)
