"""No mutation of a session's files changes a shown figure without a word, hangs or ends in a traceback."""

from __future__ import annotations

from pathlib import Path

import pytest
from mutations import mutate
from toyrun import Bench


@pytest.fixture
def pristine(bench: Bench) -> Path:
    """A session of three cells by a real run, with energy and samples."""
    toys = {name: {"step_s": 0.002 * place} for place, name in enumerate(("a", "b", "c"), start=1)}
    done = bench.run(bench.profile(toys, min_blocks=6, max_blocks=6, probes={"toymeter": {"mode": "gauge"}}), "--quiet")
    assert done.code == 0, done.errors
    assert done.folder is not None
    (done.folder / "report.html").unlink(missing_ok=True)
    return done.folder


def _hold(pristine: Path, folder: Path, count: int, seed: int) -> None:
    counts, wrong = mutate(pristine, folder, count, seed)
    print(dict(counts))
    assert wrong == []
    assert counts["said"] > count / 2, "most mutations must be found, or they mutate nothing"


def test_a_few_mutations_are_found(pristine: Path, tmp_path: Path) -> None:
    _hold(pristine, tmp_path / "few", count=40, seed=3)


@pytest.mark.faults
@pytest.mark.timeout(3000)
def test_a_thousand_mutations_change_no_figure_without_a_word(pristine: Path, tmp_path: Path) -> None:
    _hold(pristine, tmp_path / "many", count=1000, seed=1)
