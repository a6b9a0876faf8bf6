"""Tries once, in a process of its own, whether a foreign plugin can be imported without ending the process.

What calls ``os._exit`` or crashes in native code at import would take every command down with it.
The answer is remembered in the cache until a file of the plugin changes.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

from joulebench.backendkit import cache_folder
from joulebench.registry.discovery import Source

#: Time for the interpreter to start and to end, beside the plugin's own, in seconds.
_STARTING_S: Final = 20.0
_SURVIVED: Final = "survived"
#: Whatever the plugin raises is met again, and put in words, where it is imported for good.
_TRIAL: Final = """
import contextlib, importlib, sys
from joulebench.registry.classes import provided_by
from joulebench.registry.isolation import in_time
keep, sys.stdout = sys.stdout, sys.stderr
with contextlib.suppress(BaseException), in_time(float(sys.argv[2])):
    provided_by(importlib.import_module(sys.argv[1]), sys.argv[1])
print("survived", file=keep, flush=True)
"""


def fatal_fault(source: Source, limit_s: float) -> str | None:
    """How importing a plugin ends the process; ``None`` if it does not."""
    point = source.point
    if point is None:
        return None
    memory = cache_folder() / "plugins.json"
    key = f"{sys.executable} {source.distribution} {source.version} {point.value}"
    stamp = _stamp(point.module)
    known = _remembered(memory).get(key)
    if isinstance(known, dict) and known.get("stamp") == stamp:
        fault = known.get("fault")
        return fault if isinstance(fault, str) else None
    fault = _try(point.module, limit_s)
    _remember(memory, key, {"stamp": stamp, "fault": fault})
    return fault


def _try(module: str, limit_s: float) -> str | None:
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-c", _TRIAL, module, str(limit_s)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=limit_s + _STARTING_S,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
    except subprocess.TimeoutExpired:
        return f"its import is not done after {limit_s:g} s"
    if _SURVIVED in done.stdout.decode(errors="replace").split():
        return None
    ending = f"exit code {done.returncode}" if done.returncode >= 0 else f"signal {-done.returncode}"
    return f"its import ends the process ({ending})"


def _stamp(module: str) -> list[int]:
    """Changes with the plugin's files: how many, the size of all, the time of the last change."""
    spec = None
    with contextlib.suppress(Exception):
        spec = importlib.util.find_spec(module.partition(".")[0])  # of the top: its parts would import it
    if spec is None:
        return []
    files: list[Path] = [Path(spec.origin)] if spec.origin else []
    for folder in spec.submodule_search_locations or ():
        files += [file for suffix in ("py", "so") for file in Path(folder).rglob(f"*.{suffix}")]
    states = []
    for file in files:
        with contextlib.suppress(OSError):
            states.append(file.stat())
    return [
        len(states),
        sum(state.st_size for state in states),
        max((state.st_mtime_ns for state in states), default=0),
    ]


def _remembered(memory: Path) -> dict[str, object]:
    try:
        entries = json.loads(memory.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return entries if isinstance(entries, dict) else {}


def _remember(memory: Path, key: str, entry: dict[str, object]) -> None:
    with contextlib.suppress(OSError):  # then it is tried again
        memory.parent.mkdir(parents=True, exist_ok=True)
        temporary = memory.with_name(f".{memory.name}.{os.getpid()}")
        temporary.write_text(json.dumps({**_remembered(memory), key: entry}, indent=1), encoding="utf-8")
        temporary.replace(memory)
