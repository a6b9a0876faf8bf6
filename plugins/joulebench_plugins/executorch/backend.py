"""The backend ``executorch``: a program for phones, run here by XNNPACK's kernels."""

from __future__ import annotations

from collections.abc import Mapping

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
from joulebench.backendkit import cpu_device, thread_count
from joulebench_plugins.executorch.exporter import CACHE_TOKENS


class ExecutorchBackend(Backend):
    """Runs a program of one token a step: a prompt is read token by token, and the cache is handed back."""

    name = "executorch"
    summary = "ExecuTorch with XNNPACK as on a phone: one token a step"
    accepts = ("executorch",)
    capabilities = frozenset({"generate", "score", "logits"})
    options = (
        Option("threads", "int", None, "threads inside an operator; all allowed cores when not set", minimum=1),
        CACHE_TOKENS,
    )

    def available(self) -> Availability:
        """Needs executorch, torch and numpy."""
        return require_modules(("executorch", "torch", "numpy"), "executorch")

    def versions(self) -> Mapping[str, str]:
        """Versions of the runtime, and of what holds its tensors."""
        return distribution_versions(("executorch", "torch", "numpy"))

    def devices(self) -> tuple[Device, ...]:
        """The CPU."""
        return (cpu_device(),)

    def conversion_settings(self, settings: Settings) -> Settings:
        """The length of the cache, which is a part of the program."""
        return {"cache_tokens": settings.get("cache_tokens", CACHE_TOKENS.default or 0)}

    def environment(self, device: str, settings: Settings) -> Mapping[str, str]:
        """No thread of tokenizers beside the runtime's own."""
        return {"TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1"}

    def open(self, artifact: Artifact, device: str, settings: Settings) -> BackendSession:
        """Load the program and allocate its cache."""
        from joulebench_plugins.executorch.session import open_session

        return open_session(artifact.path, thread_count(settings))
