"""The backend ``llamacpp``: GGUF files on llama.cpp's C library, on the CPU or a GPU."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from joulebench.api import Artifact, Availability, Backend, BackendSession, Device, Settings, distribution_versions
from joulebench.backendkit import asked_elsewhere, cpu_device
from joulebench_plugins.llamacpp.installed import DISTRIBUTIONS, gpu_devices, installed_binding
from joulebench_plugins.llamacpp.kvwindow import PositionWindow
from joulebench_plugins.llamacpp.modelwindow import window_fault
from joulebench_plugins.llamacpp.settings import KV_TYPES, OPTIONS, complete
from joulebench_plugins.shared.tensors.gguf import gguf_in


class LlamaCppBackend(Backend):
    """Runs a GGUF file through llama.cpp's low-level calls; no sampler or chat layer.

    The library comes with ``llama-cpp-python`` (built on this machine) or, where that is not
    installed, with ``llama-cpp-py-sync`` (prebuilt).
    """

    name = "llamacpp"
    summary = "llama.cpp's C library"
    accepts = ("gguf",)
    capabilities = frozenset({"generate", "batch", "score", "logits", "tokenize", "kv.quantized", "kv.window"})
    options = OPTIONS

    def available(self) -> Availability:
        """Needs numpy and one of the two packages that bring llama.cpp."""
        return installed_binding().availability

    def versions(self) -> Mapping[str, str]:
        """Versions of the package that brings the library, and of numpy."""
        return distribution_versions((*DISTRIBUTIONS.values(), "numpy"))

    def devices(self) -> tuple[Device, ...]:
        """The CPU, and the GPUs that the installed library was built for and finds here."""
        return (cpu_device(), *(Device(name, description) for name, description in gpu_devices().items()))

    def check(self, device: str, settings: Settings, config: Mapping[str, object]) -> str | None:
        """Refuses KV types that cannot work, and layers on a GPU that is not asked for."""
        full = complete(settings)
        if device == "cpu" and full.get("gpu_layers"):
            return "gpu_layers needs a GPU as device, not cpu"
        if KV_TYPES[str(full["kv_type_v"])] > 1 and full["flash_attention"] == "off":
            return f"kv_type_v = '{full['kv_type_v']}' needs flash attention, which is off"
        if settings.get("kv_bits") is not None and {"kv_type_k", "kv_type_v"} & set(settings):
            return "kv_bits stands in place of kv_type_k and kv_type_v: give one or the other"
        window = PositionWindow.of(full)
        if window is not None and (fault := window.fault()):
            return fault
        if (window is not None or settings.get("kv_bits") is not None) and _without_attention(config):
            return "the model's layers are recurrent: there are no keys and values to quantize or to leave out"
        if fault := window_fault(config, int(full["context_tokens"])):
            return fault
        size = _head_size(config)
        for key in ("kv_type_k", "kv_type_v"):
            block = KV_TYPES[str(full[key])]
            if size is not None and size % block:
                return f"{key} = '{full[key]}' needs heads of a multiple of {block}, not {size}"
        return None

    def check_file(self, model: Path) -> str | None:
        """Asked of the library itself, in another process: what it opens depends on its version."""
        answer = asked_elsewhere(
            "import json; from joulebench_plugins.llamacpp.loading import file_fault; "
            f"print(json.dumps(file_fault({str(gguf_in(model))!r})))"
        )
        if not isinstance(answer, dict):
            return "llama.cpp ended, or took longer than a minute, when it looked at the file"
        fault = answer.get("fault")
        if fault is None:
            return None
        package = answer["package"]
        cure = f" (a newer one may: pip install --upgrade {package})" if "unknown" in fault else ""
        return f"llama.cpp of {package} {self.versions()[package]} cannot open it: {fault}{cure}"

    def abilities(self, settings: Settings) -> frozenset[str]:
        """A cache whose positions are taken out has one sequence."""
        return self.capabilities - {"batch"} if settings.get("kv_policy") is not None else self.capabilities

    def conversion_settings(self, settings: Settings) -> Settings:
        """The number type that the file is written in, and whether integers are packed."""
        full = complete(settings)
        return {"dtype": full["dtype"], "pack": full["pack"]}

    def environment(self, device: str, settings: Settings) -> Mapping[str, str]:
        """The size of the OpenMP pool, which is made when the library is loaded.

        And no debugger, which the library would start where it aborts (ggml.c, ggml_print_backtrace).
        """
        return {"OMP_NUM_THREADS": str(complete(settings)["threads"]), "GGML_NO_BACKTRACE": "1"}

    def open(self, artifact: Artifact, device: str, settings: Settings) -> BackendSession:
        """Load the model and make its context."""
        from joulebench_plugins.llamacpp.loading import open_session

        return open_session(artifact.path, device, complete(settings))


def _without_attention(config: Mapping[str, object]) -> bool:
    """Whether all layers are recurrent, as far as ``config.json`` tells."""
    return "state_size" in config and "num_attention_heads" not in config


def _head_size(config: Mapping[str, object]) -> int | None:
    size, hidden, heads = (config.get(key) for key in ("head_dim", "hidden_size", "num_attention_heads"))
    if isinstance(size, int):
        return size
    return hidden // heads if isinstance(hidden, int) and isinstance(heads, int) and heads > 0 else None
