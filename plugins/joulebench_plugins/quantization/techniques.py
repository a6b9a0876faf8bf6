"""The techniques that round a checkpoint's weights: to nearest, by GPTQ, AWQ, in ZeroQuant's form.

What is written is an ordinary checkpoint of float32 numbers that every runtime computes with, and
beside it the integers, which converters pack into blocks that runtimes have kernels for.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final, Literal

from joulebench.api import (
    ArtifactTechnique,
    Availability,
    Option,
    Scalar,
    Settings,
    distribution_versions,
    require_modules,
)
from joulebench_plugins.quantization.options import (
    ACT_ORDER,
    DAMPING,
    EMBEDDING,
    bits_option,
    clip_option,
    grid_fault,
    group_option,
)
from joulebench_plugins.shared.calibration.text import CALIBRATION, Calibration, calibration_fault
from joulebench_plugins.shared.decoder.roles import input_widths
from joulebench_plugins.shared.llama.configuration import UnfitModelError, refuse_quantized

if TYPE_CHECKING:
    from joulebench_plugins.quantization.grid import Grid
    from joulebench_plugins.quantization.recipe import Recipe

#: What decides the numbers: arithmetic, the layers' code, tokens, and the methods here.
LIBRARIES: Final = ("torch", "transformers", "safetensors", "tokenizers")


class RewritesWeights(ArtifactTechnique):
    """What all of them have in common. A subclass says what its :meth:`recipe` is."""

    stage: ClassVar[Literal["checkpoint", "artifact"]] = "checkpoint"
    accepts = "hf"
    produces = "hf"

    def available(self) -> Availability:
        """Needs torch and its companions; no accelerator."""
        return require_modules((*LIBRARIES, "numpy"), "torch")

    def versions(self) -> Mapping[str, str]:
        """The libraries that decide the numbers."""
        return distribution_versions(LIBRARIES)

    def check(self, settings: Settings, config: Mapping[str, object]) -> str | None:
        """A model whose matrices the groups divide, as far as that is known; a text that fits it."""
        try:
            refuse_quantized(config)
            self.require(settings, config)
            fault = grid_fault(settings, input_widths(config), config.get("hidden_size"))
        except UnfitModelError as error:
            return str(error)
        if fault is None and self.calibrates(settings):
            fault = calibration_fault(settings, config)
        return fault

    def require(self, settings: Settings, config: Mapping[str, object]) -> None:
        """Raise :class:`UnfitModelError` for models that the technique does not know well enough."""

    def calibrates(self, settings: Settings) -> bool:
        """Whether these settings have a text read."""
        return "calibration" in settings

    def apply(self, source: Path, output: Path, settings: Settings) -> None:
        """Write the checkpoint and its integers; raises ModelError or ArtifactError."""
        from joulebench_plugins.quantization.rewriting import rewrite
        from joulebench_plugins.shared.tensors.weights import Weights

        rewrite(source, output, self.recipe(Weights(source).config, settings))

    @abstractmethod
    def recipe(self, config: Mapping[str, object], settings: Settings) -> Recipe:
        """What is done to a checkpoint of this configuration."""

    def evidence(self, before: Path, after: Path, settings: Settings) -> Mapping[str, Scalar]:
        """Number types, bits, integers, errors and bytes, from the files."""
        from joulebench_plugins.quantization.evidence import observed

        return observed(before, after)


def grid_of(settings: Settings) -> Grid:
    """The grid that the options say."""
    from joulebench_plugins.quantization.grid import Grid

    return Grid(int(settings["bits"]), int(settings["group"]), settings["clip"] == "search")


class QuantizeRtn(RewritesWeights):
    """Rounds each weight to the nearest integer of its group's scale, and nothing else."""

    name = "quantize-rtn"
    summary = "rounds weights to nearest, in symmetric groups; packs exactly for all runtimes"
    options: ClassVar[tuple[Option, ...]] = (bits_option(8), group_option(32), clip_option("none"), EMBEDDING)

    def recipe(self, config: Mapping[str, object], settings: Settings) -> Recipe:
        """Round."""
        from joulebench_plugins.quantization.recipe import Recipe, by_nearest

        grid = grid_of(settings)
        return Recipe(self.name, round=by_nearest(grid), group=grid.group, embedding=settings["embedding"] == "int8")


class QuantizeZeroQuant(QuantizeRtn):
    """ZeroQuant's group-wise weights; its token-wise activations are the runtime's to do.

    Yao et al. 2022, "ZeroQuant: Efficient and Affordable Post-Training Quantization for Large-Scale
    Transformers" (arXiv 2206.01861), section 4.1, without its layer-by-layer distillation. A
    checkpoint cannot say how activations are rounded: they are where the packed kernel rounds them
    (llama.cpp's, in blocks of 32 of each token; ONNX Runtime's with ``activations = "int8"``), and
    stay float32 on torch.
    """

    name = "quantize-zeroquant"
    summary = "ZeroQuant: weights in groups; activations int8 only where the runtime's kernel is"
    options: ClassVar[tuple[Option, ...]] = (bits_option(8), group_option(64), clip_option("none"), EMBEDDING)


class QuantizeGptq(RewritesWeights):
    """Rounds column by column and corrects the later columns for the error.

    Frantar et al. 2022, "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained
    Transformers" (arXiv 2210.17323), on symmetric groups.
    """

    name = "quantize-gptq"
    summary = "GPTQ: rounds weights column by column and corrects the others for the error"
    options: ClassVar[tuple[Option, ...]] = (
        bits_option(4),
        group_option(32),
        clip_option("none"),
        EMBEDDING,
        DAMPING,
        ACT_ORDER,
        *CALIBRATION,
    )

    def recipe(self, config: Mapping[str, object], settings: Settings) -> Recipe:
        """Calibrate, round with corrections."""
        from joulebench_plugins.quantization.recipe import Recipe, by_gptq

        grid = grid_of(settings)
        return Recipe(
            self.name,
            calibration=Calibration.of(settings),
            round=by_gptq(grid, float(settings["damping"]), bool(settings["act_order"])),
            group=grid.group,
            embedding=settings["embedding"] == "int8",
        )
