"""Magnitude, Wanda and SparseGPT on small checkpoints: masks, files, evidence and refusals."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("tokenizers")
from pruning_models import (  # noqa: E402
    SIZES,
    TEXT,
    TYPES,
    make_model,
    pruned,
    reloaded,
    save,
    settings_of,
    tensors_of,
)
from tokenizers import Tokenizer  # noqa: E402

from joulebench.api import Artifact, ArtifactTechnique  # noqa: E402
from joulebench.errors import ArtifactError, ModelError  # noqa: E402
from joulebench.models.making import Transform  # noqa: E402
from joulebench.models.store import Store, hash_content  # noqa: E402
from joulebench_plugins.pruning.evidence import zeros  # noqa: E402
from joulebench_plugins.pruning.unstructured import (  # noqa: E402
    PruneMagnitude,
    PruneSparseGpt,
    PruneWanda,
)
from joulebench_plugins.shared.calibration.text import Calibration, calibration_tokens  # noqa: E402

TECHNIQUES = [PruneMagnitude, PruneWanda, PruneSparseGpt]
MATRICES = (
    "self_attn.q_proj",
    "self_attn.k_proj",
    "self_attn.v_proj",
    "self_attn.o_proj",
    "mlp.gate_proj",
    "mlp.up_proj",
    "mlp.down_proj",
)
CONFIG: Mapping[str, Any] = {"model_type": "llama", **SIZES}


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A text for calibration."""
    file = tmp_path_factory.mktemp("texts") / "calibration.txt"
    file.write_text(TEXT, encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A llama in float32."""
    return save(make_model(), tmp_path_factory.mktemp("models") / "llama")


def inputs_of(model: Any, layer: int, module: str, tokens: list[list[int]]) -> torch.Tensor:
    """What a matrix of transformers' own model sees, (tokens, features)."""
    seen: list[torch.Tensor] = []
    hook = (
        model.model.layers[layer]
        .get_submodule(module)
        .register_forward_pre_hook(lambda _, given: seen.append(given[0].flatten(0, 1)))
    )
    with torch.inference_mode():
        for token in tokens:
            model(input_ids=torch.tensor([token]), use_cache=False)
    hook.remove()
    return torch.cat(seen)


def pruned_matrix(model: Any, module: str) -> torch.Tensor:
    return model.model.layers[0].get_submodule(module).weight.detach()


def test_magnitude_zeroes_the_smallest_of_each_matrix_and_leaves_the_rest_alone(
    source: Path, tmp_path: Path, text: Path
) -> None:
    pruned(PruneMagnitude(), source, tmp_path / "out", text, sparsity=0.3)
    before, after = tensors_of(source), tensors_of(tmp_path / "out")
    assert before.keys() == after.keys()
    for name, matrix in before.items():
        if not name.startswith("model.layers.") or "norm" in name:
            assert torch.equal(after[name], matrix), name
            continue
        limit = matrix.abs().flatten().sort().values[round(0.3 * matrix.numel())]
        assert torch.equal(after[name], torch.where(matrix.abs() < limit, 0, matrix)), name


@pytest.mark.parametrize("kind", TYPES)
def test_wanda_follows_its_formula_with_the_inputs_that_the_pruned_layers_give(
    kind: str, tmp_path: Path, text: Path
) -> None:
    folder = save(make_model(kind), tmp_path / "model")
    pruned(PruneWanda(), folder, tmp_path / "out", text, sparsity=0.5)
    tokens = calibration_tokens(folder, Calibration(text, 6, 24, 0))
    dense, sparse = reloaded(folder), reloaded(tmp_path / "out")
    # In the first layer all inputs are the dense model's, in later ones those of the first matrices
    # are what the pruned model's layers before give.
    judged = [(0, module, dense) for module in MATRICES]
    judged += [(layer, module, sparse) for layer in (1, 2) for module in MATRICES[:3]]
    for layer, module, model in judged:
        weight = dense.model.layers[layer].get_submodule(module).weight.detach()
        norms = inputs_of(model, layer, module, tokens).norm(dim=0)
        scores = weight.abs() * norms
        kept = sparse.model.layers[layer].get_submodule(module).weight.detach()
        limit = scores.sort(dim=1).values[:, scores.shape[1] // 2, None]
        expected = torch.where(scores >= limit, weight, 0)
        # Two sums in another order may swap the two weights at the limit.
        assert float((kept != expected).float().mean()) < 0.002, (layer, module)
        assert torch.equal(kept[kept != 0], weight[kept != 0])
        assert bool(((kept == 0).sum(1) == scores.shape[1] // 2).all())


def test_sparsegpt_keeps_the_products_of_each_first_layer_matrix_better_than_the_others(
    source: Path, tmp_path: Path, text: Path
) -> None:
    models = {}
    for technique in TECHNIQUES:
        pruned(technique(), source, tmp_path / technique.name, text)
        models[technique.name] = reloaded(tmp_path / technique.name)
    dense = reloaded(source)
    tokens = calibration_tokens(source, Calibration(text, 6, 24, 0))
    for module in MATRICES:
        inputs = inputs_of(dense, 0, module, tokens)
        weight = dense.model.layers[0].get_submodule(module).weight.detach()
        errors = {
            name: float((inputs @ (pruned_matrix(model, module) - weight).T).norm()) for name, model in models.items()
        }
        assert errors["prune-sparsegpt"] < errors["prune-wanda"] < errors["prune-magnitude"]


@pytest.mark.parametrize("pattern", ["2:4", "4:8"])
@pytest.mark.parametrize("technique", TECHNIQUES)
def test_a_pattern_holds_in_every_group_of_every_matrix(
    technique: type[ArtifactTechnique], pattern: str, source: Path, tmp_path: Path, text: Path
) -> None:
    evidence = pruned(technique(), source, tmp_path / "out", text, pattern=pattern)
    kept, group = map(int, pattern.split(":"))
    groups = 0
    for name, matrix in tensors_of(tmp_path / "out").items():
        if name.startswith("model.layers.") and "norm" not in name:
            assert bool(((matrix.view(-1, group) != 0).sum(1) == kept).all()), name
            groups += matrix.numel() // group
    assert evidence["pattern_holds"] is True
    assert evidence["pattern_groups"] == groups
    assert evidence["zero_fraction"] == 0.5


@pytest.mark.parametrize("technique", TECHNIQUES)
def test_evidence_is_what_the_files_say(
    technique: type[ArtifactTechnique], source: Path, tmp_path: Path, text: Path
) -> None:
    evidence = pruned(technique(), source, tmp_path / "out", text, sparsity="25%")
    size = (tmp_path / "out" / "model.safetensors").stat().st_size
    parameters = sum(tensor.numel() for tensor in tensors_of(source).values())
    assert evidence["pruned_matrices"] == 21
    assert evidence["zero_fraction_before"] == 0
    for key in ("zero_fraction", "layer_zero_fraction_min", "layer_zero_fraction_max"):
        assert evidence[key] == pytest.approx(0.25, abs=1e-3)
    assert evidence["parameters_before"] == evidence["parameters_after"] == parameters
    assert evidence["weights_bytes_after"] == size
    assert evidence["weights_bytes_before"] == pytest.approx(size, rel=0.01)
    assert "pattern_holds" not in evidence


def test_evidence_is_not_taken_from_what_was_wanted(source: Path, tmp_path: Path, text: Path) -> None:
    from safetensors.torch import save_file

    pruned(PruneMagnitude(), source, tmp_path / "out", text, pattern="2:4")
    tensors = tensors_of(tmp_path / "out")
    tensors["model.layers.2.mlp.down_proj.weight"][-1, -4:] = 1.0
    save_file(tensors, tmp_path / "out" / "model.safetensors")
    evidence = zeros(source, tmp_path / "out", (2, 4))
    assert evidence["pattern_holds"] is False
    assert float(str(evidence["layer_zero_fraction_min"])) < 0.5


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("technique", TECHNIQUES)
def test_the_number_type_on_disk_stays_and_the_model_reloads(
    technique: type[ArtifactTechnique], dtype: str, tmp_path: Path, text: Path
) -> None:
    folder = save(make_model(dtype=dtype), tmp_path / "model")
    (folder / "evil.bin").write_bytes(b"pickle")
    pruned(technique(), folder, tmp_path / "out", text)
    after = tensors_of(tmp_path / "out")
    assert {tensor.dtype for tensor in after.values()} == {getattr(torch, dtype)}
    names = {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    assert {file.name for file in (tmp_path / "out").iterdir()} == names
    logits = reloaded(tmp_path / "out")(input_ids=torch.tensor([[5, 6, 7, 8]])).logits
    assert bool(logits.isfinite().all())


@pytest.mark.parametrize("technique", TECHNIQUES)
def test_a_model_in_several_files_is_pruned_as_in_one(
    technique: type[ArtifactTechnique], source: Path, tmp_path: Path, text: Path
) -> None:
    folder = save(reloaded(source), tmp_path / "model", max_shard_size="60KB")
    assert len(list(folder.glob("*.safetensors"))) > 3
    pruned(technique(), folder, tmp_path / "out", text)
    pruned(technique(), source, tmp_path / "whole", text)
    index = "model.safetensors.index.json"
    before, after = (json.loads((item / index).read_text("utf-8"))["weight_map"] for item in (folder, tmp_path / "out"))
    assert before == after
    several, one = tensors_of(tmp_path / "out"), tensors_of(tmp_path / "whole")
    assert several.keys() == one.keys()
    assert all(torch.equal(several[name], one[name]) for name in one)
    reloaded(tmp_path / "out")


@pytest.mark.parametrize("technique", TECHNIQUES)
def test_twice_the_same_gives_the_same_bytes(
    technique: type[ArtifactTechnique], source: Path, tmp_path: Path, text: Path
) -> None:
    for name in ("first", "second"):
        pruned(technique(), source, tmp_path / name, text)
    assert hash_content(tmp_path / "first") == hash_content(tmp_path / "second")


@pytest.mark.slow
def test_the_store_makes_the_same_artifact_twice_and_another_for_another_text_or_seed(
    source: Path, tmp_path: Path, text: Path
) -> None:
    digest, size = hash_content(source)
    artifact = Artifact("hf", source, digest, size)
    technique = PruneWanda()
    settings = settings_of(technique)

    def made(root: str, file: Path = text, **changed: int) -> str:
        step = Transform(
            "technique", technique.name, "hf", {**settings, **changed}, technique.versions(), {"calibration": file}
        )
        return Store(tmp_path / root).make(artifact, step).artifact.content_hash

    other = tmp_path / "other.txt"
    other.write_text(TEXT[::-1], encoding="utf-8")
    assert made("one") == made("two")
    assert len({made("one"), made("one", other), made("one", seed=1)}) == 3


def test_the_seed_chooses_stretches_that_do_not_overlap(source: Path, text: Path) -> None:
    chosen = [calibration_tokens(source, Calibration(text, 6, 24, seed)) for seed in (0, 0, 1)]
    assert chosen[0] == chosen[1] != chosen[2]
    ids = Tokenizer.from_file(str(source / "tokenizer.json")).encode(TEXT).ids
    stretches = [ids[place : place + 24] for place in range(0, len(ids) - 23, 24)]
    for layer in chosen:
        assert len({stretches.index(stretch) for stretch in layer}) == 6


def test_a_text_that_is_too_short_is_refused_with_its_length(source: Path, tmp_path: Path, text: Path) -> None:
    short = tmp_path / "short.txt"
    short.write_text("the cat sat on the mat", encoding="utf-8")
    technique = PruneWanda()
    with pytest.raises(ArtifactError, match=r"too short .* give 0 sequences of 24, 6 are wanted"):
        technique.apply(source, tmp_path, settings_of(technique, short))
    short.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ArtifactError, match="cannot be read for calibration"):
        technique.apply(source, tmp_path, settings_of(technique, short))


def test_a_model_without_a_tokenizer_needs_no_text_by_magnitude_only(tmp_path: Path, text: Path) -> None:
    make_model().save_pretrained(tmp_path / "model")
    pruned(PruneMagnitude(), tmp_path / "model", tmp_path / "out", text)
    with pytest.raises(ModelError, match=r"no tokenizer\.json"):
        pruned(PruneWanda(), tmp_path / "model", tmp_path / "wanda", text)


def test_an_index_that_leads_out_of_its_folder_is_refused(source: Path, tmp_path: Path, text: Path) -> None:
    folder = save(reloaded(source), tmp_path / "model", max_shard_size="60KB")
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "../llama/model.safetensors"}}), "utf-8")
    with pytest.raises(ModelError, match="outside the folder"):
        pruned(PruneMagnitude(), folder, tmp_path / "out", text)


@pytest.mark.parametrize(
    ("technique", "given", "config", "reason"),
    [
        (PruneMagnitude, {"pattern": "2:4", "sparsity": 0.6}, {}, "2:4 is a sparsity of 50%, not"),
        (PruneMagnitude, {"pattern": "4:8"}, {"intermediate_size": 164}, "not divide .* 164 wide"),
        (
            PruneMagnitude,
            {"pattern": "2:4"},
            {"head_dim": 3, "num_attention_heads": 2, "num_key_value_heads": 2},
            "not divide .* 6 wide",
        ),
        (PruneMagnitude, {"pattern": "4:8"}, {"model_type": "gpt2", "hidden_size": 60}, "not divide .* 60 wide"),
        (PruneMagnitude, {}, {"hidden_size": "wide"}, "no usable 'hidden_size'"),
        (PruneMagnitude, {}, {"quantization_config": {"bits": 4}}, "quantized already"),
        (PruneWanda, {"calibration": "builtin:evaluation"}, {}, "for judging a model"),
        (PruneWanda, {"length": 129}, {}, "longer than the model's context of 128"),
        (PruneSparseGpt, {"length": 129}, {"max_position_embeddings": None, "n_positions": 128}, "context of 128"),
    ],
)
def test_what_does_not_fit_is_said_in_a_line_before_anything_starts(
    technique: type[ArtifactTechnique], given: dict[str, Any], config: dict[str, Any], reason: str
) -> None:
    import re

    fault = technique().check(settings_of(technique(), **given), {**CONFIG, **config})
    assert fault is not None
    assert re.search(reason, fault)
    assert "\n" not in fault


@pytest.mark.parametrize("sparsity", [0, 1, -0.5, 1.5])
def test_a_sparsity_outside_of_0_to_1_is_no_setting(sparsity: float) -> None:
    from joulebench.errors import ProfileError

    with pytest.raises(ProfileError, match=r"is (below the minimum|above the maximum)"):
        settings_of(PruneMagnitude(), sparsity=sparsity)
