"""The pipe to a program: one JSON object a line there, one back (docs/runtime-protocol.md)."""

from __future__ import annotations

import contextlib
import json
import math
import os
import selectors
import shlex
import signal
import subprocess
import time
from collections.abc import Mapping
from typing import Any, Final

from joulebench.errors import JoulebenchError, PluginError

PROTOCOL_VERSION: Final = 1
#: A program that says nothing for so long when it is greeted is no runtime, in seconds.
GREETING_S: Final = 10.0
_END_S: Final = 5.0
_CHUNK: Final = 1 << 16
#: Longest answer: the scores of 10⁶ tokens in full length.
_MAX_LINE_BYTES: Final = 32 * 2**20
#: Larger integers fit into no column of a session.
MAX_INTEGER: Final = 2**63 - 1


class LinkError(JoulebenchError):
    """The program cannot be started, ended, or answered what makes no sense."""


class Link:
    """A running program. It is in this process's group: who stops or kills one does both."""

    def __init__(self, command: str, environment: Mapping[str, str] | None = None) -> None:
        self.command = command
        self._buffer = bytearray()
        try:
            self._process = subprocess.Popen(
                shlex.split(command),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**os.environ, **(environment or {})},
            )
        except OSError as error:
            raise LinkError(
                f"cannot be started: {error.strerror}",
                where=command,
                hint="build it, or correct 'command': a program with a slash is looked for from "
                "the profile's folder, one without where the shell looks",
            ) from None
        assert self._process.stdin is not None  # noqa: S101
        assert self._process.stdout is not None  # noqa: S101
        self._to = self._process.stdin.fileno()
        self._from = self._process.stdout.fileno()

    @property
    def pid(self) -> int:
        """Process id of the program."""
        return self._process.pid

    def greet(self) -> dict[str, Any]:
        """What the program says of itself; refuses another protocol version."""
        greeting = self.ask({"op": "hello", "protocol": PROTOCOL_VERSION}, GREETING_S)
        if greeting.get("protocol") != PROTOCOL_VERSION:
            raise LinkError(
                f"speaks version {greeting.get('protocol')!r} of the runtime protocol, not {PROTOCOL_VERSION}",
                where=self.command,
            )
        return greeting

    def ask(self, order: Mapping[str, Any], limit_s: float | None = None) -> dict[str, Any]:
        """The answer to a request. Raises :class:`LinkError`, also for an error that it tells.

        Without ``limit_s`` it waits for ever: who runs the worker has limits of their own.
        """
        self.send(json.dumps(order).encode() + b"\n")
        return self.receive(limit_s)

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
            raise LinkError(str(answer["error"]), where=self.command)
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
        with selectors.DefaultSelector() as selector:
            selector.register(self._from, selectors.EVENT_READ)
            return bool(selector.select(max(0.0, limit_s)))

    def _ended(self) -> JoulebenchError:
        """How it ended, without being asked to."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_S)
        code = self._process.poll()
        if code is None:
            what = "closed its output"
        elif code < 0:
            what = f"was ended by {_signal_name(-code)}"
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


def _signal_name(number: int) -> str:
    """``SIGKILL``; real-time signals have numbers only."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
