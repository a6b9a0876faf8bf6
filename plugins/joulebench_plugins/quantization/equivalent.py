"""The techniques that first make an equivalent model whose weights round better.

Its layers compute what the source's do; the difference is in how large the weights and what they
meet are. With ``rounding = "none"`` that is all, for a later step of a chain to round.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Final

from joulebench.api import Option, Settings
from joulebench_plugins.quantization.options import (
    ACT_ORDER,
    DAMPING,
    EMBEDDING,
    bits_option,
    clip_option,
    group_option,
    rounding_option,
)
from joulebench_plugins.quantization.techniques import RewritesWeights, grid_of
from joulebench_plugins.shared.calibration.text import CALIBRATION, Calibration
from joulebench_plugins.shared.decoder.roles import hidden_size, layer_shape, roles_of
from joulebench_plugins.shared.llama.configuration import UnfitModelError

if TYPE_CHECKING:
    from joulebench_plugins.quantization.recipe import Recipe, Round

_PAIRS: Final = "the norms that feed its matrices"
_STREAM: Final = "the matrices that read and write the residual stream"


class QuantizeAwq(RewritesWeights):
    """Scales input channels by how large their activations are, so that they round finer.

    Lin et al. 2023, "AWQ: Activation-aware Weight Quantization for LLM Compression and
    Acceleration" (arXiv 2306.00978). Scales are folded into the norms, the values' and the ``up``
    projection. With ``clip = "search"`` scales of groups are searched for the least error of the
    products, as AWQ's own clipping is.
    """

    name = "quantize-awq"
    summary = "AWQ: scales channels by their activations before rounding to nearest"
    options: ClassVar[tuple[Option, ...]] = (
        bits_option(4),
        group_option(32),
        clip_option("search"),
        rounding_option("nearest", "none"),
        EMBEDDING,
        *CALIBRATION,
    )

    def require(self, settings: Settings, config: Mapping[str, object]) -> None:
        """Something must feed its matrices into which scales can be folded."""
        if roles_of(config, _PAIRS).value:
            layer_shape(config)

    def recipe(self, config: Mapping[str, object], settings: Settings) -> Recipe:
        """Calibrate, scale, round."""
        from joulebench_plugins.quantization.grid import Grid
        from joulebench_plugins.quantization.recipe import Recipe
        from joulebench_plugins.quantization.scaling import Scaling, activation_aware

        grid = grid_of(settings)
        # α is searched on scales that hit the largest weight; clipping comes after, as in AWQ.
        roles = roles_of(config, _PAIRS)
        shape = layer_shape(config) if roles.value else None
        scale = Scaling(roles, activation_aware(Grid(grid.bits, grid.group)), shape)
        return Recipe(
            self.name,
            calibration=Calibration.of(settings),
            scale=scale,
            round=_rounding(settings),
            group=int(settings["group"]),
            embedding=settings["embedding"] == "int8",
        )


class QuantizeSmoothQuant(RewritesWeights):
    """Moves what is large in the activations into the weights, for runtimes that round both.

    Xiao et al. 2022, "SmoothQuant: Accurate and Efficient Post-Training Quantization for Large
    Language Models" (arXiv 2211.10438). The weights are rounded to 8 bits. Activations are rounded
    where the packed kernel rounds them; a runtime that computes in float32 shows the rounding of
    the weights alone, for which smoothing is no help.
    """

    name = "quantize-smoothquant"
    summary = "SmoothQuant: evens activations out against 8-bit weights, for int8 kernels"
    options: ClassVar[tuple[Option, ...]] = (
        bits_option(8),
        group_option(0),
        clip_option("none"),
        rounding_option("nearest", "none"),
        Option(
            "strength",
            "float",
            0.5,
            "how much of the range is moved from activations into weights (the paper's α)",
            minimum=0.0,
            maximum=1.0,
        ),
        EMBEDDING,
        *CALIBRATION,
    )

    def require(self, settings: Settings, config: Mapping[str, object]) -> None:
        """Norms must feed its matrices."""
        if not roles_of(config, _PAIRS).norms:
            raise UnfitModelError(f"no norm with weights feeds the matrices of models of type '{config['model_type']}'")

    def recipe(self, config: Mapping[str, object], settings: Settings) -> Recipe:
        """Calibrate, scale what norms feed, round."""
        from joulebench_plugins.quantization.recipe import Recipe
        from joulebench_plugins.quantization.scaling import Scaling, smoothing

        return Recipe(
            self.name,
            calibration=Calibration.of(settings),
            scale=Scaling(roles_of(config, _PAIRS), smoothing(float(settings["strength"]))),
            round=_rounding(settings),
            group=int(settings["group"]),
            embedding=settings["embedding"] == "int8",
        )


class QuantizeRotate(RewritesWeights):
    """Rotates the residual stream and the heads' values, so that no channel is large.

    QuaRot, Ashkboos et al. 2024 (arXiv 2404.00456), and SpinQuant, Liu et al. 2024 (arXiv
    2405.16406), R1 and R2 without learning; R3 and R4 would have to run in the runtime. The output
    head is untied from the embedding, since the last norm's weight goes into it. Zeros do not stay:
    a pruned model is not sparse afterwards.
    """

    name = "quantize-rotate"
    summary = "QuaRot/SpinQuant: rotates the model (R1, R2) so that its weights round better"
    options: ClassVar[tuple[Option, ...]] = (
        bits_option(4),
        group_option(32),
        clip_option("none"),
        rounding_option("nearest", "gptq", "none"),
        Option(
            "rotation",
            "str",
            "hadamard",
            "hadamard: of the width's largest power of two, times a random rotation of what is "
            "left, with random signs; orthogonal: random throughout",
            choices=("hadamard", "orthogonal"),
        ),
        Option("rotation_seed", "int", 0, "draws the rotation", minimum=0),
        Option("heads", "bool", True, "turn the heads' values as well (R2)"),
        EMBEDDING,
        DAMPING,
        ACT_ORDER,
        *CALIBRATION,
    )

    def require(self, settings: Settings, config: Mapping[str, object]) -> None:
        """All that reads and writes the residual stream must be known, and rotate."""
        roles = roles_of(config, _STREAM)
        if roles.fixed_stream:
            raise UnfitModelError(f"cannot rotate models of type '{config['model_type']}': {roles.fixed_stream}")
        hidden_size(config)
        if roles.value:
            layer_shape(config)

    def calibrates(self, settings: Settings) -> bool:
        """Only GPTQ looks at a text."""
        return settings["rounding"] == "gptq"

    def recipe(self, config: Mapping[str, object], settings: Settings) -> Recipe:
        """Rotate, calibrate for GPTQ, round."""
        from joulebench_plugins.quantization.recipe import Recipe
        from joulebench_plugins.quantization.rotation import Rotation

        roles = roles_of(config, _STREAM)
        heads = layer_shape(config) if settings["heads"] and roles.value else None
        kind, seed = str(settings["rotation"]), int(settings["rotation_seed"])
        rotation = Rotation(roles, hidden_size(config), kind, seed, heads)
        return Recipe(
            self.name,
            rotation=rotation,
            calibration=Calibration.of(settings) if self.calibrates(settings) else None,
            round=_rounding(settings),
            group=int(settings["group"]),
            embedding=settings["embedding"] == "int8",
        )


def _rounding(settings: Settings) -> Round | None:
    """What the option ``rounding`` says."""
    from joulebench_plugins.quantization.recipe import by_gptq, by_nearest

    if settings["rounding"] == "none":
        return None
    if settings["rounding"] == "gptq":
        return by_gptq(grid_of(settings), float(settings["damping"]), bool(settings["act_order"]))
    return by_nearest(grid_of(settings))
