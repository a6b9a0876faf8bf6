"""The techniques: their options, and what they may be asked for. Nothing heavy is imported here."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final, Literal

from joulebench.api import ArtifactTechnique, Availability, Environment, Option, Scalar, Settings, distribution_versions
from joulebench_plugins.shared.calibration.text import CALIBRATION, Calibration, calibration_fault
from joulebench_plugins.shared.decoder.roles import input_widths
from joulebench_plugins.shared.llama.configuration import UnfitModelError

if TYPE_CHECKING:
    from joulebench_plugins.llmcompressor.oneshot import Modifier

#: llmcompressor demands a release of transformers that is older than the one beside joulebench.
ENVIRONMENT: Final = Environment(
    "llmcompressor",
    ("llmcompressor>=0.14,<0.15", "torch", "transformers", "safetensors", "tokenizers"),
    python_least=(3, 11),
)
#: What decides the numbers.
LIBRARIES: Final = ("llmcompressor", "compressed-tensors", "torch", "transformers", "safetensors", "tokenizers")

#: Types of models whose matrices are ``Conv1D``.
_TRANSPOSED: Final = frozenset({"gpt2", "openai-gpt", "imagegpt"})
_PATTERNS: Final[Mapping[str, tuple[int, int] | None]] = {"unstructured": None, "2:4": (2, 4), "4:8": (4, 8)}
_PRUNING: Final = (
    Option(
        "sparsity", "share", 0.5, "share of the weights of each matrix that becomes zero", minimum=0.01, maximum=0.99
    ),
    Option(
        "pattern",
        "str",
        "unstructured",
        "N:M leaves N non-zero weights in each M neighbours of a row; needs a sparsity of 50 %",
        choices=tuple(_PATTERNS),
    ),
)
_DAMPING: Final = Option(
    "damping",
    "float",
    0.01,
    "what is added to the diagonal of the Hessian, as a fraction of its mean",
    minimum=1e-6,
    maximum=10.0,
)


class _ByLlmCompressor(ArtifactTechnique):
    """What they have in common: a checkpoint goes in, a dense one of the same shape comes out."""

    stage: ClassVar[Literal["checkpoint", "artifact"]] = "checkpoint"
    accepts = "hf"
    produces = "hf"
    environment_needs: ClassVar[Environment | None] = ENVIRONMENT

    def available(self) -> Availability:
        """Whether llmcompressor is installed; asked in its environment."""
        if "llmcompressor" in distribution_versions(LIBRARIES):
            return Availability.yes()
        return Availability.no("not installed: llmcompressor", f"joulebench env create {ENVIRONMENT.name}")

    def versions(self) -> Mapping[str, str]:
        """The libraries of the environment."""
        return distribution_versions(LIBRARIES)

    def check(self, settings: Settings, config: Mapping[str, object]) -> str | None:
        """The text is none that is judged on, its stretches fit the model's context, and there are linear layers."""
        kind = config.get("model_type")
        if kind in _TRANSPOSED:
            return f"llmcompressor takes no transposed layers, of which models of type '{kind}' consist"
        return calibration_fault(settings, config)

    def apply(self, source: Path, output: Path, settings: Settings) -> None:
        """Write the compressed checkpoint; raises ModelError or ArtifactError."""
        from joulebench_plugins.llmcompressor.oneshot import compress

        compress(source, output, Calibration.of(settings), self._modifier(settings))

    @abstractmethod
    def _modifier(self, settings: Settings) -> Modifier: ...


class LlmCompressorGptq(_ByLlmCompressor):
    """GPTQ (Frantar et al. 2022, arXiv 2210.17323) by llmcompressor: symmetric integers by groups.

    The result is written back as a dense checkpoint, so that every backend can run it: the
    numbers are those of the quantized model, the file is as large as before.
    """

    name = "llmcompressor-gptq"
    summary = "GPTQ by llmcompressor, written back dense: a cross-check of quality, nothing smaller"
    options: ClassVar[tuple[Option, ...]] = (
        Option("bits", "int", 4, "bits of a weight", choices=(4, 8)),
        Option("group", "int", 32, "neighbours in a row that share a scale", minimum=8),
        *CALIBRATION,
        _DAMPING,
    )

    def check(self, settings: Settings, config: Mapping[str, object]) -> str | None:
        """As all, and groups must divide the matrices."""
        group = int(settings["group"])
        try:
            widths = sorted(input_widths(config))
        except UnfitModelError as error:
            return str(error)
        for width in widths:
            if width % group:
                return f"groups of {group} do not divide matrices that are {width} wide"
        return super().check(settings, config)

    def evidence(self, before: Path, after: Path, settings: Settings) -> Mapping[str, Scalar]:
        """How many different values each group of weights has, at most 2 to the bits."""
        from joulebench_plugins.llmcompressor.evidence import levels

        return levels(before, after, int(settings["group"]), int(settings["bits"]))

    def _modifier(self, settings: Settings) -> Modifier:
        from joulebench_plugins.llmcompressor.oneshot import Modifier

        return Modifier(
            "gptq", bits=int(settings["bits"]), group=int(settings["group"]), damping=float(settings["damping"])
        )


class _PrunesByLibrary(_ByLlmCompressor):
    """What the two that prune have in common."""

    options: ClassVar[tuple[Option, ...]] = (*_PRUNING, *CALIBRATION)

    def check(self, settings: Settings, config: Mapping[str, object]) -> str | None:
        """As all, and sparsity and pattern must go together."""
        pattern = _PATTERNS[str(settings["pattern"])]
        if pattern is not None and float(settings["sparsity"]) != 1 - pattern[0] / pattern[1]:
            return f"pattern {settings['pattern']} is a sparsity of 50 %; leave sparsity out"
        return super().check(settings, config)

    def evidence(self, before: Path, after: Path, settings: Settings) -> Mapping[str, Scalar]:
        """Zeros counted in the files, and the pattern checked in every group."""
        from joulebench_plugins.llmcompressor.evidence import zeros

        return zeros(before, after, _PATTERNS[str(settings["pattern"])])


def _mask(settings: Settings) -> str:
    """llmcompressor's name of the pattern."""
    pattern = str(settings["pattern"])
    return "0:0" if pattern == "unstructured" else pattern


class LlmCompressorWanda(_PrunesByLibrary):
    """Wanda (Sun et al. 2023, arXiv 2306.11695) by llmcompressor."""

    name = "llmcompressor-wanda"
    summary = "Wanda by llmcompressor: a cross-check; stays dense on disk, no faster"

    def _modifier(self, settings: Settings) -> Modifier:
        from joulebench_plugins.llmcompressor.oneshot import Modifier

        return Modifier("wanda", sparsity=float(settings["sparsity"]), mask=_mask(settings))


class LlmCompressorSparseGpt(_PrunesByLibrary):
    """SparseGPT (Frantar and Alistarh 2023, arXiv 2301.00774) by llmcompressor."""

    name = "llmcompressor-sparsegpt"
    summary = "SparseGPT by llmcompressor: a cross-check; stays dense on disk, no faster"
    options: ClassVar[tuple[Option, ...]] = (*_PRUNING, *CALIBRATION, _DAMPING)

    def _modifier(self, settings: Settings) -> Modifier:
        from joulebench_plugins.llmcompressor.oneshot import Modifier

        return Modifier(
            "sparsegpt", sparsity=float(settings["sparsity"]), mask=_mask(settings), damping=float(settings["damping"])
        )
