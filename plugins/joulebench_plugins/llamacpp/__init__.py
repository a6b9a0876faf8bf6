"""llama.cpp: the backend ``llamacpp`` and the technique ``gguf-quantize``."""

from __future__ import annotations

from joulebench.api import Backend, Technique
from joulebench.hookspecs import hookimpl

JOULEBENCH_API = 1


@hookimpl
def joulebench_backends() -> list[type[Backend]]:
    """The backend."""
    from joulebench_plugins.llamacpp.backend import LlamaCppBackend

    return [LlamaCppBackend]


@hookimpl
def joulebench_techniques() -> list[type[Technique]]:
    """llama.cpp's own types."""
    from joulebench_plugins.llamacpp.quantizing import GgufQuantize

    return [GgufQuantize]
