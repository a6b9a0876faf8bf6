"""A model that a stranger wrote on purpose is read or refused by its name, and executes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from model_trials import run_models, try_models

pytest.importorskip("tokenizers")
pytest.importorskip("gguf")


def _hold(folder: Path, count: int, seed: int) -> None:
    counts, wrong = try_models(folder, count, seed)
    print(dict(counts))
    assert wrong == []
    assert counts["refused"] > count / 2, "most models must be refused, or they are not hostile"


@pytest.mark.parametrize(("backend", "count"), [("llamacpp", 2)])
def test_a_run_of_some_hostile_models_measures_the_good_one(tmp_path: Path, backend: str, count: int) -> None:
    pytest.importorskip({"llamacpp": "llama_cpp"}.get(backend, backend))
    counts, wrong = run_models(tmp_path, backend, count, seed=1)
    print(backend, dict(counts), *wrong, sep="\n")
    assert wrong == []
    assert counts["ok"] >= 1


@pytest.mark.faults
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("backend", "count"), [("llamacpp", 10), ("torch", 4)])
def test_runs_of_many_hostile_models_measure_the_good_one(tmp_path: Path, backend: str, count: int) -> None:
    test_a_run_of_some_hostile_models_measures_the_good_one(tmp_path, backend, count)


def test_some_hostile_models_are_read_or_refused(tmp_path: Path) -> None:
    _hold(tmp_path, count=80, seed=4)


@pytest.mark.faults
@pytest.mark.timeout(1200)
def test_a_thousand_hostile_models_are_read_or_refused(tmp_path: Path) -> None:
    _hold(tmp_path, count=1000, seed=2)
