"""Plans of shapes: some of their layers as an axis, and what does not fit into memory."""

from __future__ import annotations

from pathlib import Path

import pytest
from matrix_plugins import backend, registry_of, technique

from joulebench.errors import ModelError, ProfileError
from joulebench.models.catalogue import Catalogue
from joulebench.models.shapes import ModelDepth, Shape
from joulebench.plan.cells import Plan
from joulebench.plan.planner import make_plan
from joulebench.profile.reading import parse_profile

#: 100 million parameters in each of 12 layers, 200 in embeddings: 2.8 GB in bfloat16.
CONFIG = {"architectures": ["Big"], "num_hidden_layers": 12, "dtype": "bfloat16", "max_position_embeddings": 100}
CATALOGUE = Catalogue({}, {"big": Shape("big", "", CONFIG, 1_400_000_000, 100_000_000)}, {})
WORK = "[backend.a]\n[workload.work]\n"


def plan_of(model: str, body: str = WORK, *, agreement: str = "") -> Plan:
    profile = parse_profile(f"version = 1\n[model.m]\n{model}\n{body}{agreement}", "p.toml", Path("/"))
    made = registry_of(backend("a", capabilities=("generate", "logits")), technique("squeeze"))
    return make_plan(profile, made, CATALOGUE, [])


def fault_of(model: str, body: str = WORK) -> str:
    (cell,) = plan_of(model, body).cells
    assert cell.reason_kind in (None, "memory")
    return cell.reason or ""


def test_layers_are_an_axis_and_each_number_is_a_model() -> None:
    plan = plan_of('source = "shape:big"\nlayers = [2, 4, 12]')
    assert [cell.model for cell in plan.cells] == ["m layers=2", "m layers=4", "m layers=12"]
    assert plan.cells[0].model_source == "shape:big?layers=2"
    assert plan.cells[0].depth == ModelDepth("big", 2, 12)
    assert plan.to_json()["cells"][0]["depth"] == {"shape": "big", "layers": 2, "whole": 12}  # type: ignore[index]
    assert plan_of('source = "shape:big"').cells[0].depth == ModelDepth("big", 12, 12)


def test_one_number_of_layers_is_no_list() -> None:
    (cell,) = plan_of('source = "shape:big#7"\nlayers = 2').cells
    assert cell.model_source == "shape:big?layers=2#7"


@pytest.mark.parametrize("layers", ["[]", "0", "[2, 2]", "true", '"all"', "[1.5]"])
def test_what_is_no_number_of_layers_is_an_error_at_its_key(layers: str) -> None:
    with pytest.raises(ProfileError, match=r"p\.toml:4: model\.m\.layers: "):
        plan_of(f'source = "shape:big"\nlayers = {layers}')


def test_more_layers_than_the_shape_has_are_an_error() -> None:
    with pytest.raises(ModelError, match="has 12 layers, not 13"):
        plan_of('source = "shape:big"\nlayers = 13')


def test_a_model_with_weights_keeps_its_layers() -> None:
    with pytest.raises(ProfileError, match="only a shape"):
        plan_of('source = "path:x"\nlayers = 2')


def test_a_shape_larger_than_the_memory_is_refused_with_the_layers_to_measure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("joulebench.plan.modelnotes.machine_memory_bytes", lambda: 3_000_000_000)
    body = '[backend.a]\ndtype = "float32"\n[workload.work]\n'
    assert fault_of('source = "shape:big"', body) == (
        "too large: 5.6 GB of weights, 3.0 GB of memory on this machine; "
        "layers = [1, 2] measures so many of its layers and extrapolates the whole"
    )
    assert fault_of('source = "shape:big"\nlayers = 4', body) == ""
    # In the type that it is made in it takes half, and the machine nearly has that.
    assert "2.8 GB of weights" in fault_of('source = "shape:big"', '[backend.a]\ndtype = "int8"\n[workload.work]\n')


def test_a_technique_that_makes_it_smaller_needs_only_what_making_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("joulebench.plan.modelnotes.machine_memory_bytes", lambda: 4_000_000_000)
    assert fault_of('source = "shape:big"') != ""
    assert fault_of('source = "shape:big"', f"[technique.squeeze]\n{WORK}") == ""


def test_where_two_layers_do_not_fit_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("joulebench.plan.modelnotes.machine_memory_bytes", lambda: 500_000_000)
    assert fault_of('source = "shape:big"').endswith("not even two of its layers fit")


def test_a_shape_of_unknown_size_is_not_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("joulebench.plan.modelnotes.machine_memory_bytes", lambda: 1)
    (tmp_path / "x.json").write_text('{"architectures": ["Big"], "num_hidden_layers": 2}', "utf-8")
    assert fault_of(f'source = "shape:{tmp_path / "x.json"}"') == ""


def test_a_reference_that_does_not_fit_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("joulebench.plan.modelnotes.machine_memory_bytes", lambda: 3_000_000_000)
    (tmp_path / "prompts.txt").write_text("Hello", "utf-8")
    agreement = f'[agreement]\nprompts = "{tmp_path / "prompts.txt"}"\nreference = {{ backend = "a" }}\n'
    plan = plan_of('source = "shape:big"', agreement=agreement)
    assert (plan.references["m"].reason or "").startswith("too large: 5.6 GB of weights")
