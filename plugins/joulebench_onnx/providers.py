"""Execution providers: onnxruntime's ways to hand parts of a model to other code or hardware."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from collections.abc import Mapping
from typing import Final

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
#: An interpreter that takes longer than this to import onnxruntime is given up, in seconds.
_PROBE_TIMEOUT_S: Final = 60.0


def missing_reason(provider: str) -> str | None:
    """Why this installation cannot use ``provider`` (a name of :data:`PROVIDERS`), or ``None``."""
    if provider == "cpu":
        return None
    built = built_providers()
    if PROVIDERS[provider] in built:
        return None
    return (
        f"the installed onnxruntime has no {PROVIDERS[provider]}; it has: "
        f"{', '.join(built) or 'none that can be told'}"
    )


@functools.cache
def built_providers() -> tuple[str, ...]:
    """What the installed build has, asked in another process so that this one stays light."""
    try:
        answer = subprocess.run(
            [sys.executable, "-c", _PROBE],
            capture_output=True,
            text=True,
            timeout=_PROBE_TIMEOUT_S,
            check=True,
        )
        return tuple(json.loads(answer.stdout.splitlines()[-1]))
    except (subprocess.SubprocessError, OSError, ValueError, IndexError):
        return ()
