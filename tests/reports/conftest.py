"""Sessions for the reports' tests, written by the product's own writer."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import make_session

from joulebench.session import Session


@pytest.fixture
def session(tmp_path: Path) -> Session:
    """Two estimated cells, one of them in three processes, one failed and one skipped."""
    cells = [
        make_session.Cell("a", "torch f32", processes=3, block_flags={3: ["contended"]}),
        make_session.Cell("b", "torch int8", joules_per_token=0.25, perplexity=17.9),
        make_session.Cell("f", "torch sparse", status="failed", cause="killed for memory"),
        make_session.Cell("s", "onnx train", status="skipped", cause="lacks capability train"),
    ]
    return Session(make_session.write(tmp_path / "session", cells))


#: Sessions with nothing to show in one way or another.
POOR: dict[str, Callable[[], tuple[list[make_session.Cell], str]]] = {
    "every energy null": lambda: (
        [make_session.Cell("a", "cell a", energies={"measured": None}, energy_flags=["counter_ambiguous"])],
        "complete",
    ),
    "no energy channel": lambda: ([make_session.Cell("a", "cell a", energies={})], "complete"),
    "still running": lambda: ([make_session.Cell("a", "cell a", status="unfinished", blocks=5)], "running"),
    "cut off before a block": lambda: (
        [make_session.Cell("a", "cell a", status="unfinished", blocks=0)],
        "interrupted",
    ),
    "all failed": lambda: ([make_session.Cell("a", "cell a", status="failed", cause="signal SIGSEGV")], "complete"),
    "no cells": lambda: ([], "complete"),
}


@pytest.fixture(params=sorted(POOR))
def poor_session(request: pytest.FixtureRequest, tmp_path: Path) -> Session:
    """Each of the sessions in :data:`POOR`."""
    cells, status = POOR[request.param]()
    return Session(make_session.write(tmp_path / "poor", cells, status=status))


@pytest.fixture
def hostile_session(tmp_path: Path) -> Session:
    """Every text of a stranger's tries to break out of the report."""
    bad = make_session.HOSTILE
    cells = [
        make_session.Cell("a", bad, prompt=bad, response=bad, technique=bad, cell_flags=[bad, "=1+1"]),
        make_session.Cell("b", "=1+1", status="failed", cause=bad),
    ]
    probe = {"probe": "x", "available": False, "reason": bad, "cure": bad}
    return Session(make_session.write(tmp_path / "bad", cells, probes=[probe], model=bad))
