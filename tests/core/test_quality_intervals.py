"""Quality of cells with intervals, in a real run of a tiny model."""

from __future__ import annotations

import json
import math
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

pytestmark = pytest.mark.slow

PROFILE = """
version = 1
[model.tiny]
source = "path:{model}"
[technique.none]
[technique.prune-magnitude]
sparsity = "60%"
[backend.torch]
threads = 1
[workload.generate]
prompts = "builtin:short"
new_tokens = 4
[quality]
tokens = 300
window = 32
[agreement]
reference = {{ backend = "torch" }}
count = 8
tokens = 12
[protocol]
processes = 1
min_blocks = 3
max_blocks = 3
block_s = 0.02
idle_s = 0
warmup_min_s = 0
steady = 10
[sampler]
calibrate_s = 0
"""


@pytest.fixture(scope="module")
def rows(tiny_checkpoint: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Rows of the cells by technique."""
    folder = tmp_path_factory.mktemp("intervals")
    (folder / "p.toml").write_text(PROFILE.format(model=tiny_checkpoint))
    subprocess.run(
        [sys.executable, "-m", "joulebench", "run", "p.toml", "--no-report", "--quiet"],
        cwd=folder,
        check=True,
        env={**os.environ, CACHE_VARIABLE: str(cache)},
    )
    (session,) = (folder / "sessions").iterdir()
    return {row["technique"]: row for row in Session(session).cells().to_pylist()}


def test_windows_add_up_to_the_perplexity(rows: dict[str, dict[str, Any]]) -> None:
    quality = json.loads(rows["prune-magnitude"]["quality_json"])
    windows = quality["windows"]
    assert [tokens for _, tokens in windows] == [31] * 9 + [11]
    total = sum(nats for nats, _ in windows) / sum(tokens for _, tokens in windows)
    assert quality["perplexity"] == pytest.approx(math.exp(total))


def test_the_uncompressed_cell_is_the_reference_itself(rows: dict[str, dict[str, Any]]) -> None:
    document = json.loads(rows["none"]["agreement_json"])
    assert document["text_perplexity_ratio"] == 1.0
    assert document["intervals"]["text_perplexity_ratio"] == [1.0, 1.0]
    assert document["intervals"]["kl_nats_mean"] == [0.0, 0.0]
    low, high = document["intervals"]["agreed_share"]
    assert high == 1.0
    assert 0.5 < low < 0.7  # eight answers say little of answers that nobody has seen


def test_a_pruned_cell_s_figures_lie_in_their_intervals(rows: dict[str, dict[str, Any]]) -> None:
    document = json.loads(rows["prune-magnitude"]["agreement_json"])
    assert set(document["intervals"]) == {
        "agreed_share",
        "top1_share",
        "kl_nats_mean",
        "perplexity_ratio",
        "text_perplexity_ratio",
    }
    for name in ("top1_share", "kl_nats_mean", "perplexity_ratio", "text_perplexity_ratio"):
        low, high = document["intervals"][name]
        assert low <= document[name] <= high
        assert low < high
    assert document["kl_nats_mean"] > 0
