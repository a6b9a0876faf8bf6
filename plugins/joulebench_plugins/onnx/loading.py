"""Loads a model file into onnxruntime, and says plainly why one cannot be loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import onnxruntime

from joulebench.api import Artifact, Settings
from joulebench.errors import JoulebenchError, ModelError, UnavailableError
from joulebench_plugins.onnx.failures import CONVERT_AGAIN, plain_error
from joulebench_plugins.onnx.llamagraph import CONTEXT_KEY, INPUT_IDS, LAST_POSITION, LOGIT_POSITIONS, TOTAL_LENGTH
from joulebench_plugins.onnx.options import session_options
from joulebench_plugins.onnx.providers import PROVIDERS, provider_list
from joulebench_plugins.onnx.session import OnnxSession

_SUFFIXES: Final = {"onnx": ".onnx", "ort": ".ort"}


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
    files = sorted(path.glob(f"*{_SUFFIXES[format_]}")) if path.is_dir() else []
    if len(files) != 1:
        raise ModelError(
            f"holds {len(files)} files *{_SUFFIXES[format_]}; exactly one is expected",
            where=str(path),
            hint=CONVERT_AGAIN,
        )
    return files[0]


def load(file: Path, options: Any, settings: Settings) -> Any:
    """An ``InferenceSession`` on the provider that was asked for, never silently on another."""
    asked = str(settings["provider"])
    provider = PROVIDERS[asked]
    built = onnxruntime.get_available_providers()
    if provider not in built:
        raise _provider_error(asked, f"it has: {', '.join(built)}")
    try:
        runtime = onnxruntime.InferenceSession(
            str(file), options, providers=provider_list(asked, int(settings["threads"]))
        )
    except Exception as error:  # onnxruntime's own errors have no common class
        raise plain_error(file, error) from error
    if provider not in runtime.get_providers():
        raise _provider_error(asked, f"it fell back to {', '.join(runtime.get_providers())}")
    return runtime


def _provider_error(asked: str, reason: str) -> JoulebenchError:
    return UnavailableError(
        f"onnxruntime {onnxruntime.__version__} cannot use the provider '{asked}' ({PROVIDERS[asked]}); {reason}",
        hint="install an onnxruntime that is built with it, or set provider = 'cpu'",
    )


def _context(runtime: Any, file: Path) -> int:
    """Positions that the model's tables have; refuses a graph of another form."""
    present = {value.name for value in runtime.get_inputs()}
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
