"""Small llamas with random weights, and sessions on them with compressed caches."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llama_models import TIED

from joulebench.api import Artifact, OptionValue
from joulebench_plugins.torch.backend import TorchBackend

SHAPE: Mapping[str, Any] = {**TIED, "max_position_embeddings": 256}
LAYERS, KV_HEADS, HEAD_SIZE, F32 = 2, 2, 16, 4
#: Bytes of keys and values of one position, over all layers.
POSITION = LAYERS * 2 * KV_HEADS * HEAD_SIZE * F32


def write_model(folder: Path, **changed: Any) -> Path:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(11)
    LlamaForCausalLM(LlamaConfig(**{**SHAPE, **changed})).save_pretrained(folder)
    return folder


def opened(folder: Path, **settings: OptionValue) -> Any:
    return TorchBackend().open(Artifact("hf", folder, "", 0), "cpu", {"threads": 1, **settings})


def sequence(length: int, start: int = 3) -> list[int]:
    """Token ids without an obvious pattern."""
    return [(7 * i * i + start * i + 3) % SHAPE["vocab_size"] for i in range(length)]
