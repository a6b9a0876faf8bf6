"""What backends need again and again: the cores they may use, a question to another process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any, Final

from joulebench.api import Device, Settings

#: An interpreter that takes longer than this to import a runtime is given up, in seconds.
_TIMEOUT_S: Final = 60.0


def allowed_cores() -> int:
    """Processors that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def thread_count(settings: Settings) -> int:
    """Threads to use: the setting ``threads``, else one for each core that may be used."""
    stated = settings.get("threads")
    return allowed_cores() if stated is None else int(stated)


def cpu_device() -> Device:
    """The device ``cpu``, described by the cores that may be used."""
    return Device("cpu", f"{allowed_cores()} allowed cores")


def asked_elsewhere(code: str) -> Any:
    """What ``code`` prints last, as JSON, run by another interpreter so that this stays light.

    ``None`` where it fails, takes longer than a minute, or prints no JSON.
    """
    try:
        answer = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=True,
        )
        return json.loads(answer.stdout.splitlines()[-1])
    except (subprocess.SubprocessError, OSError, ValueError, IndexError):
        return None
