"""A model that a stranger wrote on purpose is read or refused by its name, and executes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from model_trials import try_models

pytest.importorskip("tokenizers")
pytest.importorskip("gguf")


def _hold(folder: Path, count: int, seed: int) -> None:
    counts, wrong = try_models(folder, count, seed)
    print(dict(counts))
    assert wrong == []
    assert counts["refused"] > count / 2, "most models must be refused, or they are not hostile"


def test_some_hostile_models_are_read_or_refused(tmp_path: Path) -> None:
    _hold(tmp_path, count=150, seed=4)


@pytest.mark.faults
@pytest.mark.timeout(1200)
def test_a_thousand_hostile_models_are_read_or_refused(tmp_path: Path) -> None:
    _hold(tmp_path, count=1000, seed=2)
