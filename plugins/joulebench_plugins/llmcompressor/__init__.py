"""llmcompressor's own GPTQ, Wanda and SparseGPT, in an environment of their own.

They are a cross-check of the techniques that joulebench has itself.
"""

from __future__ import annotations

from joulebench.api import Technique
from joulebench.hookspecs import hookimpl

JOULEBENCH_API = 1


@hookimpl
def joulebench_techniques() -> list[type[Technique]]:
    """One that quantizes, two that write zeros."""
    from joulebench_plugins.llmcompressor.techniques import (
        LlmCompressorGptq,
        LlmCompressorSparseGpt,
        LlmCompressorWanda,
    )

    return [LlmCompressorGptq, LlmCompressorWanda, LlmCompressorSparseGpt]
