"""The parent's hold on a worker: start, ask, watch, stop, and say how it ended."""

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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from joulebench.environments.python import OtherPython, environ_for
from joulebench.processes import Mark, resident_bytes, signal_name
from joulebench.protocol import PROTOCOL_VERSION

#: How often a waiting parent looks at the worker's memory and lets others do their work.
POLL_S: Final = 0.1
_TAIL_LINES: Final = 20
_TAIL_BYTES: Final = 1 << 16
#: What standard error may take of the disk; of more, only what comes later is kept.
_LOG_BYTES: Final = 64 << 20
#: Longest answer.
_MOST_BYTES: Final = 1 << 30
_LONGEST_END_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a worker could not go on."""

    kind: str  # error, memory, hang, signal, exit
    message: str
    exit_code: int | None = None
    signal: str | None = None


class WorkerError(Exception):
    """The worker failed; ``cause`` goes into the cell's record."""

    def __init__(self, cause: Cause) -> None:
        super().__init__(cause.message)
        self.cause = cause


class ToldError(WorkerError):
    """The worker itself said that it could not do what was asked, and is still there."""


class WorkerProcess:
    """A worker process and its pipes. ``idle`` is called while the parent waits."""

    def __init__(
        self,
        environment: Mapping[str, str],
        memory_limit_bytes: int | None = None,
        command: Sequence[str] | None = None,
        python: OtherPython | None = None,
    ) -> None:
        self._memory_limit_bytes = memory_limit_bytes
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  lives as long as the process
        self._buffer = bytearray()
        self._mark = Mark()
        self._oom_kills_before = _oom_kills()
        program = sys.executable if python is None else python.path
        self._process = subprocess.Popen(
            list(command) if command else [program, "-P", "-m", "joulebench.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env={**environ_for(python), **environment, **self._mark.environment()},
            # A group of its own: Ctrl-C reaches the parent alone, and the kernel ends a stopped
            # worker whose parent has died (an orphaned group with stopped members gets SIGHUP).
            process_group=0,
        )
        self.model_pid = self._process.pid
        self.paused = False

    @property
    def pid(self) -> int:
        """Process id of the worker."""
        return self._process.pid

    def watch(self, model_pid: int) -> None:
        """The process that runs the model, where it is not the worker itself but its child."""
        self.model_pid = model_pid

    def greet(self, timeout_s: float) -> None:
        """Check that the other side speaks this protocol."""
        version = self.ask({"op": "hello"}, timeout_s).get("protocol")
        if version != PROTOCOL_VERSION:
            raise WorkerError(Cause("error", f"the worker speaks protocol {version}, not {PROTOCOL_VERSION}"))

    def ask(
        self, order: Mapping[str, Any], timeout_s: float, idle: Callable[[], None] = lambda: None, limit_name: str = ""
    ) -> dict[str, Any]:
        """Send a request and wait for its answer; raises :class:`WorkerError`.

        ``limit_name`` is what the timeout is called in the profile, for the message.
        """
        assert self._process.stdin is not None  # noqa: S101
        try:
            self._process.stdin.write(json.dumps(order).encode() + b"\n")
            self._process.stdin.flush()
        except (BrokenPipeError, OSError):
            raise WorkerError(self._ended()) from None
        self._bound_log()
        line = self._read_line(timeout_s, str(order["op"]), limit_name, idle)
        answer = _answer(line)
        if "error" in answer:
            error = answer["error"]
            failure = error if isinstance(error, dict) else {}
            raise ToldError(Cause(str(failure.get("kind", "error")), str(failure.get("message", error))))
        return answer

    def _read_line(self, timeout_s: float, op: str, limit_name: str, idle: Callable[[], None]) -> bytes:
        assert self._process.stdout is not None  # noqa: S101
        deadline = time.monotonic() + timeout_s
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            searched = 0
            while self._buffer.find(b"\n", searched) < 0:
                searched = len(self._buffer)
                if searched > _MOST_BYTES:
                    self.kill()
                    raise WorkerError(Cause("error", f"the worker wrote {searched:,} bytes without a newline"))
                if selector.select(POLL_S):
                    piece = os.read(self._process.stdout.fileno(), 1 << 16)
                    if not piece:
                        raise WorkerError(self._ended())
                    self._buffer += piece
                else:
                    idle()
                self._check_memory()
                self._bound_log()
                if time.monotonic() > deadline:
                    self.kill()
                    name = f" ({limit_name})" if limit_name else ""
                    message = f"no answer to '{op}' within {timeout_s:g} s{name}; the worker was killed"
                    raise WorkerError(Cause("hang", message, signal="SIGKILL"))
        line, _, self._buffer = self._buffer.partition(b"\n")
        return bytes(line)

    def _check_memory(self) -> None:
        limit = self._memory_limit_bytes
        if limit is None:
            return
        resident = sum(map(resident_bytes, {self.pid, self.model_pid}))
        if resident > limit:
            self.kill()
            message = (
                f"limits.memory of {limit / 2**20:,.0f} MiB exceeded: {resident / 2**20:,.0f} "
                "MiB resident; the worker was killed"
            )
            raise WorkerError(Cause("memory", message, signal="SIGKILL"))

    def _bound_log(self) -> None:
        """Give back the disk that a flood on standard error has taken: the file goes on with a hole."""
        log = self._log.fileno()
        if os.fstat(log).st_blocks * 512 > _LOG_BYTES:
            os.ftruncate(log, 0)

    def _ended(self) -> Cause:
        """The cause of an end that nobody asked for."""
        self._await_end()
        if not self._has_ended():
            self.kill()
            return Cause("error", "the worker closed its output and did not end; it was killed")
        self.kill()  # what it has started
        code = self._process.returncode
        if code >= 0:
            return Cause("exit", f"the worker ended with exit code {code}", exit_code=code)
        name = signal_name(-code)
        if name == "SIGKILL" and _oom_kills() > self._oom_kills_before:
            return Cause("memory", "the kernel killed the worker: out of memory", signal=name)
        return Cause("signal", f"the worker was ended by {name}", signal=name)

    def pause(self) -> None:
        """Stop the worker in its tracks, so that no thread of it runs while another is measured."""
        if not self.paused and not self._has_ended():
            self._signal(signal.SIGSTOP)
            self.paused = True

    def resume(self) -> None:
        """Let a paused worker go on."""
        if self.paused and not self._has_ended():
            self._signal(signal.SIGCONT)
        self.paused = False

    def stderr_tail(self) -> str | None:
        """The last lines that the worker wrote to standard error."""
        # pread: the worker shares the file's offset and may still be writing.
        log = self._log.fileno()
        text = os.pread(log, _TAIL_BYTES, max(0, os.fstat(log).st_size - _TAIL_BYTES))
        lines = text.decode(errors="replace").strip().splitlines()
        return "\n".join(lines[-_TAIL_LINES:]) or None

    def kill(self) -> None:
        """End the worker and all that it has started at once."""
        if self._process.returncode is None:  # afterwards its number may come back as somebody else's
            self._signal(signal.SIGKILL)
            self._process.wait()
            self._mark.end_all()

    def _signal(self, number: int) -> None:
        """Send a signal to the worker and to what it has started: they are a group."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    def _await_end(self) -> None:
        """Let it end by itself. It stays unreaped, so that its group keeps its number."""
        deadline = time.monotonic() + _LONGEST_END_S
        while time.monotonic() < deadline and not self._has_ended():
            time.sleep(0.005)

    def _has_ended(self) -> bool:
        try:
            return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        except ChildProcessError:
            return True

    def close(self) -> None:
        """Ask the worker to end; kill it if it does not."""
        if not self._has_ended():
            self.resume()
            with contextlib.suppress(WorkerError):
                self.ask({"op": "close"}, _LONGEST_END_S)
            self._await_end()
        self.kill()
        for pipe in (self._process.stdin, self._process.stdout, self._log):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()


def _answer(line: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(line)
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict):
        raise WorkerError(Cause("error", f"the worker answered nonsense: {line[:80]!r}"))
    return answer


def _oom_kills() -> int:
    """How often the kernel has killed for memory since boot (/proc/vmstat, oom_kill)."""
    try:
        for line in Path("/proc/vmstat").read_text(encoding="ascii").splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    except OSError:
        pass
    return 0
