"""The techniques that write zeros into the matrices: by magnitude, Wanda and SparseGPT.

The zeros are stored like any other number: the model gets neither smaller nor faster on runtimes
without sparse kernels.
"""

from __future__ import annotations

from abc import abstractmethod
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
from joulebench_plugins.pruning.options import PATTERN, PATTERNS, SPARSITY, divides, pattern_fault
from joulebench_plugins.shared.calibration.text import CALIBRATION, Calibration, calibration_fault
from joulebench_plugins.shared.decoder.roles import input_widths
from joulebench_plugins.shared.llama.configuration import UnfitModelError, refuse_quantized

#: What decides the numbers: arithmetic, the layers' code, tokens.
LIBRARIES: Final = ("torch", "transformers", "safetensors", "tokenizers")


class _WritesZeros(ArtifactTechnique):
    """What the three have in common."""

    stage: ClassVar[Literal["checkpoint", "artifact"]] = "checkpoint"
    accepts = "hf"
    produces = "hf"
    options: ClassVar[tuple[Option, ...]] = (SPARSITY, PATTERN)

    def available(self) -> Availability:
        """Needs torch and its companions; no accelerator."""
        return require_modules(LIBRARIES, "torch")

    def versions(self) -> Mapping[str, str]:
        """The libraries that decide which weights go."""
        return distribution_versions(LIBRARIES)

    def check(self, settings: Settings, config: Mapping[str, object]) -> str | None:
        """A model whose matrices can be divided into the pattern's groups, as far as their sizes are known."""
        try:
            refuse_quantized(config)
            widths = sorted(input_widths(config))
        except UnfitModelError as error:
            return str(error)
        pattern = PATTERNS[str(settings["pattern"])]
        for width in widths:
            if not divides(pattern, width):
                return f"pattern {settings['pattern']} does not divide matrices that are {width} wide"
        return pattern_fault(settings)

    @abstractmethod
    def apply(self, source: Path, output: Path, settings: Settings) -> None:
        """Write the pruned checkpoint."""

    def evidence(self, before: Path, after: Path, settings: Settings) -> Mapping[str, Scalar]:
        """Zeros counted in the files, and the pattern checked in every group."""
        from joulebench_plugins.pruning.evidence import zeros

        return zeros(before, after, PATTERNS[str(settings["pattern"])])


class PruneMagnitude(_WritesZeros):
    """Zeroes the smallest weights of each matrix.

    Han et al. 2015, "Learning both Weights and Connections for Efficient Neural Networks"
    (arXiv 1506.02626), once and without training afterwards.
    """

    name = "prune-magnitude"
    summary = "zeroes the smallest weights of each matrix; stays dense on disk, no faster"

    def apply(self, source: Path, output: Path, settings: Settings) -> None:
        """Write the pruned checkpoint; raises :class:`~joulebench.errors.ModelError`."""
        from joulebench_plugins.pruning.methods import prune_by_magnitude

        prune_by_magnitude(source, output, float(settings["sparsity"]), PATTERNS[str(settings["pattern"])])


class _Calibrated(_WritesZeros):
    """What the two that look at activations have in common."""

    options: ClassVar[tuple[Option, ...]] = (SPARSITY, PATTERN, *CALIBRATION)

    def check(self, settings: Settings, config: Mapping[str, object]) -> str | None:
        """As without calibration, and the stretches of text must fit the model."""
        return super().check(settings, config) or calibration_fault(settings, config)


class PruneWanda(_Calibrated):
    """Zeroes, in each row, the weights with the least \\|weight\\| · norm of their input.

    Sun et al. 2023, "A Simple and Effective Pruning Approach for Large Language Models"
    (arXiv 2306.11695): the score of W[i, j] is \\|W[i, j]\\| · ‖X[:, j]‖₂ over all tokens of the
    calibration text, compared within a row. No weight that stays is changed.
    """

    name = "prune-wanda"
    summary = "zeroes weights by size times input norm; stays dense on disk, no faster"

    def apply(self, source: Path, output: Path, settings: Settings) -> None:
        """Write the pruned checkpoint; raises ModelError or ArtifactError."""
        from joulebench_plugins.pruning.methods import prune_by_wanda

        prune_by_wanda(
            source, output, Calibration.of(settings), float(settings["sparsity"]), PATTERNS[str(settings["pattern"])]
        )


class PruneSparseGpt(_Calibrated):
    """Zeroes weights and corrects those that stay for the error.

    Frantar and Alistarh 2023, "SparseGPT: Massive Language Models Can be Accurately Pruned in
    One-Shot" (arXiv 2301.00774), with its blocks of 128 columns.
    """

    name = "prune-sparsegpt"
    summary = "zeroes weights and corrects the others; stays dense on disk, no faster"
    options: ClassVar[tuple[Option, ...]] = (
        SPARSITY,
        PATTERN,
        *CALIBRATION,
        Option(
            "damping",
            "float",
            0.01,
            "what is added to the diagonal of the Hessian, as a fraction of its mean",
            minimum=1e-6,
            maximum=10.0,
        ),
    )

    def apply(self, source: Path, output: Path, settings: Settings) -> None:
        """Write the pruned checkpoint; raises ModelError or ArtifactError."""
        from joulebench_plugins.pruning.methods import prune_by_sparsegpt

        prune_by_sparsegpt(
            source,
            output,
            Calibration.of(settings),
            float(settings["sparsity"]),
            PATTERNS[str(settings["pattern"])],
            float(settings["damping"]),
        )
