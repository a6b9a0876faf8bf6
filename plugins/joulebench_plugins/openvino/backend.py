"""The backend ``openvino``: stateful decoders on OpenVINO's plugins for CPU, Intel GPU and NPU."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

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
from joulebench.backendkit import asked_elsewhere, thread_count
from joulebench_plugins.openvino.devices import library_devices
from joulebench_plugins.openvino.numbertypes import LIBRARY


class OpenVinoBackend(Backend):
    """Runs an OpenVINO graph (IR) that keeps its KV cache in variables of its own."""

    name = "openvino"
    summary = "OpenVINO on the CPU, an Intel GPU or an NPU, on a stateful graph"
    accepts = ("openvino",)
    capabilities = frozenset({"generate", "batch", "score", "logits"})
    options = (
        Option("threads", "int", None, "threads inside an operator; all allowed cores when not set", minimum=1),
        Option(
            "performance_hint",
            "str",
            "latency",
            "what streams and threads are chosen for: one request at a time, or many",
            choices=("latency", "throughput"),
        ),
        Option(
            "precision",
            "str",
            "float32",
            "number type that floating-point operators compute in; the library's own choice is bfloat16 on CPUs "
            "that have it",
            choices=("float32", "bfloat16", "float16", LIBRARY),
        ),
        Option(
            "activations",
            "str",
            "float32",
            "what packed matrices are multiplied with: float32, or int8, which rounds activations by groups as well "
            "(the library's own choice)",
            choices=("float32", "int8"),
        ),
        Option(
            "kv_type",
            "str",
            "float32",
            "number type of the KV cache, where an attention of the executed graph holds it; facts say what came of it",
            choices=("float32", "float16", "bfloat16", "int8", "int4", LIBRARY),
        ),
    )

    def available(self) -> Availability:
        """Needs openvino and numpy."""
        return require_modules(("openvino", "numpy"), "openvino")

    def versions(self) -> Mapping[str, str]:
        """Versions of the runtime, and of numpy."""
        return distribution_versions(("openvino", "numpy"))

    def devices(self) -> tuple[Device, ...]:
        """Those that the library finds here: ``cpu``, ``gpu`` (or ``gpu.0`` …), ``npu``."""
        return library_devices()

    def check_file(self, model: Path) -> str | None:
        """Asked of the library, in another process: whether it reads the graph, and the graph is a decoder."""
        answer = asked_elsewhere(
            "import json; from joulebench_plugins.openvino.loading import file_fault; "
            f"print(json.dumps(file_fault({str(model)!r})))"
        )
        if not isinstance(answer, dict):
            return "OpenVINO ended, or took longer than a minute, when it looked at the graph"
        fault = answer.get("fault")
        return None if fault is None else str(fault)

    def environment(self, device: str, settings: Settings) -> Mapping[str, str]:
        """No thread of tokenizers beside the runtime's own."""
        return {"TOKENIZERS_PARALLELISM": "false"}

    def open(self, artifact: Artifact, device: str, settings: Settings) -> BackendSession:
        """Read the graph and compile it for the device."""
        from joulebench_plugins.openvino.loading import open_session

        complete = {**self.default_settings(), **settings}
        return open_session(artifact.path, device, {**complete, "threads": thread_count(complete)})
