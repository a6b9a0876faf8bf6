"""Techniques on models of many architectures: what is changed, what is left alone, and that nothing else is."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("tokenizers")
from family_models import FAMILIES, VARIANTS, make_family, save_family  # noqa: E402
from pruning_models import TEXT, pruned, reloaded, save, settings_of, tensors_of  # noqa: E402

from joulebench.api import ArtifactTechnique  # noqa: E402
from joulebench_plugins.pruning.structured import PruneStructured  # noqa: E402
from joulebench_plugins.pruning.unstructured import PruneMagnitude, PruneSparseGpt, PruneWanda  # noqa: E402
from joulebench_plugins.quantization.equivalent import (  # noqa: E402
    QuantizeAwq,
    QuantizeRotate,
    QuantizeSmoothQuant,
)
from joulebench_plugins.quantization.techniques import QuantizeGptq, QuantizeRtn  # noqa: E402
from joulebench_plugins.shared.decoder.model import Decoder  # noqa: E402
from joulebench_plugins.shared.decoder.roles import ROLES  # noqa: E402

IDS = [[5, 17, 200, 31, 90, 7, 311, 42, 8, 9, 133, 70]]
#: One with transposed weights and fused attention, one with experts.
FAST = ("gpt2", "olmoe")
families = [pytest.param(kind, marks=() if kind in FAST else pytest.mark.slow) for kind in FAMILIES]


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A text for calibration."""
    file = tmp_path_factory.mktemp("texts") / "calibration.txt"
    file.write_text(TEXT, encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Gives a checkpoint of a family, made once."""
    made: dict[str, Path] = {}

    def checkpoint(kind: str) -> Path:
        if kind not in made:
            made[kind] = save_family(kind, tmp_path_factory.mktemp("models") / kind)
        return made[kind]

    return checkpoint


def logits_of(folder: Path) -> torch.Tensor:
    with torch.inference_mode():
        return reloaded(folder)(input_ids=torch.tensor(IDS)).logits


def matrices_of(folder: Path) -> set[str]:
    """Tensors of linear layers, by what the model is in transformers: no part of the plugin has a say."""
    from transformers.pytorch_utils import Conv1D

    model = reloaded(folder)
    named = {
        f"{name}.weight"
        for name, module in model.named_modules()
        if isinstance(module, (torch.nn.Linear, Conv1D)) and re.search(r"\.\d+\.", name)
    }
    # transformers' loader makes one parameter of the experts' matrices in the files.
    return {name for name in tensors_of(folder) if name in named or re.search(r"experts\.\d+\.|put_linear\.", name)}


@pytest.mark.parametrize("kind", families)
@pytest.mark.parametrize("technique", [PruneMagnitude, PruneWanda, PruneSparseGpt])
def test_half_of_each_linear_layer_becomes_zero_and_nothing_else_changes(
    technique: type[ArtifactTechnique], kind: str, checkpoints: Any, tmp_path: Path, text: Path
) -> None:
    source = checkpoints(kind)
    evidence = pruned(technique(), source, tmp_path / "out", text)
    before, after, matrices = tensors_of(source), tensors_of(tmp_path / "out"), matrices_of(source)
    assert matrices
    for name, tensor in before.items():
        if name in matrices:
            assert float((after[name] == 0).float().mean()) == pytest.approx(0.5, abs=0.01), name
        else:
            assert torch.equal(after[name], tensor), name
    weights = sum(before[name].numel() for name in matrices)
    assert evidence["pruned_share"] == pytest.approx(weights / sum(tensor.numel() for tensor in before.values()))
    assert evidence["zero_fraction"] == pytest.approx(0.5, abs=0.01)
    others = {name for name, tensor in before.items() if tensor.ndim > 1} - matrices
    assert {re.sub(r"(?<=\.)\d+(?=\.)", "*", name) for name in others} == {
        part.partition(" ")[0] for part in str(evidence["left_alone"]).split(", ")
    }
    assert bool(logits_of(tmp_path / "out").isfinite().all())


@pytest.mark.parametrize("kind", families)
@pytest.mark.parametrize("technique", [QuantizeRtn, QuantizeGptq])
def test_each_linear_layer_is_rounded_to_its_bits_and_nothing_else_changes(
    technique: type[ArtifactTechnique], kind: str, checkpoints: Any, tmp_path: Path, text: Path
) -> None:
    source = checkpoints(kind)
    evidence = pruned(technique(), source, tmp_path / "out", text, bits=4, group=0)
    before, after, matrices = tensors_of(source), tensors_of(tmp_path / "out"), matrices_of(source)
    decoder = Decoder(source, before)
    for linear in decoder.linears:
        assert max(len(row.unique()) for row in linear.of(after[linear.tensor])) <= 16, linear
    changed = {name for name, tensor in before.items() if not torch.equal(after[name].float(), tensor.float())}
    assert changed == matrices
    assert evidence["integers_give_weights"] is True
    assert evidence["quantized_matrices"] == len(decoder.linears)
    assert (evidence["integer_min"], evidence["integer_max"]) == (-8, 7)
    assert bool(logits_of(tmp_path / "out").isfinite().all())


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_variant_of_a_type_is_scaled_as_its_own_norms_want(variant: str, tmp_path: Path, text: Path) -> None:
    kind, sizes = VARIANTS[variant]
    source = save_family(kind, tmp_path / "model", **sizes)
    for technique in (QuantizeAwq(), QuantizeSmoothQuant()):
        evidence = pruned(technique, source, tmp_path / technique.name, text, rounding="none")
        before, after = logits_of(source), logits_of(tmp_path / technique.name)
        assert float((after - before).abs().max()) < 2e-3 * float(before.abs().max())
        assert int(str(evidence["scaled_vectors"])) > 1


@pytest.mark.parametrize("kind", [param for param in families if param.values[0] in ROLES])
@pytest.mark.parametrize("technique", [QuantizeAwq, QuantizeSmoothQuant, QuantizeRotate])
def test_an_equivalent_model_computes_what_the_source_does_or_is_refused(
    technique: type[ArtifactTechnique], kind: str, checkpoints: Any, tmp_path: Path, text: Path
) -> None:
    source = checkpoints(kind)
    config = json.loads((source / "config.json").read_text("utf-8"))
    fault = technique().check(settings_of(technique(), rounding="none"), config)
    if fault is not None:
        assert re.search(r"cannot rotate models of type|no norm with weights feeds", fault)
        return
    pruned(technique(), source, tmp_path / "out", text, rounding="none")
    before, after = logits_of(source), logits_of(tmp_path / "out")
    assert float((after - before).abs().max()) < 2e-3 * float(before.abs().max())
    old, new = tensors_of(source), tensors_of(tmp_path / "out")
    changed = [name for name in matrices_of(source) if not torch.equal(old[name], new[name])]
    assert changed, "its weights are others all the same"


@pytest.mark.parametrize("kind", [param for param in families if param.values[0] in ROLES])
def test_channels_and_heads_that_add_nothing_can_go_without_a_change(kind: str, tmp_path: Path, text: Path) -> None:
    roles, model = ROLES[kind], make_family(kind)
    silence(model, roles.down, 1, 4)
    silence(model, roles.output, 1, 2)
    source = save(model, tmp_path / "model")
    config = json.loads((source / "config.json").read_text("utf-8"))
    wishes = {
        "keep_mlp": {"keep_mlp": 0.75, "mlp_multiple": 8},
        "keep_kv_heads": {"keep_kv_heads": max(1, grouped(config) // 2)},
    }
    kept = {}
    for name, wish in wishes.items():
        fault = PruneStructured().check(settings_of(PruneStructured(), **wish), config)
        if fault is None:
            kept |= wish
        else:
            assert re.search(f"{name} is not for models of type '{kind}'|are not known for", fault)
    if not kept:
        return
    evidence = pruned(PruneStructured(), source, tmp_path / "out", text, **kept)
    before, after = logits_of(source), logits_of(tmp_path / "out")
    assert float((after - before).abs().max()) < 1e-4 * float(before.abs().max())
    assert int(str(evidence["parameters_after"])) < int(str(evidence["parameters_before"]))


@pytest.mark.parametrize("scores", ["activation", "magnitude"])
@pytest.mark.parametrize("kind", [param for param in families if param.values[0] in ROLES])
def test_a_layer_is_taken_out(kind: str, scores: str, checkpoints: Any, tmp_path: Path, text: Path) -> None:
    config = json.loads((checkpoints(kind) / "config.json").read_text("utf-8"))
    if PruneStructured().check(settings_of(PruneStructured(), keep_layers=1), config) is not None:
        assert ROLES[kind].up == ROLES[kind].output == "" or ROLES[kind].by_number
        return
    layers = next(config[key] for key in ("num_hidden_layers", "n_layer", "n_layers") if key in config)
    evidence = pruned(
        PruneStructured(), checkpoints(kind), tmp_path / "out", text, keep_layers=layers - 1, scores=scores
    )
    assert (evidence["layers_before"], evidence["layers_after"]) == (layers, layers - 1)
    assert bool(logits_of(tmp_path / "out").isfinite().all())


@pytest.mark.slow
@pytest.mark.parametrize("scores", ["activation", "magnitude"])
def test_of_a_hybrid_a_layer_of_attention_stays(scores: str, tmp_path: Path, text: Path) -> None:
    source = save_family("lfm2", tmp_path / "model", layer_types=["conv", "full_attention", "conv"])
    pruned(PruneStructured(), source, tmp_path / "out", text, keep_layers=1, scores=scores)
    config = json.loads((tmp_path / "out" / "config.json").read_text("utf-8"))
    assert config["layer_types"] == ["full_attention"]
    assert bool(logits_of(tmp_path / "out").isfinite().all())


def grouped(config: dict[str, Any]) -> int:
    """Key/value heads."""
    return int(config.get("num_key_value_heads") or config.get("num_attention_heads") or 4)


def silence(model: Any, module: str, part: int, parts: int) -> None:
    """Let one of so many parts of the inputs of a layer of each block have no effect, and little weight before."""
    if not module:
        return
    for name, layer in model.named_modules():
        if name.endswith(f".{module}"):
            inputs = layer.weight.T if isinstance(layer, torch.nn.Linear) else layer.weight
            size = len(inputs) // parts
            inputs.data[part * size : (part + 1) * size] = 0
