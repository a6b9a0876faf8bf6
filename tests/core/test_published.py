"""Published models: the survey's numbers computed again, and how each runs on a machine."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from joulebench.errors import ModelError
from joulebench.models.catalogue import Catalogue, read_catalogue, resolve_model
from joulebench.models.hubcache import NAME
from joulebench.models.published import PublishedModel, alscore
from joulebench.plan.feasibility import FeasibilityJudge
from joulebench.registry.loading import default_registry

if TYPE_CHECKING:
    from conftest import Cli

#: So much may a survey's rounded number differ from the published one without a word.
_ROUNDING = 0.05


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return read_catalogue(default_registry().profile_dirs())


def test_the_alscore_is_of_billions() -> None:
    assert alscore(7, 6000) == pytest.approx(math.sqrt(42_000) / 300)
    assert alscore(None, 6000) is None


def test_table_1_is_whole_and_in_the_surveys_units(catalogue: Catalogue) -> None:
    rows = {model.title: model.survey for model in catalogue.published.values() if model.survey is not None}
    assert len(rows) == 22
    assert (rows["OPT"].parameters_b, rows["OPT"].tokens_b) == (175, 300)
    assert (rows["Phi-3.5-MoE"].parameters_b, rows["Qwen2.5"].tokens_b) == (60, 18000)


def test_where_print_and_arithmetic_differ_it_is_said(catalogue: Catalogue) -> None:
    opt = catalogue.published["opt-175b"]
    assert opt.survey is not None
    assert opt.survey.ratio == "1:71"
    assert opt.survey_ratio == pytest.approx(1.714, abs=1e-3)
    assert any("1:71" in note for note in opt.notes)


def test_where_the_survey_differs_from_the_papers_a_note_says_why(catalogue: Catalogue) -> None:
    unexplained = []
    for model in catalogue.published.values():
        pairs = []
        if model.survey is not None:
            pairs = [(model.survey.parameters_b, model.parameters_b), (model.survey.tokens_b, model.tokens_b)]
        differs = any(ours is None or abs(theirs / ours - 1) > _ROUNDING for theirs, ours in pairs)
        if differs and not model.notes:
            unexplained.append(model.name)
    assert unexplained == []


def test_the_two_rows_of_qwen_are_one(catalogue: Catalogue) -> None:
    first, second = catalogue.published["qwen-72b"], catalogue.published["qwen2.5-72b"]
    assert first.survey == second.survey
    assert (first.tokens_b, second.tokens_b) == (3000, 18000)


def test_every_model_has_sources_a_hub_name_or_none_and_a_shape_or_why_not(catalogue: Catalogue) -> None:
    for model in catalogue.published.values():
        assert model.sources, model.name
        assert model.hub is None or NAME.fullmatch(model.hub), model.name
        assert (model.shape is None) != (model.without_shape is None), model.name
        assert model.shape is None or model.shape in catalogue.shapes, model.name


@pytest.mark.parametrize(
    "entry", [{}, {"kind": "rocket"}, {"kind": "decoder", "title": "x", "unknown": 1}], ids=["empty", "kind", "key"]
)
def test_a_damaged_entry_is_no_model(entry: Mapping[str, object]) -> None:
    with pytest.raises((KeyError, TypeError)):
        PublishedModel.of("x", entry)


def test_a_model_that_does_not_fit_is_extrapolated_and_a_smaller_one_is_not(
    catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("joulebench.plan.feasibility.machine_memory_bytes", lambda: 24 * 2**30)
    judge = FeasibilityJudge(default_registry(), catalogue)
    large, small = judge.judge(catalogue.published["qwen2.5-72b"]), judge.judge(catalogue.published["smollm-1.7b"])
    if not small.runtimes:
        pytest.skip("no runtime is installed")
    assert (large.way, small.way) == ("extrapolated", "shape")
    assert large.layers is not None
    assert large.command is not None
    assert f"'model.it.layers=[{large.layers[0]}, {large.layers[1]}]'" in large.command
    assert small.command == "joulebench run one --set model.it.source=shape:smollm-1.7b"


def test_weights_that_a_client_of_the_hub_has_fetched_are_used(
    catalogue: Catalogue, cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    model = catalogue.published["smollm-1.7b"]
    folder = tmp_path / "models--HuggingFaceTB--SmolLM-1.7B"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("abc")
    (folder / "snapshots" / "abc").mkdir(parents=True)
    for name in ("config.json", "model.safetensors"):
        (folder / "snapshots" / "abc" / name).write_text("{}")
    assert FeasibilityJudge(default_registry(), catalogue).judge(model).way == "weights"
    assert FeasibilityJudge(default_registry(), catalogue).judge(catalogue.published["qwen-72b"]).way != "weights"


def test_the_list_has_the_surveys_numbers_beside_ours(cli: Cli) -> None:
    answer = cli("models", "list", "--table1")
    assert answer.code == 0
    (line,) = [line for line in answer.stdout.splitlines() if line.startswith("opt-175b")]
    assert "1.71 (printed 1:71)" in line
    assert re.search(r"\b0\.764\b", line)
    assert "shape:tiny-llama" not in answer.stdout


@pytest.mark.parametrize(("kind", "key"), [("encoder", "published"), ("shape", "shapes"), ("text", "texts")])
def test_a_kind_is_listed_alone(cli: Cli, kind: str, key: str) -> None:
    listed = json.loads(cli("models", "list", "--kind", kind, "--json").stdout)
    assert list(listed) == [key]
    assert listed[key]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("phi-2", "shape:phi-2 has its size"),
        ("phi-2", "models pin microsoft/phi-2"),
        ("evabyte", "models show evabyte"),
    ],
)
def test_as_a_source_a_published_model_says_what_to_name(catalogue: Catalogue, name: str, words: str) -> None:
    with pytest.raises(ModelError, match="brings no weights") as caught:
        resolve_model(name, catalogue, Path())
    assert words in (caught.value.hint or "")


def test_a_published_checkpoint_is_planned_by_its_shape_before_it_is_fetched(
    catalogue: Catalogue, cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    ref = resolve_model("hf:EleutherAI/pythia-12b@main", catalogue, Path())
    assert (ref.fetched, ref.architecture) == (False, "GPTNeoXForCausalLM")
    assert ref.weights_bytes == catalogue.shapes["pythia-12b"].size_bytes
    # One that brings code of its own may be anything.
    assert resolve_model("hf:Qwen/Qwen-72B@main", catalogue, Path()).config is None


def test_a_plan_says_what_is_unknown_of_a_model_that_is_not_fetched(cli: Cli) -> None:
    answer = cli("plan", "one", "--set", "model.it.source=hf:acme/absent@main")
    assert answer.code == 0
    lines = answer.stdout.splitlines()
    assert any(line.startswith("  ?     torch") for line in lines) or "not installed" in answer.stdout
    assert "unknown until 'joulebench models fetch hf:acme/absent@main'" in answer.stdout
    assert not any(line.startswith("  run ") for line in lines)


def test_a_published_model_is_shown_with_its_sources_and_what_measures_it(cli: Cli) -> None:
    answer = cli("models", "show", "phi-2")
    assert answer.code == 0
    for words in ("MIT", "microsoft/phi-2", "model card", "alscore", "runs.why"):
        assert words in answer.stdout
    facts = json.loads(cli("models", "show", "evabyte", "--json").stdout)
    assert facts["alscore"] is None
    assert facts["runs"]["way"] == "not here"
