"""Windows of attention that a model has and llama.cpp does not compute."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from joulebench.checkpoint import architecture_of

#: Architectures whose graphs see the whole text, whatever window the model was trained with (seen by running
#: llama-cpp-python 0.3.36 beyond it); llama.cpp has windows for Gemma 2 and 3, Cohere 2, gpt-oss, OLMo 3, ….
_WITHOUT: Final = frozenset(
    f"{name}ForCausalLM"
    for name in ("Mistral", "Mixtral", "Phi3", "Qwen2", "Qwen2Moe", "Qwen3", "Qwen3Moe", "Starcoder2", "Exaone4")
)
#: The one depth for which llama.cpp has EXAONE 4's windows (src/models, exaone4).
_EXAONE4_LAYERS: Final = 64


def window_fault(config: Mapping[str, object], context_tokens: int) -> str | None:
    """Why sequences of ``context_tokens`` would be computed otherwise than the model says, or ``None``."""
    architecture = architecture_of(config)
    window, longest = config.get("sliding_window"), config.get("max_position_embeddings")
    if architecture not in _WITHOUT or not isinstance(window, int) or config.get("use_sliding_window") is False:
        return None
    if architecture == "Exaone4ForCausalLM" and config.get("num_hidden_layers") == _EXAONE4_LAYERS:
        return None
    if architecture.startswith("Qwen") and not config.get("use_sliding_window"):
        return None
    context = min(context_tokens, longest) if isinstance(longest, int) else context_tokens
    # The last token of a sequence is not fed.
    if window >= context - 1:
        return None
    return (
        f"the model's layers see a window of {window:,} positions, and llama.cpp computes {architecture} without one: "
        f"set context_tokens to {window}, within which both are the same"
    )
