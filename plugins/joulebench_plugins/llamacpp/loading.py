"""Loads a GGUF file into llama.cpp and opens a session on it."""

from __future__ import annotations

from pathlib import Path

from joulebench.api import Settings
from joulebench.errors import JoulebenchError, ModelError, UnavailableError
from joulebench_plugins.llamacpp.binding import Binding, ContextOptions, ModelOptions
from joulebench_plugins.llamacpp.installed import installed_binding
from joulebench_plugins.llamacpp.kvaccount import KvUse
from joulebench_plugins.llamacpp.kvwindow import PositionWindow
from joulebench_plugins.llamacpp.log import LibraryLog, read_allocations
from joulebench_plugins.llamacpp.session import LOGITS_CHUNK, LlamaCppSession
from joulebench_plugins.llamacpp.settings import full_kv_type
from joulebench_plugins.shared.tensors.gguf import file_type_name, gguf_in, read_model

#: How the library says that memory ran out (ggml-backend.cpp, ggml-alloc.c, llama-model.cpp).
_NO_MEMORY = ("failed to allocate", "unable to allocate", "out of memory", "bad_alloc")


def load_binding(log: LibraryLog, module: str | None = None) -> Binding:
    """The binding by the name of its module, or else the one that is installed.

    Raises :class:`UnavailableError` where there is none or its library cannot be loaded.
    """
    installed = installed_binding()
    module = module or installed.module
    try:
        if module == "llama_cpp":
            from joulebench_plugins.llamacpp.ctypesnative import CtypesNative

            return Binding(CtypesNative(), log)
        if module == "llama_cpp_py_sync":
            from joulebench_plugins.llamacpp.cffinative import CffiNative

            return Binding(CffiNative(), log)
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        raise UnavailableError(
            f"the llama.cpp library of '{module}' cannot be loaded: {error}",
            hint="install 'joulebench[llamacpp]' anew (pip install --force-reinstall)",
        ) from error
    raise UnavailableError(installed.availability.reason or "no binding of llama.cpp", hint=installed.availability.cure)


def open_session(path: Path, device: str, settings: Settings, module: str | None = None) -> LlamaCppSession:
    """A session on the GGUF file ``path``, or the one in that folder.

    ``module`` names the binding to use instead of the preferred one. Raises
    :class:`ModelError` for a file that is no whole model and :class:`MemoryError` where the
    model or its KV cache does not fit.
    """
    file = gguf_in(path)
    model = read_model(file)
    log = LibraryLog()
    binding = load_binding(log, module)
    gpu = None if device == "cpu" else binding.gpu_name(device)
    if device != "cpu" and gpu is None:
        raise UnavailableError(f"the library does not find device '{device}'")
    layers = settings.get("gpu_layers")
    window, bits = PositionWindow.of(settings), settings.get("kv_bits")
    batch_tokens = int(settings["batch_tokens"])
    if window is not None:
        batch_tokens = min(batch_tokens, window.chunk)
    decoder = binding.open(
        str(file),
        ModelOptions(bool(settings["mmap"]), gpu, None if layers is None else int(layers)),
        ContextOptions(
            context_tokens=int(settings["context_tokens"]),
            batch_tokens=batch_tokens,
            ubatch_tokens=int(settings["ubatch_tokens"]),
            logits_tokens=LOGITS_CHUNK,
            threads=int(settings["threads"]),
            kv_type_k=str(settings["kv_type_k"]),
            kv_type_v=str(settings["kv_type_v"]),
            flash_attention=str(settings["flash_attention"]),
            offload=gpu is not None,
            cells=None if window is None else window.cells,
        ),
    )
    if decoder is None:
        raise _refused(file, log.last_errors())
    return LlamaCppSession(
        decoder,
        model,
        log,
        read_allocations(log.lines),
        {
            "device": device,
            "threads": int(settings["threads"]),
            "batch_tokens": batch_tokens,
            "ubatch_tokens": int(settings["ubatch_tokens"]),
            "mmap": bool(settings["mmap"]),
            "file_type": file_type_name(model.values),
            "file_bytes": model.size_bytes,
            "architecture": model.architecture,
            "vocabulary": model.vocabulary,
            "binding": binding.package,
            "system_info": binding.system_info(),
        },
        KvUse(full_kv_type(settings), None if bits is None else int(bits), window),
    )


def file_fault(file: str, module: str | None = None) -> dict[str, str | None]:
    """Why the library cannot open a model file (``fault``), and the ``package`` that brings it; reads no weights."""
    log = LibraryLog()
    binding = load_binding(log, module)
    fault = binding.fault(file)
    return {"fault": _reason(log) if fault == "" else fault, "package": binding.package}


def _reason(log: LibraryLog) -> str:
    """What went wrong, less the library's own names of the functions in which it did."""
    lines = [line.partition("error loading model: ")[2] for line in log.errors if "error loading model: " in line]
    return lines[-1] if lines else log.last_errors() or "it does not say why"


def _refused(file: Path, errors: str) -> JoulebenchError | MemoryError:
    if any(sign in errors for sign in _NO_MEMORY):
        return MemoryError(f"llama.cpp: out of memory: {errors}")
    return ModelError(f"llama.cpp cannot load it: {errors or 'it does not say why'}", where=str(file))
