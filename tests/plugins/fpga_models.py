"""Small llamas with random weights, and sessions of the simulated engine on them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llama_models import write_checkpoint
from onnx_models import TIED, UNTIED

from joulebench.api import Artifact
from joulebench_plugins.fpga.backend import FpgaBackend
from joulebench_plugins.fpga.checkpoint import TrackedCheckpoint
from joulebench_plugins.fpga.configuration import Setup, set_up
from joulebench_plugins.fpga.model.llama import IntegerLlama
from joulebench_plugins.fpga.session import FpgaSession
from joulebench_plugins.fpga.shape import engine_shape
from joulebench_plugins.shared.llama.shape import LlamaShape

__all__ = ["NO_BIAS", "TIED", "integer_llama", "opened", "setup_of", "shape_of", "write_checkpoint"]

#: Heads of another size than hidden / heads, a head of its own, another rope base; no biases.
NO_BIAS: Mapping[str, Any] = {**UNTIED, "attention_bias": False, "mlp_bias": False}

#: A small engine, so that the RTL is compiled in seconds.
SMALL: Mapping[str, Any] = {
    "board": "kv260",
    "lanes": 8,
    "engines": 2,
    "cache_tokens": 128,
    "group": 16,
    "verify": "off",
}


def shape_of(shape: Mapping[str, Any]) -> LlamaShape:
    return engine_shape({"architectures": ["LlamaForCausalLM"], **shape})


def setup_of(shape: Mapping[str, Any] = TIED, **settings: Any) -> Setup:
    complete = {**FpgaBackend().default_settings(), **SMALL, **settings}
    return set_up(complete, shape_of(shape))


def integer_llama(folder: Path, setup: Setup) -> IntegerLlama:
    return IntegerLlama(setup.shape, TrackedCheckpoint(folder), setup.layout.group)


def opened(folder: Path, **settings: Any) -> FpgaSession:
    artifact = Artifact("hf", folder, "seed", 0)
    session = FpgaBackend().open(artifact, "simulated", {**SMALL, **settings})
    assert isinstance(session, FpgaSession)
    return session
