"""The converter ``executorch-export``: from a checkpoint folder to an ExecuTorch program."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from joulebench.api import Availability, Converter, Option, Settings
from joulebench_plugins.shared.exporters.support import causal_fault, exporter_availability, exporter_versions

CACHE_TOKENS: Final = Option(
    "cache_tokens",
    "int",
    512,
    "positions of the KV cache, a part of the program; each token attends to all of them, masked",
    minimum=1,
)


class ExecutorchExport(Converter):
    """Traces one decode step with a static cache and lowers it to XNNPACK; float32."""

    name = "executorch-export"
    summary = "checkpoint of a causal model to an ExecuTorch program for XNNPACK, float32"
    source = "hf"
    target = "executorch"
    options = (CACHE_TOKENS,)

    def available(self) -> Availability:
        """Needs executorch, torch, and a transformers that has the exporter."""
        return exporter_availability("executorch", "executorch")

    def versions(self) -> Mapping[str, str]:
        """What traces and lowers the program."""
        return exporter_versions("executorch")

    def supports(self, architecture: str | None) -> str | None:
        """Only causal models; whether one can be traced is seen when it is."""
        return causal_fault(architecture)

    def convert(self, source: Path, output: Path, settings: Settings) -> None:
        """Write ``model.pte``, what its values are, and the checkpoint's ``config.json``.

        Raises :class:`ArtifactError` for a model that cannot be traced or lowered.
        """
        from joulebench_plugins.executorch.tracing import export

        export(source, output, int(settings["cache_tokens"]))
