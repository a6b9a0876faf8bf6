"""Quantization: techniques that store weights in fewer bits."""

from __future__ import annotations

from joulebench.api import Technique
from joulebench.hookspecs import hookimpl

JOULEBENCH_API = 1


@hookimpl
def joulebench_techniques() -> list[type[Technique]]:
    """Those that round a checkpoint, and types that a runtime gives weights when it loads them."""
    from joulebench_plugins.quantization.equivalent import QuantizeAwq, QuantizeRotate, QuantizeSmoothQuant
    from joulebench_plugins.quantization.techniques import QuantizeGptq, QuantizeRtn, QuantizeZeroQuant
    from joulebench_plugins.quantization.torch_types import (
        TorchHalf,
        TorchInt4WeightOnly,
        TorchInt8Dynamic,
        TorchInt8WeightOnly,
    )

    return [
        QuantizeRtn,
        QuantizeZeroQuant,
        QuantizeGptq,
        QuantizeAwq,
        QuantizeSmoothQuant,
        QuantizeRotate,
        TorchHalf,
        TorchInt8Dynamic,
        TorchInt8WeightOnly,
        TorchInt4WeightOnly,
    ]
