"""Loads a model file into onnxruntime, and says plainly why one cannot be loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import onnxruntime

from joulebench.api import Artifact, Settings
from joulebench.errors import JoulebenchError, ModelError, UnavailableError
from joulebench_plugins.onnx.failures import CONVERT_AGAIN, plain_error
from joulebench_plugins.onnx.llamagraph import CONTEXT_KEY, INPUT_IDS, LAST_POSITION, LOGIT_POSITIONS, TOTAL_LENGTH
from joulebench_plugins.onnx.providers import CPU_PROVIDER, PROVIDERS
from joulebench_plugins.onnx.session import OnnxSession

_SUFFIXES: Final = {"onnx": ".onnx", "ort": ".ort"}
_LEVELS: Final = {
    "all": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
    "extended": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "basic": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "none": onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL,
}
#: onnxruntime's log level "error": its warnings are about graphs, not about the user's model.
_LOG_ERRORS: Final = 3


def open_session(artifact: Artifact, mode: str, settings: Settings) -> OnnxSession:
    """A session on the model of ``artifact``; raises ModelError if it cannot be loaded."""
    file = model_file(artifact.path, artifact.format)
    runtime = load(file, session_options(settings), settings)
    cache_tokens = min(int(settings["cache_tokens"]), _context(runtime, file))
    return OnnxSession(runtime, file, mode=mode, cache_tokens=cache_tokens, settings=settings)


def model_file(path: Path, format_: str) -> Path:
    """The one model file of an artifact that is a folder, or the artifact itself."""
    if path.is_file():
        return path
    found = sorted(path.glob(f"*{_SUFFIXES[format_]}")) if path.is_dir() else []
    if len(found) != 1:
        raise ModelError(
            f"holds {len(found)} files *{_SUFFIXES[format_]}; exactly one is expected",
            where=str(path),
            hint=CONVERT_AGAIN,
        )
    return found[0]


def session_options(settings: Settings) -> Any:
    """onnxruntime's options for one thread pool, one operator at a time, weights mapped."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _LOG_ERRORS
    options.intra_op_num_threads = int(settings["threads"])
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.enable_cpu_mem_arena = options.enable_mem_pattern = bool(settings["arena"])
    level = settings.get("graph_optimization")
    if level is not None:
        options.graph_optimization_level = _LEVELS[str(level)]
    # Keys: include/onnxruntime/core/session/onnxruntime_session_options_config_keys.h
    entries = {
        "session.intra_op.allow_spinning": bool(settings["spinning"]),
        "session.disable_prepacking": not settings["prepacking"],
        "session.use_memory_mapped_ort_model": True,
        "session.use_ort_model_bytes_for_initializers": True,
    }
    for key, value in entries.items():
        options.add_session_config_entry(key, "1" if value else "0")
    return options


def load(file: Path, options: Any, settings: Settings) -> Any:
    """An ``InferenceSession`` on the provider that was asked for, never silently on another."""
    asked = str(settings["provider"])
    wanted = PROVIDERS[asked]
    built = onnxruntime.get_available_providers()
    if wanted not in built:
        raise _provider_error(asked, f"it has: {', '.join(built)}")
    try:
        runtime = onnxruntime.InferenceSession(
            str(file), options, providers=provider_list(asked, int(settings["threads"]))
        )
    except Exception as error:  # onnxruntime's own errors have no common class
        raise plain_error(file, error) from error
    if wanted not in runtime.get_providers():
        raise _provider_error(asked, f"it fell back to {', '.join(runtime.get_providers())}")
    return runtime


def provider_list(asked: str, threads: int) -> list[Any]:
    """What ``InferenceSession`` wants: the provider with its options, the CPU for the rest."""
    if asked == "cpu":
        return [CPU_PROVIDER]
    own = {"intra_op_num_threads": str(threads)} if asked == "xnnpack" else {}
    return [(PROVIDERS[asked], own), CPU_PROVIDER]


def _provider_error(asked: str, found: str) -> JoulebenchError:
    return UnavailableError(
        f"onnxruntime {onnxruntime.__version__} cannot use the provider '{asked}' ({PROVIDERS[asked]}); {found}",
        hint="install an onnxruntime that is built with it, or set provider = 'cpu'",
    )


def _context(runtime: Any, file: Path) -> int:
    """Positions that the model's tables have; refuses a graph of another form."""
    present = {each.name for each in runtime.get_inputs()}
    missing = [name for name in (INPUT_IDS, LOGIT_POSITIONS, LAST_POSITION, TOTAL_LENGTH) if name not in present]
    context = runtime.get_modelmeta().custom_metadata_map.get(CONTEXT_KEY, "")
    if missing or not context.isdigit():
        what = f"the input '{missing[0]}'" if missing else f"'{CONTEXT_KEY}' in its metadata"
        raise ModelError(
            f"lacks {what}, which the converter onnx-export gives each model",
            where=str(file),
            hint="name the model's checkpoint in the profile; it is converted as needed",
        )
    return int(context)
