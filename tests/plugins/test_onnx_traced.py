"""Checkpoints of other than llama type, traced into ONNX by transformers' exporters, against transformers itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

np = pytest.importorskip("numpy")
pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("transformers.exporters")
onnx_ir = pytest.importorskip("onnx_ir")

from llama_models import generated, torch_generated, torch_model  # noqa: E402
from onnx_models import opened, to_ort  # noqa: E402

from joulebench.errors import ArtifactError  # noqa: E402
from joulebench_plugins.onnx.exporter import OnnxExport  # noqa: E402
from joulebench_plugins.onnx.quantizing import OnnxMatMulNBits  # noqa: E402
from joulebench_plugins.onnx.repairs import repair_products  # noqa: E402
from joulebench_plugins.onnx.sharing import PAST_LENGTH, share_caches  # noqa: E402

PROMPT = [3, 14, 15, 92, 65, 35, 89, 79]
SIZES: dict[str, Any] = {
    "vocab_size": 160,
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "initializer_range": 0.3,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
ATTENTION = {"intermediate_size": 96, "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 96}


def written(config: Any, folder: Path) -> Path:
    torch.manual_seed(11)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder


def traced(checkpoint: Path, folder: Path) -> Path:
    folder.mkdir()
    OnnxExport().convert(checkpoint, folder, {"graph": "traced"})
    return folder


def same_as_transformers(folder: Path, model: Any, format_: str = "onnx") -> Any:
    """The facts of a session that says what the model says: tokens of an answer, logits of a longer text."""
    tokens = [(7 * i * i + 3) % 160 for i in range(50)]
    with torch.no_grad():
        expected = model(input_ids=torch.tensor([tokens])).logits[0].numpy()
    answer = torch_generated(model, PROMPT, 40)
    with opened(folder, format_) as session:
        assert generated(session, PROMPT, 40) == answer
        session.reset()
        assert np.abs(session.logits(tokens) - expected).max() < 2e-4 * np.abs(expected).max()
        return session.facts()


@pytest.mark.slow
def test_a_model_of_attention_is_one_graph_on_every_path(tmp_path: Path) -> None:
    config = transformers.Qwen3Config(**SIZES, **ATTENTION, head_dim=16, tie_word_embeddings=True)
    checkpoint = written(config, tmp_path / "checkpoint")
    model = torch_model(checkpoint)
    graph = traced(checkpoint, tmp_path / "onnx")
    assert {file.name for file in graph.iterdir()} == {"model.onnx", "model.onnx.data", "config.json"}
    facts = same_as_transformers(graph, model)
    assert (facts["states"], facts["prompt"], facts["context_length"]) == ("shared buffer", "in one run", 96)
    same_as_transformers(to_ort(graph, tmp_path / "ort"), model, "ort")
    technique = OnnxMatMulNBits()
    (tmp_path / "packed").mkdir()
    settings = {**technique.default_settings(), "bits": 8, "accuracy_level": 1}
    technique.apply(graph, tmp_path / "packed", settings)
    assert technique.evidence(graph, tmp_path / "packed", settings)["relative_error"] < 0.01
    with opened(tmp_path / "packed") as session:
        assert generated(session, PROMPT, 5)


@pytest.mark.slow
def test_a_scan_that_was_unrolled_at_one_length_reads_prompts_token_by_token(tmp_path: Path) -> None:
    checkpoint = written(transformers.MambaConfig(**SIZES, state_size=16), tmp_path / "checkpoint")
    graph = traced(checkpoint, tmp_path / "onnx")
    assert {file.name for file in graph.iterdir()} == {"decode.onnx", "decode.onnx.data", "config.json"}
    assert same_as_transformers(graph, torch_model(checkpoint))["prompt"] == "token by token"


@pytest.mark.slow
def test_graphs_that_say_something_else_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check at other lengths is what stands between a wrong graph and the user."""
    config = transformers.Qwen3Config(**SIZES, **ATTENTION, head_dim=16)
    checkpoint = written(config, tmp_path / "checkpoint")
    monkeypatch.setattr("joulebench_plugins.onnx.tracing._TOLERANCE", 0.0)
    with pytest.raises(ArtifactError, match=r"as one graph: .*off by .*; as a pair of graphs: .*off by"):
        traced(checkpoint, tmp_path / "onnx")
    assert list((tmp_path / "onnx").iterdir()) == []


def value(name: str, shape: tuple[int | str, ...], kind: Any = None) -> Any:
    type_ = onnx_ir.TensorType(kind or onnx_ir.DataType.FLOAT)
    return onnx_ir.Value(name=name, type=type_, shape=onnx_ir.Shape(shape))


def model_of(inputs: list[Any], outputs: list[Any], nodes: list[Any], stored: list[Any] = ()) -> Any:  # type: ignore[assignment]
    graph = onnx_ir.Graph(
        inputs, outputs, nodes=nodes, initializers=stored, opset_imports={"": 21, "com.microsoft": 1}, name="g"
    )
    return onnx_ir.Model(graph, ir_version=10)


def test_a_product_with_a_transposed_matrix_becomes_one_that_onnxruntime_takes(tmp_path: Path) -> None:
    import onnxruntime

    rows = np.arange(12, dtype=np.float32).reshape(4, 3)
    state = value("x", (1, "n", 3))
    weight = onnx_ir.Value(name="w", const_value=onnx_ir.tensor(rows, name="w"), shape=onnx_ir.Shape((4, 3)))
    node = onnx_ir.node("FusedMatMul", [state, weight], {"transB": 1, "alpha": 0.5}, domain="com.microsoft", name="p")
    node.outputs[0].name, node.outputs[0].shape = "logits", onnx_ir.Shape((1, "n", 4))
    node.outputs[0].type = onnx_ir.TensorType(onnx_ir.DataType.FLOAT)
    model = model_of([state], [node.outputs[0]], [node], [weight])
    assert repair_products(model) == 1
    onnx_ir.save(model, str(tmp_path / "m.onnx"))
    x = np.array([[[1, 2, 3], [4, 5, 6]]], np.float32)
    (own,) = onnxruntime.InferenceSession(str(tmp_path / "m.onnx")).run(["logits"], {"x": x})
    assert own == pytest.approx(0.5 * x @ rows.T)


@pytest.mark.parametrize("operator", ["GroupQueryAttention", "Concat"])
def test_only_a_cache_that_attention_alone_reads_is_written_in_place(operator: str) -> None:
    past = value("input.cache.layers.0.keys", (1, 2, "s", 16))
    length = onnx_ir.node("Shape", [past], {"start": 2, "end": 3})
    reader = onnx_ir.node(operator, [None, None, None, past], domain="com.microsoft", name="reader")
    user = onnx_ir.node("Identity", [length.outputs[0]], name="user")
    model = model_of([past], [user.outputs[0], reader.outputs[0]], [length, reader, user])
    shared = operator == "GroupQueryAttention"
    assert share_caches(model) is shared
    names = [port.name for port in model.graph.inputs]
    assert (PAST_LENGTH in names) is shared
    assert (user.inputs[0].name == PAST_LENGTH) is shared
