"""onnxruntime's session options, from the backend's settings."""

from __future__ import annotations

from typing import Any, Final

import onnxruntime

from joulebench.api import Settings

_LEVELS: Final = {
    "all": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
    "extended": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "basic": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "none": onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL,
}
#: onnxruntime's log level "error": its warnings are about graphs, not about the user's model.
_LOG_ERRORS: Final = 3


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
