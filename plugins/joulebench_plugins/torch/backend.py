"""The backend ``torch``: transformers' models on PyTorch, on the CPU or a CUDA device."""

from __future__ import annotations

import functools
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from joulebench.api import (
    Artifact,
    Availability,
    Backend,
    BackendSession,
    Device,
    Option,
    Settings,
    distribution_versions,
    require_modules,
)
from joulebench.backendkit import asked_elsewhere, cpu_device, thread_count
from joulebench_plugins.shared.decoder.roles import has_gate, kind_of
from joulebench_plugins.torch.classes import causal_fault, is_encoder
from joulebench_plugins.torch.kvcaches.options import AUTO, KV_OPTIONS, compression_fault, compression_of
from joulebench_plugins.torch.layerkinds import kinds_fault
from joulebench_plugins.torch.weighttypes import CAPABILITIES as WEIGHT_CAPABILITIES
from joulebench_plugins.torch.weighttypes import OPTIONS as WEIGHT_OPTIONS
from joulebench_plugins.torch.weighttypes import weights_fault

_PROBE: Final = (
    "import json, torch; "
    "print(json.dumps([torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]"
    " if torch.cuda.is_available() else []))"
)


class TorchBackend(Backend):
    """Runs a Hugging Face checkpoint with the transformers library, weights from safetensors.

    ``train`` changes the weights in memory: what is generated afterwards comes from the
    trained model.
    """

    name = "torch"
    summary = "PyTorch and transformers, eager or compiled"
    accepts = ("hf",)
    capabilities = frozenset(
        {
            "generate",
            "batch",
            "score",
            "logits",
            "encode",
            "train",
            "hardware",
            "operators",
            "kv.quantized",
            "kv.window",
            "kv.evict",
            "mlp.contextual",
            *WEIGHT_CAPABILITIES,
        }
    )
    options = (
        Option(
            "dtype",
            "str",
            "float32",
            "number type of weights, activations and KV cache",
            choices=("float32", "bfloat16", "float16"),
        ),
        Option("threads", "int", None, "threads inside an operator; all allowed cores when not set", minimum=1),
        Option(
            "attention",
            "str",
            AUTO,
            "attention kernel; auto: sdpa where the model has it, else eager",
            choices=(AUTO, "sdpa", "eager"),
        ),
        Option(
            "cache",
            "str",
            "dynamic",
            "KV cache that grows with the sequence, or of a fixed size",
            choices=("dynamic", "static"),
        ),
        Option("cache_tokens", "int", 2048, "positions in a static cache; at most the model's context", minimum=1),
        Option("compile", "bool", False, "compile the decode step; needs a static cache"),
        Option("optimizer", "str", "adamw", "for train steps", choices=("adamw", "sgd")),
        Option("learning_rate", "float", 1e-5, "of train steps", minimum=0.0),
        *KV_OPTIONS,
        *WEIGHT_OPTIONS,
        Option(
            "mlp_active",
            "share",
            None,
            "share of the MLP's channels that a token may use, by thresholds on the gate; all when not set",
            minimum=0.01,
            maximum=1.0,
        ),
        Option(
            "mlp_kernel",
            "str",
            "auto",
            "a token's inactive channels are left out (gather), or computed and masked (mask); auto tries both",
            choices=("auto", "gather", "mask"),
        ),
        Option("mlp_text", "str", None, "path of the text for mlp_active's thresholds"),
    )

    def available(self) -> Availability:
        """Needs torch, transformers and safetensors."""
        return require_modules(("torch", "transformers", "safetensors"), "torch")

    def versions(self) -> Mapping[str, str]:
        """Versions of the libraries that compute."""
        return distribution_versions(("torch", "transformers", "safetensors", "triton"))

    def devices(self) -> tuple[Device, ...]:
        """The CPU, and CUDA devices that torch can use, numbered as torch numbers them."""
        cuda = cuda_device_names() if any(Path("/dev").glob("nvidia[0-9]*")) else ()
        return (cpu_device(), *(Device(f"cuda:{index}", name) for index, name in enumerate(cuda)))

    def check(self, device: str, settings: Settings, config: Mapping[str, object]) -> str | None:
        """Refuses other models than causal ones and encoders, and a compilation that cannot work."""
        if is_encoder(config):
            return _encoder_fault({**self.default_settings(), **settings})
        fault = causal_fault(config)
        if fault is not None:
            return fault
        if settings.get("compile"):
            if settings.get("cache") != "static":
                return "compile needs cache = 'static': a growing cache compiles again and again"
            if not _has_compiler():
                return "compile needs a C++ compiler (g++ or clang++, or CXX set to one)"
        if settings.get("mlp_active") is not None and settings.get("mlp_text") is None:
            return "mlp_active needs mlp_text, the text that its thresholds are from"
        if settings.get("mlp_active") is not None and not has_gate(config):
            return f"mlp_active needs MLPs with a gate of their own; models of type '{kind_of(config)}' have none"
        fault = kinds_fault(settings, config) or weights_fault(device, settings, config)
        return fault or compression_fault({**self.default_settings(), **settings}, config)

    def abilities_with(self, settings: Settings, config: Mapping[str, object] | None) -> frozenset[str]:
        """An encoder embeds sentences, and writes nothing.

        A cache that is compressed or of a fixed size holds one sequence.
        """
        if config is not None and is_encoder(config):
            return frozenset({"encode"})
        full = {**self.default_settings(), **settings}
        alone = full["cache"] == "static" or full.get("mlp_active") is not None or compression_of(full) is not None
        return self.capabilities - {"batch"} if alone else self.capabilities

    def environment(self, device: str, settings: Settings) -> Mapping[str, str]:
        """Thread counts that the libraries read when they load, and no network."""
        threads = str(thread_count(settings))
        return {
            "OMP_NUM_THREADS": threads,
            "MKL_NUM_THREADS": threads,
            "TOKENIZERS_PARALLELISM": "false",
            "HF_HUB_OFFLINE": "1",
            "TRANSFORMERS_OFFLINE": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
        }

    def open(self, artifact: Artifact, device: str, settings: Settings) -> BackendSession:
        """Load the checkpoint; compile, where asked to, before returning."""
        from joulebench_plugins.torch.loading import open_session

        return open_session(artifact.path, device, self._complete(settings))

    def _complete(self, settings: Settings) -> Settings:
        chosen = {**self.default_settings(), **settings}
        return {**chosen, "threads": thread_count(settings)}


def _encoder_fault(settings: Settings) -> str | None:
    """What an encoder cannot be asked for: it has no decode step and no KV cache."""
    if settings["compile"] or settings["cache"] != "dynamic":
        return "an encoder has no decode step and no KV cache: leave out compile and cache"
    if settings.get("mlp_active") is not None or settings["weights"] != "dtype":
        return "mlp_active and weights are for causal models"
    return None


@functools.cache
def cuda_device_names() -> tuple[str, ...]:
    """Names of CUDA devices, asked of torch in another process so that this one stays light."""
    return tuple(asked_elsewhere(_PROBE) or ())


def _has_compiler() -> bool:
    candidates = (os.environ.get("CXX"), "g++", "clang++")
    return any(name and shutil.which(name.split()[0]) for name in candidates)
