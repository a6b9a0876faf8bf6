"""The pipe to a program: one JSON object a line there, one back (docs/runtime-protocol.md)."""

from __future__ import annotations

import contextlib
import json
import math
import os
import select
import shlex
import subprocess
import threading
import time
from collections.abc import Mapping
from typing import IO, Any, Final

from joulebench.backendkit import Mark, die_with_parent, signal_name
from joulebench.errors import JoulebenchError, PluginError

PROTOCOL_VERSION: Final = 1
#: A program that says nothing for so long when it is greeted is no runtime, in seconds.
GREETING_S: Final = 10.0
_END_S: Final = 5.0
_CHUNK: Final = 1 << 16
#: Longest answer: the scores of 10⁶ tokens in full length.
_MAX_LINE_BYTES: Final = 32 * 2**20
#: Characters of a program's words that a message shows, and bytes of its standard error that are kept.
_SHOWN: Final = 200
_TAIL_BYTES: Final = 4096
#: Larger integers fit into no column of a session.
MAX_INTEGER: Final = 2**63 - 1


class LinkError(JoulebenchError):
    """The program cannot be started, ended, or answered what makes no sense."""


class Link:
    """A running program. It is in this process's group: who stops or kills one does both."""

    def __init__(self, command: str, environment: Mapping[str, str] | None = None) -> None:
        self.command = command
        self._buffer = bytearray()
        self._process = self._start(environment)
        assert self._process.stdin is not None  # noqa: S101
        assert self._process.stdout is not None  # noqa: S101
        self._to = self._process.stdin.fileno()
        self._from = self._process.stdout.fileno()
        self._poll = select.poll()
        self._poll.register(self._from, select.POLLIN)

    def _start(self, environment: Mapping[str, str] | None) -> subprocess.Popen[bytes]:
        return self._popen(env={**os.environ, **(environment or {})})

    def _popen(self, **options: Any) -> subprocess.Popen[bytes]:
        try:
            return subprocess.Popen(
                shlex.split(self.command),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                preexec_fn=die_with_parent,  # noqa: PLW1509  one system call, nothing is imported
                **options,
            )
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            raise LinkError(
                f"cannot be started: {getattr(error, 'strerror', None) or error}",
                where=self.command,
                hint="build it, or correct 'command': a program with a slash is looked for from "
                "the profile's folder, one without where the shell looks",
            ) from None

    @property
    def pid(self) -> int:
        """Process id of the program."""
        return self._process.pid

    def greet(self) -> dict[str, Any]:
        """What the program says of itself; refuses another protocol version."""
        greeting = self.ask({"op": "hello", "protocol": PROTOCOL_VERSION}, GREETING_S)
        if greeting.get("protocol") != PROTOCOL_VERSION:
            raise LinkError(
                f"speaks version {shown(greeting.get('protocol'))} of the runtime protocol, not {PROTOCOL_VERSION}",
                where=self.command,
            )
        return greeting

    def ask(self, order: Mapping[str, Any], limit_s: float | None = None) -> dict[str, Any]:
        """The answer to a request. Raises :class:`LinkError`, also for an error that it tells.

        Without ``limit_s`` it waits for ever: who runs the worker has limits of their own. What the program
        has written unasked is an error, too: it would be taken for later answers.
        """
        if self._buffer or self._readable(0.0):
            self._refuse_unasked()
        self.send(json.dumps(order).encode() + b"\n")
        return self.receive(limit_s)

    def _refuse_unasked(self) -> None:
        piece = bytes(self._buffer) or os.read(self._from, _CHUNK)
        if piece:  # else it has ended, which is found when it is asked
            raise LinkError(f"wrote {piece[:80]!r} without being asked", where=self.command)

    def send(self, line: bytes) -> None:
        """Write a request."""
        try:
            while line:
                line = line[os.write(self._to, line) :]
        except (BrokenPipeError, OSError):
            raise self._ended() from None

    def receive(self, limit_s: float | None = None) -> dict[str, Any]:
        """Read an answer."""
        line = self._line(limit_s)
        try:
            answer: object = json.loads(line)
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict):
            raise LinkError(f"answered what is no JSON object: {line[:80]!r}", where=self.command)
        if "error" in answer:
            error = answer["error"]
            raise LinkError(shortened(error) if isinstance(error, str) else shown(error), where=self.command)
        return answer

    def _line(self, limit_s: float | None) -> bytes:
        deadline = None if limit_s is None else time.monotonic() + limit_s
        searched = 0
        while self._buffer.find(b"\n", searched) < 0:
            searched = len(self._buffer)
            if searched > _MAX_LINE_BYTES:
                raise LinkError(f"wrote {searched:,} bytes without a newline", where=self.command)
            # One that writes without end is always readable: the time counts, too.
            left_s = math.inf if deadline is None else deadline - time.monotonic()
            if left_s <= 0 or (deadline is not None and not self._readable(left_s)):
                raise LinkError(
                    f"gave no answer in {limit_s:g} s",
                    where=self.command,
                    hint="it must flush its output after each line",
                )
            piece = os.read(self._from, _CHUNK)
            if not piece:
                raise self._ended()
            self._buffer += piece
        line, _, self._buffer = self._buffer.partition(b"\n")
        return bytes(line)

    def _readable(self, limit_s: float) -> bool:
        return bool(self._poll.poll(None if math.isinf(limit_s) else 1e3 * max(0.0, limit_s)))

    def _ended(self) -> JoulebenchError:
        """How it ended, without being asked to."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_S)
        code = self._process.poll()
        if code is None:
            what = "closed its output"
        elif code < 0:
            what = f"was ended by {signal_name(-code)}"
        else:
            what = f"ended with exit code {code}"
        return PluginError(f"the program {what}", where=self.command)

    def close(self) -> None:
        """Ask it to end; kill it if it does not. Closing twice is harmless."""
        if self._process.poll() is None:
            with contextlib.suppress(JoulebenchError):
                self.ask({"op": "close"}, _END_S)
        self._end()

    def _end(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class TrialLink(Link):
    """A program that is greeted and ended at once, while planning: on its own, and without the terminal."""

    def _start(self, environment: Mapping[str, str] | None) -> subprocess.Popen[bytes]:
        self._mark = Mark()
        own = {**os.environ, **(environment or {}), **self._mark.environment()}
        process = self._popen(env=own, stderr=subprocess.PIPE, process_group=0)
        assert process.stderr is not None  # noqa: S101
        self._words = _LastWords(process.stderr)
        return process

    def last_words(self) -> str:
        """The last line that it wrote to standard error."""
        return self._words.line()

    def _end(self) -> None:
        super()._end()
        self._mark.end_all()


class _LastWords(threading.Thread):
    """Reads a program's standard error to its end and keeps the last of it."""

    def __init__(self, stream: IO[bytes]) -> None:
        super().__init__(daemon=True)
        self._stream = stream
        self._tail = b""
        self.start()

    def run(self) -> None:
        """Until nobody holds the other end."""
        with contextlib.suppress(OSError, ValueError):
            while piece := os.read(self._stream.fileno(), _CHUNK):
                self._tail = (self._tail + piece)[-_TAIL_BYTES:]

    def line(self) -> str:
        """The last line, shortened."""
        self.join(0.2)
        lines = self._tail.decode(errors="replace").strip().splitlines()
        return shortened(lines[-1]) if lines else ""


def shown(value: object) -> str:
    """As JSON, and no more of it than a message holds."""
    return shortened(json.dumps(value))


def shortened(text: str) -> str:
    """No more than a message holds."""
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
