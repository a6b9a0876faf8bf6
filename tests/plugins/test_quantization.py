"""Quantized checkpoints of small models: numbers, equivalence, evidence, chains, refusals."""

from __future__ import annotations

import json
import re
import shutil
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

from joulebench.api import ArtifactTechnique  # noqa: E402
from joulebench.errors import ModelError  # noqa: E402
from joulebench.models.store import hash_content  # noqa: E402
from joulebench_plugins.pruning.structured import PruneStructured  # noqa: E402
from joulebench_plugins.pruning.unstructured import PruneMagnitude, PruneSparseGpt  # noqa: E402
from joulebench_plugins.quantization.equivalent import (  # noqa: E402
    QuantizeAwq,
    QuantizeRotate,
    QuantizeSmoothQuant,
)
from joulebench_plugins.quantization.grid import Grid, round_to_nearest  # noqa: E402
from joulebench_plugins.quantization.techniques import (  # noqa: E402
    QuantizeGptq,
    QuantizeRtn,
    QuantizeZeroQuant,
)
from joulebench_plugins.shared.calibration.text import Calibration, calibration_tokens  # noqa: E402
from joulebench_plugins.shared.tensors.integers import (  # noqa: E402
    FOLDER,
    INTEGERS_FILE,
    SCHEME_FILE,
    IntegerFile,
)

TECHNIQUES: list[tuple[type[ArtifactTechnique], dict[str, Any]]] = [
    (QuantizeRtn, {}),
    (QuantizeZeroQuant, {"group": 32}),
    (QuantizeGptq, {}),
    (QuantizeGptq, {"act_order": False, "clip": "search"}),
    (QuantizeAwq, {}),
    (QuantizeSmoothQuant, {}),
    (QuantizeRotate, {}),
    (QuantizeRotate, {"rounding": "gptq", "rotation": "orthogonal"}),
]
EQUIVALENT = (QuantizeAwq, QuantizeSmoothQuant, QuantizeRotate)
CONFIG: Mapping[str, Any] = {"model_type": "llama", **SIZES}
MATRICES = 21
IDS = [[5, 17, 200, 31, 90, 7, 311, 42, 8, 9, 133, 70]]


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A text for calibration."""
    file = tmp_path_factory.mktemp("texts") / "calibration.txt"
    file.write_text(TEXT, encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A llama in bfloat16."""
    model = make_model(dtype="bfloat16")
    return save(model, tmp_path_factory.mktemp("models") / "llama")


def logits_of(folder: Path) -> torch.Tensor:
    with torch.inference_mode():
        return reloaded(folder)(input_ids=torch.tensor(IDS)).logits


def is_matrix(name: str) -> bool:
    return name.startswith("model.layers.") and "norm" not in name and name.endswith("weight")


# -- what is written --------------------------------------------------------------------------


@pytest.mark.parametrize(("technique", "given"), TECHNIQUES)
def test_the_weights_are_their_integers_times_their_scales_exactly(
    technique: type[ArtifactTechnique], given: dict[str, Any], source: Path, tmp_path: Path, text: Path
) -> None:
    evidence = pruned(technique(), source, tmp_path / "out", text, **given)
    integers = IntegerFile.beside(tmp_path / "out")
    assert integers is not None
    after = tensors_of(tmp_path / "out")
    assert set(integers.matrices) == {name for name in after if is_matrix(name)}
    for name in integers.matrices:
        matrix = integers.matrix(name)
        dense = torch.tensor(matrix.integers).float() * torch.tensor(matrix.scales).float().repeat_interleave(
            matrix.group, 1
        )
        assert after[name].dtype == torch.float32
        assert torch.equal(after[name], dense), name
    assert evidence["quantized_matrices"] == MATRICES
    assert evidence["integers_give_weights"] is True
    assert bool(logits_of(tmp_path / "out").isfinite().all())
    config = json.loads((tmp_path / "out" / "config.json").read_text("utf-8"))
    assert config["dtype"] == "float32", "so that nothing rounds the products when it loads them"


@pytest.mark.parametrize("bits", [8, 4, 3, 2])
def test_rtn_rounds_each_matrix_to_nearest_and_leaves_the_rest_alone(
    bits: int, source: Path, tmp_path: Path, text: Path
) -> None:
    pruned(QuantizeRtn(), source, tmp_path / "out", text, bits=bits, group=32)
    before, after = tensors_of(source), tensors_of(tmp_path / "out")
    assert before.keys() == after.keys()
    for name, matrix in before.items():
        if is_matrix(name):
            expected = round_to_nearest(matrix.float(), Grid(bits, 32)).dense()
            assert torch.equal(after[name], expected), name
        else:
            assert after[name].dtype == torch.bfloat16
            assert torch.equal(after[name], matrix), name
    names = {
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        FOLDER,
    }
    assert {file.name for file in (tmp_path / "out").iterdir()} == names


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("technique", EQUIVALENT)
def test_without_rounding_the_model_computes_what_it_did(
    technique: type[ArtifactTechnique], kind: str, tmp_path: Path, text: Path
) -> None:
    model = save(make_model(kind), tmp_path / "model")
    evidence = pruned(technique(), model, tmp_path / "out", text, rounding="none")
    before, after = logits_of(model), logits_of(tmp_path / "out")
    assert float((after - before).abs().max()) < 2e-3 * float(before.abs().max())
    assert evidence["quantized_matrices"] == 0
    assert evidence["bits_per_weight"] is None
    assert IntegerFile.beside(tmp_path / "out") is None
    old, new = tensors_of(model), tensors_of(tmp_path / "out")
    changed = [name for name in new if is_matrix(name) and not torch.equal(old[name], new[name])]
    assert len(changed) > MATRICES // 2, "its weights are others all the same"


def test_a_rotation_of_the_stream_alone_leaves_the_values_as_they_were(
    source: Path, tmp_path: Path, text: Path
) -> None:
    for name, heads in (("with", True), ("without", False)):
        pruned(QuantizeRotate(), source, tmp_path / name, text, rounding="none", heads=heads)
    both, stream = tensors_of(tmp_path / "with"), tensors_of(tmp_path / "without")
    parted = {name for name in both if not torch.equal(both[name], stream[name])}
    assert {name.split(".", 3)[3] for name in parted if name.startswith("model.layers.")} == {
        "self_attn.v_proj.weight",
        "self_attn.o_proj.weight",
    }


def test_a_rotated_head_is_untied_and_the_norms_are_ones(source: Path, tmp_path: Path, text: Path) -> None:
    pruned(QuantizeRotate(), source, tmp_path / "out", text)
    config = json.loads((tmp_path / "out" / "config.json").read_text("utf-8"))
    after = tensors_of(tmp_path / "out")
    assert config["tie_word_embeddings"] is False
    assert not torch.equal(after["lm_head.weight"], after["model.embed_tokens.weight"])
    assert all(bool((after[name] == 1).all()) for name in after if "norm" in name)


def test_smoothquant_scales_follow_the_paper_s_formula(source: Path, tmp_path: Path, text: Path) -> None:
    pruned(QuantizeSmoothQuant(), source, tmp_path / "out", text, rounding="none", strength=0.4)
    before, after = tensors_of(source), tensors_of(tmp_path / "out")
    model = reloaded(source)
    largest: list[torch.Tensor] = []
    hook = model.model.layers[0].self_attn.q_proj.register_forward_pre_hook(
        lambda _, given: largest.append(given[0].abs().flatten(0, 1).amax(0))
    )
    with torch.inference_mode():
        for token in calibration_tokens(source, Calibration(text, 6, 24, 0)):
            model(input_ids=torch.tensor([token]), use_cache=False)
    hook.remove()
    prefix = "model.layers.0.self_attn"
    weights = torch.cat([before[f"{prefix}.{letter}_proj.weight"].float() for letter in "qkv"])
    scale = torch.stack(largest).amax(0) ** 0.4 / weights.abs().amax(0) ** 0.6
    norm = "model.layers.0.input_layernorm.weight"
    torch.testing.assert_close(after[norm], before[norm].float() / scale, rtol=1e-4, atol=1e-6)
    name = f"{prefix}.q_proj.weight"
    torch.testing.assert_close(after[name], before[name].float() * scale, rtol=1e-4, atol=1e-6)
    for name in ("self_attn.o_proj.weight", "mlp.down_proj.weight"):
        whole = f"model.layers.0.{name}"
        assert torch.equal(after[whole], before[whole]), "no norm feeds it"


def test_gptq_and_awq_keep_the_products_of_the_first_layer_better_than_rounding(
    source: Path, tmp_path: Path, text: Path
) -> None:
    dense = reloaded(source)
    tokens = calibration_tokens(source, Calibration(text, 6, 24, 0))

    def outputs(model: Any) -> torch.Tensor:
        with torch.inference_mode():
            return torch.cat(
                [
                    model(input_ids=torch.tensor([token]), output_hidden_states=True).hidden_states[1][0]
                    for token in tokens
                ]
            )

    exact = outputs(dense)
    errors = {}
    for technique in (QuantizeRtn, QuantizeGptq, QuantizeAwq):
        pruned(technique(), source, tmp_path / technique.name, text, bits=3, group=32)
        errors[technique.name] = float((outputs(reloaded(tmp_path / technique.name)) - exact).norm())
    assert errors["quantize-gptq"] < 0.9 * errors["quantize-rtn"]
    assert errors["quantize-awq"] < 0.95 * errors["quantize-rtn"]


@pytest.mark.parametrize(("technique", "given"), TECHNIQUES)
def test_twice_the_same_gives_the_same_bytes(
    technique: type[ArtifactTechnique], given: dict[str, Any], source: Path, tmp_path: Path, text: Path
) -> None:
    for name in ("first", "second"):
        pruned(technique(), source, tmp_path / name, text, **given)
    assert hash_content(tmp_path / "first") == hash_content(tmp_path / "second")


def test_a_model_in_several_files_is_quantized_as_in_one(source: Path, tmp_path: Path, text: Path) -> None:
    folder = save(make_model(dtype="bfloat16"), tmp_path / "model", max_shard_size="60KB")
    assert len(list(folder.glob("*.safetensors"))) > 2
    pruned(QuantizeRotate(), folder, tmp_path / "out", text)
    pruned(QuantizeRotate(), source, tmp_path / "whole", text)
    several, one = tensors_of(tmp_path / "out"), tensors_of(tmp_path / "whole")
    assert several.keys() == one.keys()
    assert all(torch.equal(several[name], one[name]) for name in one)
    reloaded(tmp_path / "out")


def test_the_embedding_is_rounded_where_that_is_asked_for(source: Path, tmp_path: Path, text: Path) -> None:
    evidence = pruned(QuantizeRtn(), source, tmp_path / "out", text, bits=4, embedding="int8")
    integers = IntegerFile.beside(tmp_path / "out")
    assert integers is not None
    assert integers.matrices["model.embed_tokens.weight"]["bits"] == 8
    assert integers.matrices["model.layers.0.mlp.up_proj.weight"]["bits"] == 4
    assert evidence["quantized_matrices"] == MATRICES + 1
    norms = 7 * 64 / float(str(evidence["parameters_after"]))
    assert evidence["quantized_share"] == pytest.approx(1 - norms)


# -- evidence ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("bits", "group", "expected"), [(8, 32, 8.5), (4, 32, 4.5), (3, 32, 3.5), (2, 32, 2.5)])
def test_evidence_counts_bits_and_integers_in_the_files(
    bits: int, group: int, expected: float, source: Path, tmp_path: Path, text: Path
) -> None:
    evidence = pruned(QuantizeRtn(), source, tmp_path / "out", text, bits=bits, group=group)
    assert evidence["bits_per_weight"] == expected
    lowest = -127 if bits == 8 else -(2 ** (bits - 1))
    assert (evidence["integer_min"], evidence["integer_max"]) == (lowest, 2 ** (bits - 1) - 1)
    before, after = tensors_of(source), tensors_of(tmp_path / "out")
    names = [name for name in after if is_matrix(name)]
    lost = sum(float((after[name] - before[name].float()).square().sum()) for name in names)
    whole = sum(float(before[name].float().square().sum()) for name in names)
    assert evidence["relative_error"] == pytest.approx((lost / whole) ** 0.5, rel=1e-4)
    weights = sum(after[name].numel() for name in names)
    assert evidence["packed_bytes"] == weights * expected / 8
    # The file does not become smaller: each weight is four bytes of float32.
    assert int(str(evidence["weights_bytes_after"])) > int(str(evidence["weights_bytes_before"]))
    rest = sum(tensor.numel() for tensor in before.values()) - weights
    total = (weights * expected + 16 * rest) / (weights + rest)
    assert evidence["bits_per_weight_of_model"] == pytest.approx(total)
    assert str(evidence["dtypes_before"]) == "bfloat16 100.0 %"
    assert str(evidence["dtypes"]).startswith("float32 ")
    assert "not rounded" in str(evidence["activations"])


def test_a_row_for_a_group_has_few_scales(source: Path, tmp_path: Path, text: Path) -> None:
    evidence = pruned(QuantizeRtn(), source, tmp_path / "out", text, group=0)
    rows, weights = 0, 0
    for name, matrix in tensors_of(source).items():
        if is_matrix(name):
            rows, weights = rows + len(matrix), weights + matrix.numel()
    assert evidence["bits_per_weight"] == pytest.approx(8 + 16 * rows / weights)


def test_a_source_that_was_quantized_before_is_told(source: Path, tmp_path: Path, text: Path) -> None:
    first = pruned(QuantizeRtn(), source, tmp_path / "first", text, bits=4)
    again = pruned(QuantizeRtn(), tmp_path / "first", tmp_path / "again", text, bits=4)
    assert (first["source_4bit_share"], again["source_4bit_share"]) == (0, 1)
    assert "caution" not in first
    assert "4-bit grid" in str(again["caution"])
    assert float(str(again["relative_error"])) < 0.1 * float(str(first["relative_error"]))


def test_evidence_sees_weights_that_are_not_their_integers(source: Path, tmp_path: Path, text: Path) -> None:
    from safetensors.torch import save_file

    technique = QuantizeRtn()
    pruned(technique, source, tmp_path / "out", text)
    tensors = tensors_of(tmp_path / "out")
    tensors["model.layers.2.mlp.down_proj.weight"][3, 3] += 0.01
    save_file(tensors, tmp_path / "out" / "model.safetensors")
    evidence = technique.evidence(source, tmp_path / "out", settings_of(technique))
    assert evidence["integers_give_weights"] is False


# -- chains -----------------------------------------------------------------------------------


@pytest.mark.parametrize("technique", [QuantizeRtn, QuantizeGptq, QuantizeAwq, QuantizeSmoothQuant])
def test_what_was_pruned_stays_pruned(
    technique: type[ArtifactTechnique], source: Path, tmp_path: Path, text: Path
) -> None:
    pruned(PruneSparseGpt(), source, tmp_path / "sparse", text, pattern="2:4")
    evidence = pruned(technique(), tmp_path / "sparse", tmp_path / "out", text)
    before, after = tensors_of(tmp_path / "sparse"), tensors_of(tmp_path / "out")
    for name, matrix in before.items():
        if is_matrix(name):
            assert bool((after[name][matrix == 0] == 0).all()), name
    assert evidence["zero_fraction_before"] == 0.5
    assert float(str(evidence["zero_fraction"])) >= 0.5


def test_a_cut_model_is_quantized_as_any_other(source: Path, tmp_path: Path, text: Path) -> None:
    pruned(PruneStructured(), source, tmp_path / "cut", text, keep_mlp=0.8, keep_kv_heads=2)
    for technique in (QuantizeGptq(), QuantizeRotate()):
        output = tmp_path / technique.name
        assert pruned(technique, tmp_path / "cut", output, text)["quantized_matrices"] == MATRICES
        reloaded(output)


def test_weights_that_are_pruned_afterwards_have_no_integers_any_more(source: Path, tmp_path: Path, text: Path) -> None:
    pruned(QuantizeRtn(), source, tmp_path / "small", text)
    pruned(PruneMagnitude(), tmp_path / "small", tmp_path / "out", text)
    assert IntegerFile.beside(tmp_path / "out") is None


# -- refusals ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("technique", "given", "config", "reason"),
    [
        (QuantizeRtn, {"group": 128}, {}, "groups of 128 do not divide matrices that are 64 wide"),
        (QuantizeZeroQuant, {}, {}, "groups of 64 do not divide matrices that are 160 wide"),
        (QuantizeRtn, {"group": 0, "embedding": "int8"}, {"hidden_size": 48}, "32 do not divide an embedding"),
        (
            QuantizeAwq,
            {},
            {"model_type": "rwkv"},
            "norms that feed its matrices are not known .* 'rwkv', only for arcee,",
        ),
        (QuantizeSmoothQuant, {}, {"model_type": "olmo2"}, "no norm with weights feeds .* 'olmo2'"),
        (QuantizeRotate, {}, {"model_type": "gpt2"}, "cannot rotate models of type 'gpt2': its norms subtract a mean"),
        (QuantizeAwq, {}, {"quantization_config": {"bits": 4}}, "quantized already"),
        (QuantizeSmoothQuant, {"length": 129}, {}, "longer than the model's context of 128"),
        (QuantizeGptq, {"calibration": "builtin:evaluation"}, {}, "for judging a model"),
        (QuantizeRotate, {"rounding": "gptq", "length": 129}, {}, "longer than the model's"),
    ],
)
def test_what_does_not_fit_is_said_in_a_line_before_anything_starts(
    technique: type[ArtifactTechnique], given: dict[str, Any], config: dict[str, Any], reason: str
) -> None:
    fault = technique().check(settings_of(technique(), **given), {**CONFIG, **config})
    assert fault is not None
    assert re.search(reason, fault)
    assert "\n" not in fault


def test_a_rotation_without_gptq_reads_no_text() -> None:
    settings = settings_of(QuantizeRotate(), length=129)
    assert QuantizeRotate().check(settings, CONFIG) is None


def test_a_step_that_rounds_nothing_may_have_any_groups() -> None:
    settings = settings_of(QuantizeRotate(), rounding="none", group=128)
    assert QuantizeRotate().check(settings, CONFIG) is None


@pytest.mark.parametrize("key", ["bits", "group", "clip", "rounding"])
def test_other_values_than_the_offered_are_no_settings(key: str) -> None:
    from joulebench.errors import ProfileError

    with pytest.raises(ProfileError):
        settings_of(QuantizeAwq(), **{key: 5 if key in ("bits", "group") else "often"})


def test_damaged_integers_are_refused_plainly(source: Path, tmp_path: Path, text: Path) -> None:
    pruned(QuantizeRtn(), source, tmp_path / "out", text)
    for number, (file, content, reason) in enumerate(
        (
            (INTEGERS_FILE, b"nothing", "no whole safetensors file"),
            (SCHEME_FILE, b"[]", "does not say which matrices"),
            (SCHEME_FILE, b'{"version": 9, "matrices": {}}', "of version 9"),
            (SCHEME_FILE, b'{"version": 1, "matrices": {"a.weight": {"bits": 4}}}', "lacks what"),
        )
    ):
        copy = shutil.copytree(tmp_path / "out", tmp_path / f"copy-{number}")
        (copy / FOLDER / file).write_bytes(content)
        with pytest.raises(ModelError, match=reason):
            integers = IntegerFile.beside(copy)
            assert integers is not None
            integers.packable(32)
