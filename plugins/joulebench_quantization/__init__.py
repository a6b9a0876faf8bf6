"""Quantization: techniques that store weights in fewer bits."""

from __future__ import annotations

from joulebench.api import Technique
from joulebench.hookspecs import hookimpl

JOULEBENCH_API = 1


@hookimpl
def joulebench_techniques() -> list[type[Technique]]:
    """Those that round a checkpoint, and those that first make an equivalent one."""
    from joulebench_quantization.equivalent import (
        QuantizeAwq,
        QuantizeRotate,
        QuantizeSmoothQuant,
    )
    from joulebench_quantization.techniques import QuantizeGptq, QuantizeRtn, QuantizeZeroQuant

    return [
        QuantizeRtn, QuantizeZeroQuant, QuantizeGptq, QuantizeAwq, QuantizeSmoothQuant,
        QuantizeRotate,
    ]  # fmt: skip
