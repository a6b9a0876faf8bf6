"""``idle``: the model loaded and nothing done, the floor that everything else stands on."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import ClassVar

from joulebench.api import BackendSession, Option, Outcome, Recorder, Request, Settings, Workload, WorkloadContext


class Idle(Workload):
    """Sleeps with the model loaded."""

    name: ClassVar[str] = "idle"
    summary: ClassVar[str] = "the model loaded, nothing done"
    unit: ClassVar[str] = "second"
    requires: ClassVar[frozenset[str]] = frozenset()
    phases: ClassVar[tuple[str, ...]] = ()
    judged: ClassVar[bool] = False
    options: ClassVar[tuple[Option, ...]] = (Option("seconds", "float", 1.0, "length of a request", minimum=0.01),)

    def requests(self, context: WorkloadContext, settings: Settings) -> Sequence[Request]:
        """One request, again and again."""
        return [Request(0)]

    def perform(self, session: BackendSession, request: Request, settings: Settings, record: Recorder) -> Outcome:
        """Sleep; the unit is the second slept."""
        seconds = float(settings["seconds"])
        start = time.perf_counter()
        time.sleep(seconds)
        return Outcome(units=time.perf_counter() - start)
