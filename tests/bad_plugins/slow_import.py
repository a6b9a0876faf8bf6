"""Takes its time to be imported."""

from __future__ import annotations

import time

from bad_base import CountingBackend

from joulebench.api import Backend
from joulebench.hookspecs import hookimpl

JOULEBENCH_API = 1

time.sleep(0.6)


class SlowImport(CountingBackend):
    """Works, at last."""

    name = "slow-import"


@hookimpl
def joulebench_backends() -> list[type[Backend]]:
    return [SlowImport]
