"""Planning ends, and says what took long: a program, an expression or a file may never answer."""

from __future__ import annotations

import contextlib
import re
import signal
import threading
import time
from collections.abc import Mapping
from typing import Any

import pytest
from matrix_plugins import backend, plan_of

from joulebench.errors import ProfileError

BODY = "[backend.slow]\n[workload.work]\n[limits]\nplan_s = 0.3\n"


def slow(check: Any) -> Any:
    class Slow(backend("slow")):  # type: ignore[misc]
        def check(self, device: str, settings: Any, config: Mapping[str, object]) -> str | None:
            with contextlib.suppress(Exception):  # a plugin that swallows what it can
                check()
            return None

    return Slow


@pytest.mark.parametrize(
    "check",
    [lambda: time.sleep(20), lambda: re.fullmatch(r"(a|a)*b", "a" * 60), lambda: [None for _ in iter(int, 1)]],
    ids=["wait", "expression", "loop"],
)
def test_what_does_not_end_is_ended_and_named(check: Any) -> None:
    began_s = time.monotonic()
    with pytest.raises(ProfileError) as caught:
        plan_of(BODY, slow(check))
    assert time.monotonic() - began_s < 5
    assert caught.value.what.startswith("could not be planned in 0.3 s (limits.plan_s); longest: backend 'slow' (0.")
    assert caught.value.where == "p.toml"
    assert caught.value.hint == "leave out what takes so long, or raise limits.plan_s"


def test_in_another_thread_the_time_counts_between_questions() -> None:
    raised: list[ProfileError] = []

    def plan() -> None:
        try:
            plan_of(BODY, slow(lambda: time.sleep(0.5)))
        except ProfileError as error:
            raised.append(error)

    thread = threading.Thread(target=plan)
    thread.start()
    thread.join()
    assert "longest: backend 'slow' (0.5 s)" in raised[0].what


def test_a_timer_of_the_callers_goes_on_after_the_plan() -> None:
    rings: list[int] = []
    handler = signal.signal(signal.SIGALRM, lambda number, _: rings.append(number))
    timer = signal.setitimer(signal.ITIMER_REAL, 0.3)
    try:
        assert plan_of("[backend.slow]\n[workload.work]\n", slow(lambda: None)).runnable
        left_s, _ = signal.getitimer(signal.ITIMER_REAL)
        assert 0 < left_s <= 0.3
        time.sleep(0.5)
    finally:
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, *timer)
    assert rings == [signal.SIGALRM]
