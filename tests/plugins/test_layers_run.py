"""A run of some of a shape's layers, from the profile to the extrapolated whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Cli

pytestmark = pytest.mark.slow

PROFILE = """version = 1

[model.it]
source = "shape:llama-gqa-untied"
layers = [2, 4, 8]

[backend.torch]
threads = 1

[workload.decode]
context = 16
new_tokens = 4

[protocol]
processes = 1
min_blocks = 4
max_blocks = 4
block_s = 0.05
warmup_min_s = 0.1
warmup_max_s = 0.5
idle_s = 0
time_budget_s = 20

[sampler]
calibrate_s = 0.0
"""


def test_layers_are_run_and_the_whole_is_computed_and_held_against_the_measured(cli: Cli, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    (tmp_path / "p.toml").write_text(PROFILE, "utf-8")
    ran = cli("run", str(tmp_path / "p.toml"), "-o", str(tmp_path / "out"), "--no-report", "--quiet")
    assert ran.code == 0, ran.stderr
    (folder,) = (tmp_path / "out").iterdir()
    (made,) = json.loads(cli("extrapolate", str(folder), "--json").stdout)["extrapolations"]
    assert (made["shape"], made["layers"], made["depths"]) == ("llama-gqa-untied", 8, [2, 4])
    quantities = {quantity["name"]: quantity for quantity in made["quantities"]}
    # How near they are is for an idle machine to say, and on a busy one noise may hide what a layer takes.
    assert quantities["time"]["measured"]["unit"] == "s/token"
    for quantity in quantities.values():
        whole = quantity["whole"]
        assert whole["provenance"] == "extrapolated" if whole["value"] is not None else whole["reason_if_null"]
