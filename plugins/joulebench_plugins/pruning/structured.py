"""The technique that cuts a smaller dense model out of a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal

from joulebench.api import (
    ArtifactTechnique,
    Availability,
    Option,
    Scalar,
    Settings,
    distribution_versions,
    require_modules,
)
from joulebench_plugins.pruning.target import slimmer, smaller_config
from joulebench_plugins.pruning.unstructured import LIBRARIES
from joulebench_plugins.shared.calibration.text import CALIBRATION, Calibration, calibration_fault
from joulebench_plugins.shared.llama.configuration import UnfitModelError


class PruneStructured(ArtifactTechnique):
    """Removes whole MLP channels, groups of attention heads and layers, without training after.

    With ``scores = "activation"`` channels and heads go by what they add to the residual stream on
    the calibration text, size times input norm as in Wanda (arXiv 2306.11695), summed over a
    channel or a group of heads that belong together (LLM-Pruner, arXiv 2305.11627); layers by
    Block Influence, 1 - mean cosine of the states before and after (ShortGPT, arXiv 2403.03853).
    With ``"magnitude"`` all go by the norm of their weights. Every layer keeps as many.
    """

    name = "prune-structured"
    summary = "cuts MLP channels, heads and layers out: a smaller dense model with less to compute"
    stage: ClassVar[Literal["checkpoint", "artifact"]] = "checkpoint"
    accepts = "hf"
    produces = "hf"
    options = (
        Option("keep_mlp", "share", None, "share of each layer's MLP channels that stays", minimum=0.01, maximum=1.0),
        Option(
            "mlp_multiple",
            "int",
            32,
            "the MLP's width becomes a multiple of this, since "
            "runtimes quantize in blocks (32; llama.cpp's k-quants 256)",
            minimum=1,
        ),
        Option(
            "keep_kv_heads",
            "int",
            None,
            "key/value heads that stay in each layer, each with the query heads that share it",
            minimum=1,
        ),
        Option("keep_layers", "int", None, "layers that stay", minimum=1),
        Option(
            "scores",
            "str",
            "activation",
            "what is kept: what matters on the calibration text, or what has the largest weights (no text is read)",
            choices=("activation", "magnitude"),
        ),
        *CALIBRATION,
    )

    def available(self) -> Availability:
        """Needs torch and its companions; no accelerator."""
        return require_modules(LIBRARIES, "torch")

    def versions(self) -> Mapping[str, str]:
        """The libraries that decide what goes."""
        return distribution_versions(LIBRARIES)

    def check(self, settings: Settings, config: Mapping[str, object]) -> str | None:
        """A model whose parts are known, that has what is to be kept, and sizes that transformers takes."""
        try:
            slimmer(config, settings)
        except UnfitModelError as error:
            return str(error)
        return calibration_fault(settings, config) if settings["scores"] == "activation" else None

    def config_after(self, settings: Settings, config: Mapping[str, object]) -> Mapping[str, object]:
        """The configuration of the smaller model."""
        return smaller_config(config, slimmer(config, settings))

    def apply(self, source: Path, output: Path, settings: Settings) -> None:
        """Write the smaller checkpoint; raises ModelError or ArtifactError."""
        from joulebench_plugins.pruning.slimming import slim
        from joulebench_plugins.shared.tensors.weights import Weights

        weights = Weights(source)
        target = slimmer(weights.config, settings)
        by_activation = settings["scores"] == "activation"
        slim(weights, output, target, Calibration.of(settings) if by_activation else None)

    def evidence(self, before: Path, after: Path, settings: Settings) -> Mapping[str, Scalar]:
        """Parameters, bytes and shapes before and after, from the files."""
        from joulebench_plugins.pruning.evidence import shapes

        return shapes(before, after)
