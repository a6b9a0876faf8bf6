"""The shipped profile ``families``: each tiny architecture of the catalogue, on every runtime."""

from __future__ import annotations

import tomllib
from pathlib import Path

import joulebench_profiles
from joulebench.models.catalogue import read_catalogue
from joulebench.plan.planner import make_plan
from joulebench.profile.reading import read_profile
from joulebench.profile.shipped import find_profile
from joulebench.registry.loading import default_registry
from joulebench_plugins.onnx.shape import unfit_reason

FOLDER = Path(joulebench_profiles.__file__).parent


def test_every_family_is_planned_on_every_runtime_and_runs_on_torch() -> None:
    registry = default_registry()
    folders = registry.profile_dirs()
    catalogue = read_catalogue(folders)
    profile = read_profile(find_profile("families", folders))
    plan = make_plan(profile, registry, catalogue, folders)
    own = tomllib.loads((FOLDER / "models" / "families.toml").read_text(encoding="utf-8"))["shape"]
    assert {model.plugin.removeprefix("shape:") for model in profile.models} == set(own)
    assert len(own) >= 40
    assert {cell.reason for cell in plan.cells if cell.backend == "torch" and not cell.runnable} == set()
    assert len(plan.cells) == len(own) * len({cell.backend for cell in plan.cells})


def test_a_family_takes_what_it_does_not_say_from_the_shape_that_it_is_like() -> None:
    shapes = read_catalogue([FOLDER]).shapes
    assert shapes["tiny-qwen3"].config["hidden_size"] == shapes["tiny-decoder"].config["hidden_size"]
    assert (
        shapes["tiny-qwen3"].config["tie_word_embeddings"] is not shapes["tiny-decoder"].config["tie_word_embeddings"]
    )
    assert "hidden_act" not in shapes["tiny-gemma"].config


def test_only_a_llama_has_a_llamas_graph_though_others_have_its_keys() -> None:
    shapes = read_catalogue([FOLDER]).shapes
    known = {name for name, shape in shapes.items() if unfit_reason(shape.config) is None}
    assert {shapes[name].config["model_type"] for name in known} == {"llama"}
    assert "tiny-decoder" in known
