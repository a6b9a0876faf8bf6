"""A model's operators alone, on ONNX Runtime: what they compute, and what is counted of them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from llama_models import write_checkpoint
from onnx_models import TIED, UNTIED, export, opened, to_ort

from joulebench.api import Kernel
from joulebench.errors import JoulebenchError
from joulebench_plugins.onnx import pieces
from joulebench_plugins.onnx.backend import OnnxBackend, OnnxMobileBackend

np = pytest.importorskip("numpy")
onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("torch")
pytest.importorskip("transformers")

LINEARS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
SETTINGS = {"threads": 1, "arena": True, "spinning": True, "prepacking": True, "provider": "cpu"}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The tied llama by format, its checkpoint, and another with biases and a head of its own."""
    path = tmp_path_factory.mktemp("operators")
    results = {"hf": write_checkpoint(path / "tied", TIED)}
    results["onnx"] = export(results["hf"], path / "onnx")
    results["ort"] = to_ort(results["onnx"], path / "ort")
    results["untied"] = export(write_checkpoint(path / "other", UNTIED), path / "untied")
    return results


def by_name(kernels: Any) -> dict[str, Kernel]:
    return {kernel.name: kernel for kernel in kernels}


@pytest.mark.parametrize("format_", ["onnx", "ort"])
def test_they_are_all_of_a_step_and_their_products_are_the_tokens(
    folders: dict[str, Path], format_: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    bound = pieces._bound

    def counted(session: Any, inputs: Any, results: Any) -> Callable[[], None]:
        call = bound(session, inputs, results)
        return lambda: (calls.append(session.get_outputs()[0].name), call())[1]

    monkeypatch.setattr(pieces, "_bound", counted)
    with opened(folders[format_], format_) as session:
        kernels = by_name(session.operators(20))
        traffic = session.traffic()
        for kernel in kernels.values():
            calls.clear()
            kernel.run(3)
            assert len(calls) == 3, kernel.name
    layers = TIED["num_hidden_layers"]
    assert {name: kernel.per_token for name, kernel in kernels.items()} == {
        "embedding": 1,
        "norm": 2 * layers + 1,
        **dict.fromkeys(LINEARS, layers),
        "attention": layers,
        "residual_add": 2 * layers,
        "silu_mul": layers,
        "head": 1,
    }
    apart = {"residual_add", "silu_mul"}
    for name, kernel in kernels.items():
        assert kernel.together == (1 if name in apart else kernel.per_token)
    products = [kernels[name] for name in (*LINEARS, "head")]
    assert sum(product.operations * product.per_token for product in products) == traffic.operations
    assert kernels["head"].operations == traffic.head_operations


def test_bytes_are_weights_inputs_and_outputs_and_biases_count(folders: dict[str, Path]) -> None:
    with opened(folders["onnx"]) as plain, opened(folders["untied"]) as biased:
        without, with_ = by_name(plain.operators(20)), by_name(biased.operators(20))
    assert without["gate_proj"].bytes_moved == 4 * (64 * 96 + 64 + 96)
    assert with_["gate_proj"].bytes_moved == 4 * (64 * 96 + 64 + 96 + 96)
    # 21 positions of keys and values of 2 heads of 16; 4 heads in and out; the new ones twice;
    # a row of both tables
    expected = 2 * 2 * 16 * 21 + 2 * 4 * 16 + 4 * 2 * 16 + 16
    assert without["attention"].bytes_moved == 4 * expected


@pytest.mark.parametrize("format_", ["onnx", "ort"])
def test_they_work_on_the_models_own_weights(folders: dict[str, Path], format_: str) -> None:
    from safetensors.numpy import load_file

    from joulebench_plugins.onnx.inventory import take_inventory
    from joulebench_plugins.onnx.pieces import stored_array

    checkpoint = load_file(folders["hf"] / "model.safetensors")
    inventory = take_inventory(folders[format_] / f"model.{format_}")
    for name, values in checkpoint.items():
        turned = values.T if name.endswith("proj.weight") else values
        assert np.array_equal(stored_array(folders[format_], inventory, name), turned), name


def test_a_piece_goes_from_instance_to_instance_and_on_where_it_ended() -> None:
    from onnx import helper

    from joulebench_plugins.onnx.pieces import Piece, one_by_one

    random = np.random.default_rng(3)
    given = [{"x": random.standard_normal((1, 8), np.float32)} for _ in range(3)]
    results = [{"y": np.zeros((1, 8), np.float32)} for _ in range(3)]
    run = one_by_one(Piece([helper.make_node("Neg", ["x"], ["y"])], given, results), SETTINGS)
    run(2)
    assert [bool(result["y"].any()) for result in results] == [True, True, False]
    run(1)
    for own, result in zip(given, results, strict=True):
        assert np.array_equal(result["y"], -own["x"])


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("format_", ["onnx", "ort"])
def test_instances_run_at_once_on_the_stored_weights(folders: dict[str, Path], format_: str, threads: int) -> None:
    from onnx import helper

    from joulebench_plugins.onnx.inventory import take_inventory
    from joulebench_plugins.onnx.pieces import Piece, all_at_once, stored_array, stored_tensor

    folder = folders[format_]
    inventory = take_inventory(folder / f"model.{format_}")
    names = [f"model.layers.{index}.mlp.up_proj.weight" for index in range(2)]
    x = np.random.default_rng(3).standard_normal((1, 1, 64), np.float32)
    results = [{"y": np.zeros((1, 1, 96), np.float32)} for _ in names]
    piece = Piece(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        [{"x": x}] * 2,
        results,
        [{"w": stored_tensor(inventory, name)} for name in names],
    )
    all_at_once(piece, folder, {**SETTINGS, "threads": threads})(1)
    for name, result in zip(names, results, strict=True):
        expected = x @ stored_array(folder, inventory, name)
        assert result["y"] == pytest.approx(expected, abs=1e-5)


def test_attention_writes_its_position_into_the_cache_of_each_layer(folders: dict[str, Path]) -> None:
    from joulebench_plugins.onnx.session import OnnxSession

    with opened(folders["onnx"]) as session:
        assert isinstance(session, OnnxSession)
        attention = by_name(session.operators(20))["attention"]
        cache = session._model.cache
        assert all(buffer[:, :, :20].all() for buffer in cache.values()), "filled, not zeros"
        assert not any(buffer[:, :, 20].any() for buffer in cache.values())
        attention.run(1)
        assert all(buffer[:, :, 20].any() for buffer in cache.values())
        assert not any(buffer[:, :, 21:].any() for buffer in cache.values())


def test_a_sequence_goes_on_only_after_a_new_prompt(folders: dict[str, Path]) -> None:
    with opened(folders["onnx"]) as session:
        first = session.prefill([1, 2, 3])
        session.operators(20)
        with pytest.raises(JoulebenchError, match="prefill"):
            session.step()
        assert session.prefill([1, 2, 3]) == first


def test_a_context_beyond_the_cache_is_refused(folders: dict[str, Path]) -> None:
    with (
        opened(folders["onnx"], cache_tokens=16) as session,
        pytest.raises(JoulebenchError, match="16 positions and a token do not fit into 16"),
    ):
        session.operators(16)


def test_a_model_that_was_rewritten_is_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(folders["onnx"], tmp_path / "copy")
    model = onnx.load(str(folder / "model.onnx"), load_external_data=False)
    old, new = "model.layers.1.mlp.up_proj.weight", "quantized"
    for tensor in model.graph.initializer:
        tensor.name = new if tensor.name == old else tensor.name
    for node in model.graph.node:
        node.input[:] = [new if name == old else name for name in node.input]
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    with opened(folder) as session, pytest.raises(JoulebenchError, match=r"layers\.1\.mlp\.up_proj"):
        session.operators(16)


def test_the_capability_is_declared() -> None:
    for backend in (OnnxBackend, OnnxMobileBackend):
        assert "operators" in backend.capabilities
