"""The backends ``onnx`` (as on a desktop) and ``onnx-mobile`` (as on a phone)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Final

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
from joulebench_plugins.onnx.exporter import ACTIVATIONS, GRAPH, PACK
from joulebench_plugins.onnx.ortformat import MAX_ORT_BYTES
from joulebench_plugins.onnx.providers import PROVIDERS, missing_reason
from joulebench_plugins.onnx.shape import graph_shape, unfit_reason

_MODULES: Final = ("onnxruntime", "onnx", "numpy")
_CACHE_TOKENS: Final = Option(
    "cache_tokens",
    "int",
    2048,
    "positions of the KV cache, allocated at the start; at most the model's context",
    minimum=1,
)
_PREPACKING: Final = Option(
    "prepacking",
    "bool",
    True,
    "keep a copy of the matrices in the order of the kernels: faster prompts, no mapped weights",
)
_PROVIDER: Final = Option(
    "provider",
    "str",
    "cpu",
    "execution provider that runs what it can of the model; the CPU runs the rest",
    choices=tuple(PROVIDERS),
)


class _OnnxRuntimeBackend(Backend):
    """What both settings share: the runtime, its options, and the session on it."""

    capabilities: ClassVar[frozenset[str]] = frozenset({"generate", "batch", "score", "logits", "operators"})
    #: ``desktop`` or ``mobile``, for the record.
    mode: ClassVar[str]

    def available(self) -> Availability:
        """Needs onnxruntime, and the onnx package to look into the model's file."""
        return require_modules(_MODULES, "onnx")

    def versions(self) -> Mapping[str, str]:
        """Versions of the distributions that bring the runtime, and of numpy."""
        return distribution_versions(("onnxruntime", "onnxruntime-gpu", "onnxruntime-qnn", "onnx", "numpy"))

    def devices(self) -> tuple[Device, ...]:
        """The CPU; what other hardware an execution provider uses is that provider's matter."""
        return (cpu_device(),)

    def check(self, device: str, settings: Settings, config: Mapping[str, object]) -> str | None:
        """Refuses providers that this build has not, and a graph that cannot be written for the model."""
        if settings.get("graph") == "written" and (fault := unfit_reason(config)) is not None:
            return f"{fault}; graph = 'auto' traces it"
        return missing_reason(str(settings.get("provider", "cpu")))

    def abilities_with(self, settings: Settings, config: Mapping[str, object] | None) -> frozenset[str]:
        """The graph that is written for llama types reads several sequences; traced ones are fed one."""
        traced = settings.get("graph") == "traced" or (config is not None and unfit_reason(config) is not None)
        return self.capabilities - {"batch"} if traced else self.capabilities

    def check_file(self, model: Path) -> str | None:
        """Graphs that are no decoder, or that take inputs which nobody knows."""
        if model.suffix == ".ort":
            return None  # onnxruntime says it when it opens the file
        from joulebench_plugins.onnx.describing import file_fault

        return file_fault(model)

    def conversion_settings(self, settings: Settings) -> Settings:
        """How the graph is made, and a quantized checkpoint's integers."""
        return {key: settings[key] for key in ("pack", "activations", "graph") if key in settings}

    def environment(self, device: str, settings: Settings) -> Mapping[str, str]:
        """No thread of tokenizers beside the runtime's own."""
        return {"TOKENIZERS_PARALLELISM": "false"}

    def open(self, artifact: Artifact, device: str, settings: Settings) -> BackendSession:
        """Load the model and allocate its KV cache."""
        from joulebench_plugins.onnx.loading import open_session

        complete = {**self.default_settings(), **settings}
        return open_session(artifact, self.mode, {**complete, "threads": thread_count(complete)})


class OnnxBackend(_OnnxRuntimeBackend):
    """ONNX Runtime with all its optimisations, on an ONNX model."""

    name = "onnx"
    summary = "ONNX Runtime as on a desktop: ONNX model, all optimisations"
    accepts = ("onnx",)
    mode = "desktop"
    options = (
        Option("threads", "int", None, "threads inside an operator; all allowed cores when not set", minimum=1),
        _CACHE_TOKENS,
        Option(
            "graph_optimization",
            "str",
            "all",
            "how far the graph is rewritten when it is loaded",
            choices=("all", "extended", "basic", "none"),
        ),
        _PREPACKING,
        GRAPH,
        PACK,
        ACTIVATIONS,
        Option("spinning", "bool", True, "threads busy-wait: lower latency, more energy"),
        Option("arena", "bool", True, "keep freed memory for the next operator"),
        _PROVIDER,
    )


class OnnxMobileBackend(_OnnxRuntimeBackend):
    """ONNX Runtime on a model in ORT format, set up as an application on a phone would.

    The graph was optimised (level "extended") when it was converted and is taken as it is.
    """

    name = "onnx-mobile"
    summary = "ONNX Runtime as on a phone: ORT format, one thread, no spinning, no arena"
    accepts = ("ort",)
    mode = "mobile"
    options = (
        Option("threads", "int", 1, "threads inside an operator", minimum=1),
        _CACHE_TOKENS,
        _PREPACKING,
        GRAPH,
        PACK,
        ACTIVATIONS,
        Option("spinning", "bool", False, "threads busy-wait: lower latency, more energy"),
        Option("arena", "bool", False, "keep freed memory for the next operator"),
        _PROVIDER,
    )

    def check(self, device: str, settings: Settings, config: Mapping[str, object]) -> str | None:
        """Refuses, beside what the other refuses, a model that is too large for ORT format."""
        fault = super().check(device, settings, config)
        known = unfit_reason(config) is None  # of other models the size is known when they have been traced
        if fault is None and known and (size := 4 * graph_shape(config).parameters) > MAX_ORT_BYTES:
            return f"its {size:,} bytes of float32 do not fit into ORT format, which holds {MAX_ORT_BYTES:,}"
        return fault
