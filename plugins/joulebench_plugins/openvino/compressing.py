"""The technique ``openvino-weights``: NNCF's compression of the matrices of an OpenVINO graph."""

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

#: Types that have a scale for each group of inputs, not for each output.
GROUPED: Final = frozenset({"int4-sym", "int4-asym"})


class OpenVinoWeights(ArtifactTechnique):
    """Matrices in 8 or 4 bits, unpacked when they are multiplied; no text is looked at.

    As NNCF does it: embedding and output head stay in 8 bits where the others get 4, unless
    ``all_layers`` says otherwise.
    """

    name = "openvino-weights"
    summary = "OpenVINO: matrices in 8 or 4 bits by NNCF"
    stage: ClassVar[Literal["checkpoint", "artifact"]] = "artifact"
    accepts = "openvino"
    produces = "openvino"
    options = (
        Option(
            "type",
            "str",
            "int8-asym",
            "number type; asym: with a zero point",
            choices=("int8-asym", "int8-sym", "int4-asym", "int4-sym"),
        ),
        Option("group", "int", 64, "inputs that share a scale in 4 bits", choices=(32, 64, 128)),
        Option(
            "ratio", "share", 1.0, "share of the weights that gets 4 bits; the rest gets 8", minimum=0.0, maximum=1.0
        ),
        Option("all_layers", "bool", False, "4 bits for the embedding and the output head as well"),
    )

    def available(self) -> Availability:
        """Needs nncf, and openvino to read and write the graph."""
        return require_modules(("openvino", "nncf", "numpy"), "openvino")

    def versions(self) -> Mapping[str, str]:
        """What decides the numbers and writes the file."""
        return distribution_versions(("nncf", "openvino", "numpy"))

    def check(self, settings: Settings, config: Mapping[str, object]) -> str | None:
        """Groups must divide the matrices."""
        group = int(settings["group"])
        if settings["type"] not in GROUPED:
            return None
        for name in ("hidden_size", "intermediate_size"):
            width = config.get(name)
            if isinstance(width, int) and width % group:
                return f"group = {group} does not divide {name}, which is {width}"
        return None

    def apply(self, source: Path, output: Path, settings: Settings) -> None:
        """Write the graph with packed matrices; raises ModelError or ArtifactError."""
        from joulebench_plugins.openvino.weights import compress

        compress(
            source,
            output,
            kind=str(settings["type"]),
            group=int(settings["group"]) if settings["type"] in GROUPED else None,
            ratio=float(settings["ratio"]),
            all_layers=bool(settings["all_layers"]),
        )

    def evidence(self, before: Path, after: Path, settings: Settings) -> Mapping[str, Scalar]:
        """Types, bits and counts that the file holds, and what the rounding cost."""
        from joulebench_plugins.openvino.weights import weight_evidence

        return weight_evidence(before, after)
