"""The KV techniques in a plan and in a run: reasons, evidence, quality that sees them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from joulebench.models.catalogue import read_catalogue
from joulebench.plan.cells import Plan
from joulebench.plan.planner import make_plan
from joulebench.profile.reading import parse_profile
from joulebench.registry.loading import default_registry

if TYPE_CHECKING:
    from conftest import Cli

pytest.importorskip("torch")
pytest.importorskip("transformers")

PROFILE = """
version = 1
[model.small]
source = "shape:tiny-llama"
[workload.decode]
context = 64
new_tokens = 4
"""


def plan_of(body: str) -> Plan:
    registry = default_registry()
    folders = registry.profile_dirs()
    profile = parse_profile(PROFILE + body, "test.toml", Path.cwd())
    return make_plan(profile, registry, read_catalogue(folders), folders)


def reasons(body: str) -> dict[str, str | None]:
    return {f"{cell.backend} {cell.technique}": cell.reason for cell in plan_of(body).cells}


def test_a_runtime_without_the_capability_is_skipped_and_the_reason_names_it() -> None:
    refusals = reasons("[backend.onnx]\n[backend.llamacpp]\n[technique.kv-tova]\n")
    assert "needs the capability 'kv.evict'" in (refusals["onnx kv-tova"] or "")
    assert "needs the capability 'kv.evict'" in (refusals["llamacpp kv-tova"] or "")


def test_bits_that_a_runtime_has_no_type_for_are_a_reason() -> None:
    body = "[backend.torch]\n[backend.llamacpp]\n" + "".join(
        f'[technique.b{bits}]\nname = "kv-quantize"\nbits = {bits}\n' for bits in (8, 5, 4, 2)
    )
    results = {name: reason for name, reason in reasons(body).items() if "not installed" not in (reason or "")}
    assert results["torch b8"] is results["torch b4"] is results["torch b2"] is None
    assert results["torch b5"] == (
        "technique 'kv-quantize' sets 'kv_bits' for backend 'torch': 5 is not one of: 8, 4, 2"
    )
    if not default_registry().backend("llamacpp").available().ok:
        pytest.skip("no binding of llama.cpp is installed")
    assert "2 is not one of: 8, 5, 4" in (results["llamacpp b2"] or "")


def test_an_option_that_a_runtime_does_not_have_is_a_reason() -> None:
    refusals = reasons("[backend.llamacpp]\n[technique.kv-quantize]\ngroup = 64\n")
    reason = refusals["llamacpp kv-quantize"] or ""
    assert "which backend 'llamacpp' does not have" in reason or "not installed" in reason


def test_settings_that_do_not_go_together_are_a_reason() -> None:
    refusals = reasons('[backend.torch]\ncache = "static"\n[technique.kv-h2o]\n')
    assert refusals["torch kv-h2o"] == "kv_policy and kv_bits need cache = 'dynamic'"
    refusals = reasons("[backend.torch]\n[technique.kv-snapkv]\nbudget = 20\n")
    assert "nothing to choose" in (refusals["torch kv-snapkv"] or "")


def test_two_techniques_for_one_cache_are_a_reason() -> None:
    refusals = reasons('[backend.torch]\n[technique.both]\nsteps = [{ name = "kv-quantize" }, { name = "kv-h2o" }]\n')
    assert refusals["torch both"] == "kv_policy and kv_bits cannot be combined"


def test_the_shipped_profile_plans_every_cell_that_this_machine_can_run() -> None:
    registry = default_registry()
    folders = registry.profile_dirs()
    file = next(folder / "kv-long.toml" for folder in folders if (folder / "kv-long.toml").is_file())
    profile = parse_profile(file.read_text("utf-8"), str(file), file.parent)
    plan = make_plan(profile, registry, read_catalogue(folders), folders)
    mine = [cell for cell in plan.cells if cell.backend == "torch"]
    assert {cell.technique for cell in mine} >= {
        "none",
        "kv-8-bit",
        "kv-4-bit",
        "kv-2-bit",
        "window",
        "snapkv",
        "h2o",
        "tova",
    }
    assert all(cell.reason is None for cell in mine)
    assert profile.quality is not None
    # Else nothing would be evicted while quality is judged.
    budgets = [step.settings["budget"] for cell in mine for step in cell.runtime_steps if "budget" in step.settings]
    assert budgets
    assert profile.quality.window > max(budgets)


@pytest.mark.slow
def test_a_run_has_evidence_and_a_quality_that_sees_the_technique(
    cli: Cli, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    from joulebench.session import Session

    text = tmp_path / "text.txt"
    text.write_text("".join(f"line {i * i % 97} of the tale says {i % 13}. " for i in range(400)))
    profile = tmp_path / "kv.toml"
    profile.write_text(f"""
version = 1
[model.tiny]
source = "path:{tiny_checkpoint}"
[backend.torch]
threads = 1
[technique.none]
[technique.kv-h2o]
budget = 40
[technique.kv-quantize]
bits = 2
residual = 16
[technique.contextual-sparsity]
active = "30%"
[workload.decode]
text = "{text}"
context = 120
new_tokens = 8
[protocol]
processes = 1
min_blocks = 1
max_blocks = 1
requests_per_block = 1
warmup_min_s = 0
warmup_requests = 1
idle_s = 0
[sampler]
calibrate_s = 0.0
[quality]
text = "{text}"
tokens = 400
window = 200
""")
    answer = cli("run", profile, "--output", tmp_path / "out")
    assert answer.code == 0, answer.stderr
    (folder,) = (tmp_path / "out").iterdir()
    cells = {row["technique"]: row for row in Session(folder).cells().to_pylist()}
    assert {name: row["status"] for name, row in cells.items()} == dict.fromkeys(
        ("none", "kv-h2o", "kv-quantize", "contextual-sparsity"), "ok"
    )
    quality = {name: json.loads(row["quality_json"])["perplexity"] for name, row in cells.items()}
    evidence = {name: json.loads(row["evidence_json"])[name] for name, row in cells.items() if name != "none"}
    assert len(set(quality.values())) == len(quality)
    for name in ("kv-h2o", "kv-quantize"):
        told = evidence[name]
        assert told["kv_tokens_seen"] == 128
        assert told["kv_claimed_bytes"] == told["kv_used_bytes"] < told["kv_full_bytes"]
        assert told["kv_full_bytes"] == cells["none"]["kv_used_bytes"]
        assert cells[name]["kv_used_bytes"] == told["kv_used_bytes"]
        assert cells[name]["token_kv_bytes"] is None
    # The text that thresholds are from was found for the worker.
    assert 0.1 < evidence["contextual-sparsity"]["active_share_mean"] < 0.6
