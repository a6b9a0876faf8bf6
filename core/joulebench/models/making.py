"""Runs one converter or artifact technique in a process of its own, within limits of time and memory."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final

from joulebench.api import Artifact, OptionValue
from joulebench.environments.python import OtherPython, environ_for
from joulebench.errors import ArtifactError
from joulebench.processes import Mark, descendants, resident_bytes

#: How often a process is looked at, in seconds.
_POLL_S: Final = 0.05
#: Without a limit of its own, a process may take this share of the memory that was free before.
_MEMORY_SHARE: Final = 0.9


@dataclass(frozen=True, slots=True)
class Transform:
    """One step that makes an artifact from another: a converter or an artifact technique."""

    kind: str  # "converter" or "technique"
    name: str
    target: str  # format of the result
    settings: Mapping[str, OptionValue]
    versions: Mapping[str, str]
    #: Files that the settings name, by the option; their content counts, not where they lie.
    files: Mapping[str, Path] = field(default_factory=dict)
    #: What runs the step, if not this interpreter; ``versions`` are those that it has.
    python: OtherPython | None = None

    def describe(self) -> str:
        """The step for a lineage: name and settings."""
        inside = ", ".join(f"{key}={value}" for key, value in sorted(self.settings.items()))
        return f"{self.name}({inside})"


@dataclass(frozen=True, slots=True)
class MakingLimits:
    """What making one artifact may take: seconds, and resident bytes (else most of what is free)."""

    seconds: float = 3600.0
    memory_bytes: int | None = None


def run_transform(step: Transform, source: Artifact, output: Path, limits: MakingLimits) -> dict[str, Any]:
    """Run a converter or technique; returns its evidence and time. Raises :class:`ArtifactError`."""
    job = {
        "kind": step.kind,
        "name": step.name,
        "source": str(source.path),
        "output": str(output),
        "settings": {**step.settings, **{name: str(path) for name, path in step.files.items()}},
    }
    mark = Mark()
    python = sys.executable if step.python is None else step.python.path
    with tempfile.TemporaryFile() as order, tempfile.TemporaryFile() as answer, tempfile.TemporaryFile() as log:
        order.write(json.dumps(job).encode())
        order.seek(0)
        try:
            process = subprocess.Popen(
                [python, "-P", "-m", "joulebench.worker.transform"],
                stdin=order,
                stdout=answer,
                stderr=log,
                env={**environ_for(step.python), **mark.environment()},
                process_group=0,
            )
        except OSError as error:
            raise ArtifactError(f"'{step.name}' could not be started: {error}") from None
        with _ending(process, mark):
            fault = _watch(process, limits)
        if fault:
            raise ArtifactError(f"'{step.name}' was ended: {fault}", where=str(source.path))
        try:
            report: dict[str, Any] = json.loads(_text(answer).splitlines()[-1])
        except (IndexError, ValueError):
            tail = "\n".join(_text(log).strip().splitlines()[-3:])
            raise ArtifactError(
                f"'{step.name}' ended with exit code {process.returncode}: {tail or 'no message'}",
                where=str(source.path),
            ) from None
    if "error" in report:
        raise ArtifactError(report["error"], where=report.get("where"), hint=report.get("hint"))
    return report


def _watch(process: subprocess.Popen[bytes], limits: MakingLimits) -> str | None:
    """Wait for the end of a process; the limit that it went over, if it did."""
    free_bytes = _free_bytes()
    most_bytes = limits.memory_bytes
    if most_bytes is None and free_bytes is not None:
        most_bytes = int(_MEMORY_SHARE * free_bytes)
    name = "limits.memory" if limits.memory_bytes is not None else f"{_MEMORY_SHARE:.0%} of the free memory"
    deadline_s = time.monotonic() + limits.seconds
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_POLL_S)
            return None
        if time.monotonic() > deadline_s:
            return f"not done after {limits.seconds:g} s (limits.make_s)"
        taken_bytes = sum(map(resident_bytes, (process.pid, *descendants(process.pid))))
        if most_bytes is not None and taken_bytes > most_bytes:
            return f"{taken_bytes / 2**20:,.0f} MiB resident, {name} is {most_bytes / 2**20:,.0f} MiB"


@contextlib.contextmanager
def _ending(process: subprocess.Popen[bytes], mark: Mark) -> Iterator[None]:
    """Nothing of a process and what it has started outlives its use, whatever ends that (Ctrl-C included)."""
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        mark.end_all()


def _free_bytes() -> int | None:
    """Memory that can be had without swapping (MemAvailable); ``None`` where nobody says."""
    with contextlib.suppress(OSError, IndexError, ValueError):
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return None


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")
