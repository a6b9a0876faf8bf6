"""Where a long count stands, a line for each tenth of it."""

from __future__ import annotations

import time
from collections import Counter

_PARTS = 10
#: Shorter counts are silent.
_LEAST = 20
_START_S = time.monotonic()


def show(what: str, done: int, count: int, ends: Counter[str]) -> None:
    """Called after each try: ``done`` of ``count`` are over."""
    if count >= _LEAST and done * _PARTS // count != (done - 1) * _PARTS // count:
        told = ", ".join(f"{name} {number}" for name, number in ends.items() if number)
        print(f"  {time.monotonic() - _START_S:5.0f} s  {what}: {done} of {count}  ({told})", flush=True)
