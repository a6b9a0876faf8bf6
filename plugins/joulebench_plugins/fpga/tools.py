"""Starts the tools that a design goes through, and says what they said where they fail."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from joulebench.errors import PluginError

_TAIL_LINES: Final = 12


def run_module(module: str, arguments: Sequence[str], folder: Path, function: str | None = None) -> str:
    """What a tool printed that comes as a Python ``module``; its main may be a ``function``."""
    start = ["-m", module]
    if function is not None:
        start = ["-c", f"import sys, {module}; sys.exit({module}.{function}(sys.argv[1:]))"]
    return run_tool([sys.executable, "-P", *start, *arguments], folder, module)


def run_tool(command: Sequence[str], folder: Path, name: str | None = None) -> str:
    """What a tool printed; raises :class:`PluginError` with its last lines where it fails."""
    name = name or Path(command[0]).name
    try:
        answer = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace", check=False)
    except OSError as error:
        raise PluginError(f"cannot be started: {error}", where=name) from error
    if answer.returncode:
        last_lines = (answer.stderr or answer.stdout).strip().splitlines()[-_TAIL_LINES:]
        raise PluginError("\n".join([f"failed (exit code {answer.returncode})", *last_lines]), where=name)
    return answer.stdout
