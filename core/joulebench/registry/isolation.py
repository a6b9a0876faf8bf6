"""A plugin's own code may raise, hang or print: it is interrupted in time, and its failure put in words."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from joulebench.errors import PluginError


class OvertimeError(BaseException):
    """A plugin's code was not done in time. No ``Exception``: a plugin might swallow that."""


@contextlib.contextmanager
def in_time(limit_s: float) -> Iterator[None]:
    """Interrupt what takes longer, where that can be done without taking a timer from others.

    It ends what waits or loops in Python; native code that never returns cannot be ended.
    """
    free = (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGALRM) is signal.SIG_DFL
        and signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    )
    if not free:
        yield
        return

    def interrupt(_number: int, frame: FrameType | None) -> None:
        place = "?" if frame is None else f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"
        raise OvertimeError(f"not done after {limit_s:g} s ({place})")

    signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, limit_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)


def describe_failure(error: BaseException) -> str:
    """What a plugin raised, and the line of its code that raised it."""
    if isinstance(error, (PluginError, OvertimeError)):
        return str(error)
    text = f"{type(error).__name__}: {error}"
    trace = error.__traceback__
    last = None
    while trace is not None:
        last, trace = trace, trace.tb_next
    if last is not None:
        frame = last.tb_frame
        text += f" ({Path(frame.f_code.co_filename).name}:{last.tb_lineno})"
    return text
