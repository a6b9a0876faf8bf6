"""Number files that change under their readers, as sysfs files do.

Readers keep a descriptor and ``pread`` it, so a file must keep its inode and never be empty or
half written: each value is one ``pwrite`` of a fixed number of bytes, filled up with line ends
(which number parsers skip, as they skip the one line end of sysfs).
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

#: Room for the longest 64-bit number with sign and line end.
FIELD_BYTES = 24


class NumberFile:
    """A file that holds one whole number, rewritten in place."""

    def __init__(self, path: Path, value: int = 0) -> None:
        self.path = path
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        self.write(value)

    def write(self, value: int) -> None:
        """Put the value where every reader's next ``pread`` finds it."""
        os.pwrite(self._fd, str(value).encode().ljust(FIELD_BYTES, b"\n"), 0)

    def close(self) -> None:
        """Close the descriptor; the file stays."""
        os.close(self._fd)


def tick(advance: Callable[[float], None], period_s: float, parent: int | None = None) -> None:
    """Call ``advance`` with the seconds that have really passed, until left by ``parent``."""
    last_ns = time.perf_counter_ns()
    while parent is None or os.getppid() == parent:
        time.sleep(period_s)
        now_ns = time.perf_counter_ns()
        advance((now_ns - last_ns) / 1e9)
        last_ns = now_ns


def _child(advance: Callable[[float], None], period_s: float, parent: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _go_before_other_work()
    tick(advance, period_s, parent)


def _go_before_other_work() -> None:
    """Run as soon as it is time, where that is allowed: no sensor waits for the machine's processors."""
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))


@contextlib.contextmanager
def ticking(advance: Callable[[float], None], period_s: float) -> Iterator[None]:
    """A small child process that calls ``advance`` every ``period_s`` while the block runs.

    It is forked, so that ``advance`` may be any callable; what it changes must lie in files or
    shared memory for the parent to see it.
    """
    context = multiprocessing.get_context("fork")
    child = context.Process(target=_child, args=(advance, period_s, os.getpid()), daemon=True)
    child.start()
    try:
        yield
    finally:
        child.terminate()
        child.join()
