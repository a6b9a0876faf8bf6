"""A toy runtime, a toy meter and an observer: what a plugin of one's own looks like.

The runtime is a deterministic "language model" in pure Python that can be told to misbehave, so
that tests see a crash, a hang or a leak where a real runtime would have one.
"""

from __future__ import annotations

import os
from pathlib import Path

from joulebench.api import Backend, FinishedCell, Probe
from joulebench.hookspecs import hookimpl

JOULEBENCH_API = 1


@hookimpl
def joulebench_backends() -> list[type[Backend]]:
    """The backends ``toy`` and ``mutetoy``."""
    from joulebench_toy.backend import Mute, Toy

    return [Toy, Mute]


@hookimpl
def joulebench_probes() -> list[type[Probe]]:
    """The probe ``toymeter``."""
    from joulebench_toy.probe import ToyMeter

    return [ToyMeter]


@hookimpl
def joulebench_cell_finished(cell: FinishedCell) -> None:
    """Note the cell in the file that ``TOY_OBSERVER`` names, then fail if told to."""
    file = os.environ.get("TOY_OBSERVER")
    if file:
        with Path(file).open("a", encoding="utf-8") as notes:
            notes.write(f"{cell.cell_id} {cell.status}\n")
    if os.environ.get("TOY_OBSERVER_RAISES"):
        raise RuntimeError("the toy observer was told to fail")
