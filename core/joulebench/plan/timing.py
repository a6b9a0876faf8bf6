"""A bound on the time of planning, which asks plugins, programs and files that may never answer."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from typing import Final

from joulebench.errors import ProfileError

#: How many of what took longest are named.
_NAMED: Final = 3


class _OverTimeError(BaseException):
    """Raised wherever planning happens to be; no plugin's ``except Exception`` may keep it."""


class PlanningTime:
    """Where the time of a plan goes, and its end after ``limit_s`` seconds."""

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._spent_s: dict[str, float] = {}
        self._doing: list[str] = []
        self._began_s = self._since_s = time.monotonic()

    @contextlib.contextmanager
    def doing(self, what: str) -> Iterator[None]:
        """What happens inside is ``what``'s, but for what has a name of its own."""
        self._attribute()
        self._doing.append(what)
        try:
            yield
        finally:
            self._attribute()
            self._doing.pop()
        if self._since_s - self._began_s > self._limit_s:
            raise _OverTimeError

    def _attribute(self) -> None:
        now_s = time.monotonic()
        if self._doing:
            what = self._doing[-1]
            self._spent_s[what] = self._spent_s.get(what, 0.0) + now_s - self._since_s
        self._since_s = now_s

    @contextlib.contextmanager
    def bounded(self, where: str) -> Iterator[None]:
        """Raises :class:`ProfileError` for the file ``where`` when the time is over.

        Python code, regular expressions and waiting for processes are interrupted at once, in the main
        thread; in another one the time is looked at between two questions.
        """
        try:
            with _alarm(self._limit_s):
                yield
        except _OverTimeError:
            raise ProfileError(
                f"could not be planned in {self._limit_s:g} s (limits.plan_s); longest: {self._longest()}",
                where=where,
                hint="leave out what takes so long, or raise limits.plan_s",
            ) from None

    def _longest(self) -> str:
        longest = sorted(self._spent_s.items(), key=lambda item: -item[1])[:_NAMED]
        named = [f"{what} ({spent_s:,.1f} s)" for what, spent_s in longest]
        return ", ".join(named) or "the profile itself"


@contextlib.contextmanager
def _alarm(limit_s: float) -> Iterator[None]:
    """SIGALRM after ``limit_s``; a timer that ran before goes on afterwards."""
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
        yield
        return

    def ring(*_: object) -> None:
        raise _OverTimeError

    began_s = time.monotonic()
    handler = signal.signal(signal.SIGALRM, ring)
    left_s, interval_s = signal.setitimer(signal.ITIMER_REAL, limit_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        if left_s:
            signal.setitimer(signal.ITIMER_REAL, max(0.001, left_s - (time.monotonic() - began_s)), interval_s)
