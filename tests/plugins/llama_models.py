"""Small llamas with random weights, and what transformers makes of them, for the tests of runtimes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

#: The wide initialisation makes greedy text vary from token to token.
TIED: Mapping[str, Any] = {
    "vocab_size": 160,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 128,
    "tie_word_embeddings": True,
    "initializer_range": 0.3,
    "bos_token_id": 1,
    "eos_token_id": 0,
}
#: Heads wider than hidden / heads, no tied head, biases, another rope base.
UNTIED: Mapping[str, Any] = {
    **TIED,
    "num_attention_heads": 8,
    "head_dim": 32,
    "tie_word_embeddings": False,
    "attention_bias": True,
    "mlp_bias": True,
    "rope_parameters": {"rope_type": "default", "rope_theta": 50000.0},
}
LINEAR: Mapping[str, Any] = {**TIED, "rope_parameters": {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0}}
LLAMA3: Mapping[str, Any] = {
    **TIED,
    "head_dim": 32,
    "rope_parameters": {
        "rope_type": "llama3",
        "rope_theta": 5000.0,
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64,
    },
}


def write_checkpoint(folder: Path, shape: Mapping[str, Any], dtype: str = "float32") -> Path:
    """A checkpoint by transformers, its biases and norms random as well."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(11)
    model = LlamaForCausalLM(LlamaConfig(**shape))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(0.0, 0.3)
            if name.endswith("norm.weight"):
                parameter.uniform_(0.5, 1.5)
    model.to(getattr(torch, dtype)).save_pretrained(folder)
    return folder


def generated(session: Any, prompt: list[int], count: int) -> list[int]:
    """Greedy tokens."""
    return [session.prefill(prompt), *(session.step() for _ in range(count - 1))]


def torch_model(folder: Path) -> Any:
    """The checkpoint in transformers, in float32: what all is compared with."""
    import torch
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def torch_generated(model: Any, prompt: list[int], count: int) -> list[int]:
    """Greedy tokens of transformers' own ``generate``."""
    import torch

    ids = torch.tensor([prompt])
    written = model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=count,
        min_new_tokens=count,
        do_sample=False,
        eos_token_id=None,
        pad_token_id=0,
    )
    tokens: list[int] = written[0, len(prompt) :].tolist()
    return tokens
