"""The technique ``gguf-quantize``: llama.cpp's own types, by llama.cpp's own quantizer."""

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
from joulebench_plugins.llamacpp.filetypes import FILE_TYPES, HEAD_TYPES, NEEDS_IMPORTANCE
from joulebench_plugins.llamacpp.installed import DISTRIBUTIONS, installed_binding

_FILE: Final = "model.gguf"
#: ``builtin:`` texts that quality is judged on.
_JUDGED: Final = frozenset({"builtin:evaluation", "builtin:short", "builtin:prompts"})


class GgufQuantize(ArtifactTechnique):
    """Rewrites a GGUF file in one of llama.cpp's types through ``llama_model_quantize``.

    The source has its matrices in float32, as ``gguf-export`` writes them, so that nothing is
    rounded twice on the way.
    """

    name = "gguf-quantize"
    summary = "GGUF to one of llama.cpp's types, by llama.cpp itself"
    stage: ClassVar[Literal["checkpoint", "artifact"]] = "artifact"
    accepts = "gguf"
    produces = "gguf"
    options = (
        Option(
            "type",
            "str",
            "q4_k_m",
            "type of the file; llama.cpp decides the type of each matrix",
            choices=tuple(FILE_TYPES),
        ),
        Option(
            "pure", "bool", False, "every matrix in the type itself, without llama.cpp's choice of more bits for some"
        ),
        Option(
            "head",
            "str",
            None,
            "type of the output head, or of the embedding that serves as one; llama.cpp's choice "
            "(8 or 6 bits) when not set",
            choices=HEAD_TYPES,
        ),
        Option(
            "imatrix",
            "bool",
            False,
            "weight errors by the mean squares of the matrices' inputs on the calibration text",
        ),
        Option(
            "calibration",
            "file",
            "builtin:calibration",
            "text for the importance matrix; never the one that quality is judged on",
        ),
        Option("sequences", "int", 12, "sequences of the text that are read", minimum=1),
        Option("length", "int", 256, "tokens in each sequence", minimum=16),
        Option("seed", "int", 0, "chooses the sequences", minimum=0),
    )

    def available(self) -> Availability:
        """Needs one of the packages that bring llama.cpp, and gguf to look into the result."""
        binding = installed_binding().availability
        return binding if not binding.ok else require_modules(("gguf", "numpy"), "llamacpp")

    def versions(self) -> Mapping[str, str]:
        """The package that brings the quantizer, and what reads its file."""
        return distribution_versions((*DISTRIBUTIONS.values(), "numpy", "gguf"))

    def check(self, settings: Settings, config: Mapping[str, object]) -> str | None:
        """Refuses what llama.cpp would refuse late, and a calibration that cannot be."""
        kind = str(settings["type"])
        stored = config.get("quantization_config")
        if isinstance(stored, Mapping) and stored.get("quant_method") == "gguf":
            return f"the file is {stored.get('type')} already, and would be rounded twice; take one in F32, F16 or BF16"
        if not settings["imatrix"]:
            if kind in NEEDS_IMPORTANCE:
                return f"type {kind} needs an importance matrix; set imatrix = true"
            return None
        text, length = str(settings["calibration"]), int(settings["length"])
        if text in _JUDGED:
            return f"{text} is for judging a model, not for calibration; take builtin:calibration"
        longest = config.get("max_position_embeddings")
        if isinstance(longest, int) and length > longest:
            return f"stretches of {length} tokens are longer than the model's context of {longest}"
        return None

    def apply(self, source: Path, output: Path, settings: Settings) -> None:
        """Write ``model.gguf``; raises ModelError for the source and ArtifactError."""
        from joulebench_plugins.llamacpp.quantizer import quantize_file

        quantize_file(source, output / _FILE, settings)

    def evidence(self, before: Path, after: Path, settings: Settings) -> Mapping[str, Scalar]:
        """The types that the file really holds, its bits, and what its rounding cost."""
        from joulebench_plugins.llamacpp.typeevidence import type_evidence

        return type_evidence(before, after, FILE_TYPES[str(settings["type"])])
