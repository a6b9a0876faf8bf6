"""Other processes: their memory, their families, and their end."""

from __future__ import annotations

import contextlib
import ctypes
import os
import secrets
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Final

#: Loaded here: a process that was just forked must import nothing.
_LIBC: Final = ctypes.CDLL(None)
#: linux/prctl.h
_PR_SET_PDEATHSIG: Final = 1
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
_MARK_VARIABLE: Final = "JOULEBENCH_PROCESS"
#: What makes children as fast as they are ended is looked for so often.
_ROUNDS: Final = 50
_EMPTY_LOOKS: Final = 2


def resident_bytes(pid: int | None = None) -> int:
    """Resident memory of a process, or of this one; 0 of one that has ended."""
    with contextlib.suppress(OSError, IndexError, ValueError):
        fields = Path(f"/proc/{pid or 'self'}/statm").read_text(encoding="ascii").split()
        return int(fields[1]) * _PAGE_BYTES
    return 0


def signal_name(number: int) -> str:
    """``SIGSEGV``; of a real-time signal, which has no name of its own, ``SIGRTMIN+3``."""
    if number > signal.SIGRTMIN:
        return f"SIGRTMIN+{number - signal.SIGRTMIN}"
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def descendants(pid: int) -> Iterator[int]:
    """What a process has started, and what that has started (proc(5), ``children``)."""
    for file in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in file.read_text(encoding="ascii").split():
                yield int(child)
                yield from descendants(int(child))


class Mark:
    """A mark in the environment of a process, which all that it starts inherits.

    It finds what groups and parents do not: a process that has made a session of its own and whose parent
    has ended. Only one that gives its children another environment escapes.
    """

    def __init__(self) -> None:
        self._token = secrets.token_hex(8)

    def environment(self) -> dict[str, str]:
        """What is added to the environment of the process; marks that this process bears stay."""
        return {_MARK_VARIABLE: f"{os.environ.get(_MARK_VARIABLE, '')}/{self._token}"}

    def end_all(self) -> None:
        """Kill all that bear the mark (proc(5), ``environ``), however often they have forked meanwhile.

        One look is not enough: a process may have left a child and ended while it was looked for.
        """
        empty_looks = 0
        for _ in range(_ROUNDS):
            bearers = list(self._bearers())
            for pid in bearers:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            empty_looks = 0 if bearers else empty_looks + 1
            if empty_looks == _EMPTY_LOOKS:
                return

    def _bearers(self) -> Iterator[int]:
        token = self._token.encode()
        for entry in os.scandir("/proc") if os.path.isdir("/proc") else ():  # noqa: PTH112
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    if token in Path(entry.path, "environ").read_bytes():
                        yield int(entry.name)


def die_with_parent() -> None:
    """Be killed when the thread that started this process ends, however that ends."""
    with contextlib.suppress(AttributeError):  # another system than Linux
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
