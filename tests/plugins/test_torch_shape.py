"""Random weights from a shape."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from joulebench.errors import ModelError
from joulebench_plugins.torch.shape import ShapeInit

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": 96,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}


def made(folder: Path, name: str, seed: object, config: object = CONFIG) -> Path:
    source, output = folder / f"{name}-shape", folder / name
    source.mkdir()
    output.mkdir()
    (source / "config.json").write_text(json.dumps(config))
    (source / "seed.json").write_text(json.dumps(seed))
    ShapeInit().convert(source, output, {})
    return output


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(tmp_path: Path) -> None:
    first = contents(made(tmp_path, "a", {"seed": 5, "dtype": "float32"}))
    again = contents(made(tmp_path, "b", {"seed": 5, "dtype": "float32"}))
    other = contents(made(tmp_path, "c", {"seed": 6, "dtype": "float32"}))
    assert first == again
    assert first["model.safetensors"] != other["model.safetensors"]


def test_weights_have_the_shape_and_dtype_that_were_asked_for(tmp_path: Path) -> None:
    from safetensors import safe_open

    folder = made(tmp_path, "a", {"seed": 1, "dtype": "bfloat16"})
    with safe_open(folder / "model.safetensors", "pt") as weights:
        keys = weights.get_tensor("model.layers.1.self_attn.k_proj.weight")
    assert (str(keys.dtype), tuple(keys.shape)) == ("torch.bfloat16", (16, 32))
    assert keys.float().std() > 0
    assert json.loads((folder / "config.json").read_text())["dtype"] == "bfloat16"


@pytest.mark.parametrize("seed", [{}, {"seed": "5"}, {"seed": True}, [5], {"seed": 1, "dtype": "x"}])
def test_a_seed_file_that_says_nothing_usable_is_refused(tmp_path: Path, seed: object) -> None:
    with pytest.raises(ModelError, match="must be"):
        made(tmp_path, "a", seed)


def test_a_config_of_no_known_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"config\.json"):
        made(tmp_path, "a", {"seed": 1}, {"model_type": "no-such-model"})


def test_a_shape_that_no_memory_holds_is_refused_before_a_layer_is_made(tmp_path: Path) -> None:
    with pytest.raises(MemoryError, match="1,000,000,000 layers of width 32"):
        made(tmp_path, "a", {"seed": 1}, {**CONFIG, "num_hidden_layers": 10**9})
