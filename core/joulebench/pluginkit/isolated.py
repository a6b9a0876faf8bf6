"""Runs checks in a process of their own: a crash or a hang costs the check in which it happened."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any, Final

from joulebench.pluginkit.results import CheckResult, EndedCheck
from joulebench.processes import Mark, resident_bytes, signal_name
from joulebench.registry.commandlist import WITHOUT_VARIABLE

#: More resident memory than this is a leak, and ends the check.
MEMORY_LIMIT_BYTES: Final = 6 * 2**30
#: So often a plugin may take a process down before the rest of its checks is left out.
MOST_DEATHS: Final = 3
_POLL_S: Final = 0.2
_TAIL_BYTES: Final = 1 << 14
#: Calls that are shown of a stack.
_PLACES: Final = 3
_PRINTS: Final = (
    "standard output is the command's own (tables, JSON) and in a worker the protocol's: log to standard error"
)


@dataclass(frozen=True)
class ChildJob:
    """What a child is to do. ``without`` are the entry points that it must not load."""

    task: str
    entry_point: str
    kind: str = ""
    name: str = ""
    settings: Mapping[str, Any] | None = None
    without: Sequence[str] = ()

    @property
    def subject(self) -> str:
        """What its checks are of."""
        return f"{self.kind} {self.name}".strip()


def run_checks(job: ChildJob, limit_s: float) -> list[CheckResult]:
    """The results of a job's checks; each may take ``limit_s`` seconds."""
    results: list[CheckResult] = []
    deaths = 0
    while True:
        done = [result.check for result in results]
        with _Child(job, done, limit_s) as child:
            results_of_child, finished = child.results(limit_s)
        # It prints the same at each check.
        results_of_child = [
            result
            for n, result in enumerate(results_of_child)
            if result.check not in done and result.check not in {other.check for other in results_of_child[:n]}
        ]
        results += results_of_child
        deaths += not finished
        if deaths == MOST_DEATHS:
            what = f"given up: {deaths} checks took their process down or hung"
            results.append(CheckResult(job.subject, "all other checks", "skipped", what))
            finished = True
        # A child that got nowhere gets nowhere the next time either.
        if finished or not results_of_child or results_of_child[-1].check == _MADE:
            return [result for result in results if result.check != _MADE or result.status == "fault"]


_MADE: Final = "it can be made"
_SILENT: Final = "it prints nothing"


class _Child:
    """One child process, its report and what it printed."""

    def __init__(self, job: ChildJob, done: Sequence[str], limit_s: float) -> None:
        self._job = job
        self._printed: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  lives with the child
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
        self._report, write = os.pipe()
        self._buffer = b""
        self._mark = Mark()
        environment = {**os.environ, **self._mark.environment(), WITHOUT_VARIABLE: ",".join(job.without)}
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "joulebench.pluginkit.child", str(write)],
            stdin=subprocess.PIPE,
            stdout=self._printed,
            stderr=self._errors,
            env=environment,
            pass_fds=(write,),
            process_group=0,
        )
        os.close(write)
        order = {
            "task": job.task,
            "entry_point": job.entry_point,
            "kind": job.kind,
            "name": job.name,
            "settings": dict(job.settings or {}),
            "done": list(done),
            "limit_s": limit_s,
        }
        assert self._process.stdin is not None  # noqa: S101
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(order).encode() + b"\n")
            self._process.stdin.close()

    def results(self, limit_s: float) -> tuple[list[CheckResult], bool]:
        """What the child told, and whether it came to its end."""
        results: list[CheckResult] = []
        running = "its process starts"
        for message in self._told(limit_s):
            if isinstance(message, str):
                results.append(self._fault(running, message))
                return results, False
            if message.get("finished"):
                return results, True
            if "begin" in message:
                running = message["begin"]
            else:
                results += self._of(EndedCheck(**message))
        results.append(self._fault(running, self._how_it_ended()))
        return results, False

    def _told(self, limit_s: float) -> Iterator[dict[str, Any] | str]:
        """Lines of the report; a text says why the child was killed."""
        deadline = time.monotonic() + limit_s
        with selectors.DefaultSelector() as selector:
            selector.register(self._report, selectors.EVENT_READ)
            while True:
                while b"\n" in self._buffer:
                    line, _, self._buffer = self._buffer.partition(b"\n")
                    deadline = time.monotonic() + limit_s
                    yield json.loads(line)
                if selector.select(_POLL_S):
                    piece = os.read(self._report, 1 << 16)
                    if not piece:
                        return
                    self._buffer += piece
                elif time.monotonic() > deadline:
                    self._kill()
                    yield f"it was not done after {limit_s:g} s and was killed"
                    return
                elif resident_bytes(self._process.pid) > MEMORY_LIMIT_BYTES:
                    self._kill()
                    limit = f"{MEMORY_LIMIT_BYTES / 2**30:.0f} GiB"
                    yield f"it took more than {limit} of memory and was killed"
                    return

    def _of(self, ended: EndedCheck) -> Iterator[CheckResult]:
        subject = self._job.subject
        yield CheckResult(subject, ended.end, ended.status, ended.what, ended.advice, ended.seconds, ended.facts)
        if ended.printed:
            what = f"it wrote to standard output: {ended.printed!r}"
            yield CheckResult(subject, _SILENT, "fault", what, _PRINTS)

    def _fault(self, check: str, what: str) -> CheckResult:
        return CheckResult(self._job.subject, check, "fault", what, self._last_words())

    def _how_it_ended(self) -> str:
        code = self._process.wait()
        if code >= 0:
            return f"the process ended with exit code {code}"
        return f"the process was ended by {signal_name(-code)}"

    def _last_words(self) -> str:
        """Where its code was, as faulthandler wrote it, else its last line of standard error."""
        end = os.fstat(self._errors.fileno()).st_size
        text = os.pread(self._errors.fileno(), _TAIL_BYTES, max(0, end - _TAIL_BYTES))
        lines = [line.strip() for line in text.decode(errors="replace").splitlines()]
        places = [line for line in lines if line.startswith("File ")][:_PLACES]
        if places:
            return "it was here, the innermost call first:\n" + "\n".join(places)
        words = [line for line in lines if line]
        return f"its last words: {words[-1]}" if words else "run it under a debugger"

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._mark.end_all()

    def __enter__(self) -> _Child:
        return self

    def __exit__(self, *_error: object) -> None:
        self._kill()
        os.close(self._report)
        self._printed.close()
        self._errors.close()
