"""Execution providers: onnxruntime's ways to hand parts of a model to other code or hardware."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, Final

from joulebench.backendkit import asked_elsewhere

CPU_PROVIDER: Final = "CPUExecutionProvider"
#: Names of the option ``provider`` and onnxruntime's (docs/execution-providers in its repository):
#: those that share the host's memory, so that the KV cache stays where it is.
PROVIDERS: Final[Mapping[str, str]] = {
    "cpu": CPU_PROVIDER,
    "xnnpack": "XnnpackExecutionProvider",
    "nnapi": "NnapiExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "qnn": "QNNExecutionProvider",
}
_PROBE: Final = "import json, onnxruntime; print(json.dumps(onnxruntime.get_available_providers()))"


def missing_reason(provider: str) -> str | None:
    """Why this installation cannot use ``provider`` (a name of :data:`PROVIDERS`), or ``None``."""
    if provider == "cpu":
        return None
    built = built_providers()
    if PROVIDERS[provider] in built:
        return None
    return (
        f"the installed onnxruntime has no {PROVIDERS[provider]}; it has: {', '.join(built) or 'none that can be told'}"
    )


@functools.cache
def built_providers() -> tuple[str, ...]:
    """What the installed build has, asked in another process so that this one stays light."""
    return tuple(asked_elsewhere(_PROBE) or ())


def provider_list(asked: str, threads: int) -> list[Any]:
    """What ``InferenceSession`` wants: the provider with its options, the CPU for the rest."""
    if asked == "cpu":
        return [CPU_PROVIDER]
    own = {"intra_op_num_threads": str(threads)} if asked == "xnnpack" else {}
    return [(PROVIDERS[asked], own), CPU_PROVIDER]
