"""A session that a stranger wrote on purpose is shown or refused, and never ends in a traceback."""

from __future__ import annotations

from pathlib import Path

import pytest
from hostile import try_hostile

from joulebench.testing.samples import write_sample_session


def _hold(folder: Path, count: int, seed: int) -> None:
    counts, wrong = try_hostile(write_sample_session(folder / "pristine"), folder / "tried", count, seed)
    print(dict(counts), *wrong, sep="\n")
    assert (counts["traceback"], counts["raw"]) == (0, 0)
    assert counts["refused"] > 0


def test_a_few_hostile_sessions_are_shown_or_refused(tmp_path: Path) -> None:
    _hold(tmp_path, count=30, seed=5)


@pytest.mark.faults
@pytest.mark.timeout(3000)
def test_many_hostile_sessions_are_shown_or_refused(tmp_path: Path) -> None:
    _hold(tmp_path, count=500, seed=2)
