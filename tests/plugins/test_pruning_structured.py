"""Structured pruning: what is cut is what matters least, and the rest is a whole smaller model."""

from __future__ import annotations

import json
import re
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

from joulebench.api import Artifact  # noqa: E402
from joulebench.errors import JoulebenchError  # noqa: E402
from joulebench.models.store import hash_content  # noqa: E402
from joulebench.registry.loading import default_registry  # noqa: E402
from joulebench_plugins.pruning.structured import PruneStructured  # noqa: E402

CONFIG: Mapping[str, Any] = {"model_type": "llama", **SIZES}
ALL_THREE: Mapping[str, Any] = {"keep_mlp": 0.6, "keep_kv_heads": 2, "keep_layers": 2}
PROMPT = torch.tensor([[5, 90, 17, 200, 44, 8, 301]])


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


def with_useless_parts(kind: str, *, weak: bool) -> Any:
    """A model in which one layer, half of the heads and two fifths of the MLP add nothing.

    ``weak`` makes their other weights small as well, so that their norms tell.
    """
    model = make_model(kind)
    idle_heads, idle_channels = (0, 2), torch.arange(160) % 5 < 2
    with torch.no_grad():
        for place, layer in enumerate(model.model.layers):
            attention, mlp = layer.self_attn, layer.mlp
            if place == 1:
                attention.o_proj.weight.zero_()
                mlp.down_proj.weight.zero_()
                for module in (attention.o_proj, mlp.down_proj):
                    if module.bias is not None:
                        module.bias.zero_()
                if weak:
                    for parameter in layer.parameters():
                        parameter.mul_(1e-3)
            for head in idle_heads:
                attention.o_proj.weight.view(64, 4, 32)[:, head] = 0
                if weak:
                    attention.q_proj.weight.view(4, 32, 64)[head] *= 1e-3
                    attention.k_proj.weight.view(4, 16, 64)[head] *= 1e-3
                    attention.v_proj.weight.view(4, 16, 64)[head] *= 1e-3
            mlp.down_proj.weight[:, idle_channels] = 0
            if weak:
                mlp.gate_proj.weight[idle_channels] *= 1e-3
                mlp.up_proj.weight[idle_channels] *= 1e-3
    return model


@pytest.mark.parametrize("scores", ["activation", "magnitude"])
@pytest.mark.parametrize("kind", TYPES)
def test_what_adds_nothing_goes_and_the_smaller_model_says_the_same(
    kind: str, scores: str, tmp_path: Path, text: Path
) -> None:
    model = with_useless_parts(kind, weak=scores == "magnitude")
    folder = save(model, tmp_path / "model")
    pruned(PruneStructured(), folder, tmp_path / "out", text, scores=scores, **ALL_THREE)
    smaller = reloaded(tmp_path / "out")
    config = smaller.config
    assert (config.num_hidden_layers, config.intermediate_size) == (2, 96)
    assert (config.num_attention_heads, config.num_key_value_heads, config.head_dim) == (4, 2, 16)
    with torch.inference_mode():
        torch.testing.assert_close(
            smaller(input_ids=PROMPT).logits, model(input_ids=PROMPT).logits, rtol=1e-4, atol=1e-4
        )


def test_evidence_is_what_the_files_say(source: Path, tmp_path: Path, text: Path) -> None:
    evidence = pruned(PruneStructured(), source, tmp_path / "out", text, **ALL_THREE)
    smaller = reloaded(tmp_path / "out")
    before, after = (
        sum(tensor.numel() for tensor in tensors_of(folder).values()) for folder in (source, tmp_path / "out")
    )
    assert sum(parameter.numel() for parameter in smaller.parameters()) == after < before
    size = (tmp_path / "out" / "model.safetensors").stat().st_size
    assert evidence == {
        "parameters_before": before,
        "parameters_after": after,
        "weights_bytes_before": (source / "model.safetensors").stat().st_size,
        "weights_bytes_after": size,
        "layers_before": 3,
        "heads_before": 8,
        "kv_heads_before": 4,
        "mlp_width_before": 160,
        "layers_after": 2,
        "heads_after": 4,
        "kv_heads_after": 2,
        "mlp_width_after": 96,
    }


@pytest.mark.parametrize(
    ("given", "changed"),
    [
        ({"keep_mlp": "50%"}, {"intermediate_size": 96}),  # 80 is no multiple of 32
        ({"keep_mlp": "50%", "mlp_multiple": 16}, {"intermediate_size": 80}),
        ({"keep_mlp": 0.01}, {"intermediate_size": 32}),
        ({"keep_kv_heads": 1}, {"num_key_value_heads": 1, "num_attention_heads": 2}),
        ({"keep_layers": 1}, {"num_hidden_layers": 1}),
    ],
)
def test_each_option_changes_its_sizes_alone(
    given: dict[str, Any], changed: dict[str, int], source: Path, tmp_path: Path, text: Path
) -> None:
    pruned(PruneStructured(), source, tmp_path / "out", text, **given)
    before, after = (json.loads((folder / "config.json").read_text("utf-8")) for folder in (source, tmp_path / "out"))
    assert after == {**before, **changed}
    reloaded(tmp_path / "out")


def test_channels_are_chosen_by_what_they_add_to_the_residual(source: Path, tmp_path: Path, text: Path) -> None:
    """Σ over tokens x_j² · Σ over outputs W_ij², in the first layer by transformers' own model."""
    from joulebench_plugins.shared.calibration.text import Calibration, calibration_tokens

    pruned(PruneStructured(), source, tmp_path / "out", text, keep_mlp=0.6)
    dense = reloaded(source)
    down = dense.model.layers[0].mlp.down_proj
    seen: list[torch.Tensor] = []
    down.register_forward_pre_hook(lambda _, given: seen.append(given[0][0]))
    with torch.inference_mode():
        for stretch in calibration_tokens(source, Calibration(text, 6, 24, 0)):
            dense(input_ids=torch.tensor([stretch]))
    added = torch.cat(seen).square().sum(0) * down.weight.detach().square().sum(0)
    kept = sorted(sorted(range(160), key=lambda place: -float(added[place]))[:96])
    before, after = tensors_of(source), tensors_of(tmp_path / "out")
    for name, rows in (("gate_proj", True), ("up_proj", True), ("down_proj", False)):
        whole = before[f"model.layers.0.mlp.{name}.weight"]
        cut = whole[kept] if rows else whole[:, kept]
        assert torch.equal(after[f"model.layers.0.mlp.{name}.weight"], cut), name


def test_the_layer_that_turns_the_states_least_goes(tmp_path: Path, text: Path) -> None:
    model = make_model()
    with torch.no_grad():
        for place, scale in enumerate((1.0, 1.0, 0.05)):
            model.model.layers[place].self_attn.o_proj.weight *= scale
            model.model.layers[place].mlp.down_proj.weight *= scale
    folder = save(model, tmp_path / "model")
    pruned(PruneStructured(), folder, tmp_path / "out", text, keep_layers=2)
    before, after = tensors_of(folder), tensors_of(tmp_path / "out")
    for place in (0, 1):
        name = f"model.layers.{place}.mlp.down_proj.weight"
        assert torch.equal(before[name], after[name])
    assert not [name for name in after if name.startswith("model.layers.2")]


def test_several_files_number_type_and_repetition(tmp_path: Path, text: Path) -> None:
    folder = save(make_model(dtype="bfloat16"), tmp_path / "model", max_shard_size="60KB")
    for name in ("first", "second"):
        pruned(PruneStructured(), folder, tmp_path / name, text, **ALL_THREE)
    assert hash_content(tmp_path / "first") == hash_content(tmp_path / "second")
    index = json.loads((tmp_path / "first" / "model.safetensors.index.json").read_text("utf-8"))
    tensors = tensors_of(tmp_path / "first")
    assert set(index["weight_map"]) == set(tensors)
    assert set(index["weight_map"].values()) == {file.name for file in (tmp_path / "first").glob("*.safetensors")}
    assert index["metadata"]["total_size"] == sum(tensor.nbytes for tensor in tensors.values())
    assert {tensor.dtype for tensor in tensors.values()} == {torch.bfloat16}
    reloaded(tmp_path / "first")


@pytest.mark.parametrize(("route", "backend"), [(["gguf-export"], "llamacpp"), (["onnx-export"], "onnx")])
@pytest.mark.parametrize("kind", ["llama", "llama-biased"])
def test_the_smaller_model_goes_on_to_other_runtimes(
    kind: str, route: list[str], backend: str, tmp_path: Path, text: Path
) -> None:
    registry = default_registry()
    try:
        runtime = registry.backend(backend)
    except JoulebenchError as error:
        pytest.skip(str(error))
    if not runtime.available().ok:
        pytest.skip(str(runtime.available().reason))
    folder = save(make_model(kind), tmp_path / "model")
    pruned(PruneStructured(), folder, tmp_path / "out", text, **ALL_THREE)
    path = tmp_path / "out"
    for name in route:
        converter = registry.converter(name)
        (tmp_path / name).mkdir()
        converter.convert(path, tmp_path / name, converter.default_settings())
        path = tmp_path / name
    settings = {**runtime.default_settings(), "threads": 1}
    prompt = PROMPT[0].tolist()
    with runtime.open(Artifact(runtime.accepts[0], path, "", 0), "cpu", settings) as session:
        scores = session.score(prompt)
    with torch.inference_mode():
        logits = reloaded(tmp_path / "out")(input_ids=PROMPT).logits[0, :-1].log_softmax(-1)
    expected = logits.gather(1, PROMPT[0, 1:, None])[:, 0].tolist()
    assert scores == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize(
    ("given", "config", "reason"),
    [
        ({}, {}, "set one of keep_mlp, keep_kv_heads and keep_layers"),
        ({"keep_mlp": 1.0}, {}, "keep all of the model"),
        ({"keep_kv_heads": 4, "keep_layers": 3}, {}, "keep all of the model"),
        ({"keep_kv_heads": 5}, {}, "keep_kv_heads is 5; the model has 4"),
        ({"keep_layers": 4}, {}, "keep_layers is 4; the model has 3"),
        ({"keep_kv_heads": 3}, {}, "leaves 6 heads, .* hidden size 64; possible: 1, 2"),
        ({"keep_mlp": 0.5, "mlp_multiple": 256}, {}, "mlp_multiple is 256; the MLP is 160 wide"),
        ({"keep_layers": 1}, {"num_key_value_heads": 3}, "8 heads cannot share 3"),
        ({"keep_layers": 1}, {"model_type": "mamba"}, "not known for models of type 'mamba'"),
        ({"keep_layers": 1, "calibration": "builtin:evaluation"}, {}, "for judging a model"),
        ({"keep_layers": 1, "length": 500}, {}, "longer than the model's context"),
    ],
)
def test_what_does_not_fit_is_said_in_a_line_before_anything_starts(
    given: dict[str, Any], config: dict[str, Any], reason: str
) -> None:
    technique = PruneStructured()
    fault = technique.check(settings_of(technique, **given), {**CONFIG, **config})
    assert fault is not None
    assert re.search(reason, fault)
    assert "\n" not in fault


def test_by_magnitude_no_text_is_read(tmp_path: Path) -> None:
    make_model().save_pretrained(tmp_path / "model")
    pruned(
        PruneStructured(),
        tmp_path / "model",
        tmp_path / "out",
        tmp_path / "absent.txt",
        scores="magnitude",
        **ALL_THREE,
    )
    reloaded(tmp_path / "out")
