"""The agreement check on a real runtime: float32 and bfloat16 of one tiny checkpoint."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from joulebench.backendkit import CACHE_VARIABLE
from joulebench.session import Session

pytestmark = pytest.mark.slow  # four times torch; test_agreement_run.py has each rule on the toy runtime

PROFILE = """
version = 1
[model.tiny]
source = "path:{model}"
[backend.torch]
dtype = ["float32", "bfloat16"]
attention = ["sdpa", "eager"]
threads = 1
[[include]]
dtype = "float32"
attention = "eager"
[[include]]
dtype = "bfloat16"
attention = "sdpa"
[workload.generate]
prompts = "builtin:short"
new_tokens = 4
[quality]
tokens = 64
window = 32
[agreement]
reference = {{ backend = "torch", dtype = "float32", attention = "sdpa" }}
count = 3
tokens = 12
[protocol]
processes = 1
min_blocks = 2
max_blocks = 2
block_s = 0.02
idle_s = 0
warmup_min_s = 0
steady = 10
[sampler]
calibrate_s = 0
"""


@pytest.fixture(scope="module")
def cells(tiny_checkpoint: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Rows by number type. The reference, float32 with the other kernel, is not measured itself."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "p.toml").write_text(PROFILE.format(model=tiny_checkpoint))
    done = subprocess.run(
        [sys.executable, "-m", "joulebench", "run", "p.toml", "--output", "out", "--no-report"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
        env={**os.environ, CACHE_VARIABLE: str(cache)},
    )
    assert done.returncode == 0, done.stderr
    (session,) = (folder / "out").iterdir()
    return {
        json.loads(row["settings_json"])["backend"]["dtype"]: {**row, "agreement": json.loads(row["agreement_json"])}
        for row in Session(session).cells().to_pylist()
    }


def test_float32_agrees_with_itself_on_another_kernel(cells: dict[str, dict[str, Any]]) -> None:
    cell = cells["float32"]
    agreement = cell["agreement"]
    assert agreement["agreed_tokens"] == agreement["compared_tokens"] > 0
    assert agreement["top1_share"] == 1.0
    assert 0 <= agreement["kl_nats_mean"] <= agreement["kl_nats_max"] < 1e-8
    assert agreement["perplexity_ratio"] == pytest.approx(1, abs=1e-5)
    assert agreement["text_perplexity_ratio"] == pytest.approx(1, abs=1e-5)
    assert (agreement["held"], agreement["disagrees"]) == (True, [])
    assert "disagrees" not in cell["flags"]


def test_bfloat16_differs_by_what_its_rounding_makes_and_is_not_flagged(cells: dict[str, dict[str, Any]]) -> None:
    cell = cells["bfloat16"]
    agreement = cell["agreement"]
    assert agreement["kl_nats_mean"] > 100 * cells["float32"]["agreement"]["kl_nats_mean"]
    assert agreement["text_perplexity_ratio"] != 1.0
    assert not agreement["held"]
    assert "disagrees" not in cell["flags"]


def test_prompts_are_the_file_s_through_the_tokenizer(cells: dict[str, dict[str, Any]]) -> None:
    about = cells["float32"]["agreement"]["reference"]
    assert about["random_prompts"] is False
    assert about["label"] == "torch float32 sdpa"
    assert about["smallest_gap"] > 0
