"""The converter ``openvino-export``: from a checkpoint folder to a stateful OpenVINO graph."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from joulebench.api import Availability, Converter, ModelFile, Settings
from joulebench_plugins.openvino.irfolder import ENDING, describe
from joulebench_plugins.shared.exporters.support import causal_fault, exporter_availability, exporter_versions


class OpenVinoExport(Converter):
    """Traces the model with the exporter of transformers and folds its cache into variables of the graph.

    Takes every causal architecture that the installed transformers can trace; which these are, only
    the attempt shows.
    """

    name = "openvino-export"
    summary = "checkpoint of a causal model to a stateful OpenVINO graph, float32"
    source = "hf"
    target = "openvino"
    target_ending = ENDING

    def available(self) -> Availability:
        """Needs openvino, torch, and a transformers that has the exporter."""
        return exporter_availability("openvino", "openvino")

    def versions(self) -> Mapping[str, str]:
        """What traces and writes the graph."""
        return exporter_versions("openvino")

    def supports(self, architecture: str | None) -> str | None:
        """Only causal models; whether one can be traced is seen when it is."""
        return causal_fault(architecture)

    def describe(self, source: Path) -> ModelFile | None:
        """What a user's own graph says of itself."""
        return describe(source)

    def convert(self, source: Path, output: Path, settings: Settings) -> None:
        """Write ``openvino_model.xml``, its weights and the checkpoint's ``config.json``.

        Raises :class:`ArtifactError` for a model that cannot be traced or whose graph has no state.
        """
        from joulebench_plugins.openvino.tracing import export

        export(source, output)
