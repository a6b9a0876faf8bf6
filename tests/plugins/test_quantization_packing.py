"""One quantized model on every runtime: the very same integers in GGUF blocks and MatMulNBits."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
np = pytest.importorskip("numpy")
gguf = pytest.importorskip("gguf")
onnx = pytest.importorskip("onnx")
pytest.importorskip("transformers")
pytest.importorskip("tokenizers")
pytest.importorskip("onnxruntime")
from llama_models import generated  # noqa: E402
from onnx_models import opened, to_ort  # noqa: E402
from pruning_models import TEXT, make_model, pruned, reloaded, save, tensors_of  # noqa: E402

from joulebench.api import Artifact, ArtifactTechnique  # noqa: E402
from joulebench.errors import ModelError  # noqa: E402
from joulebench_plugins.gguf.converter import GgufImport  # noqa: E402
from joulebench_plugins.gguf.export import GgufExport  # noqa: E402
from joulebench_plugins.gguf.reading import GgufFile  # noqa: E402
from joulebench_plugins.llamacpp.backend import LlamaCppBackend  # noqa: E402
from joulebench_plugins.onnx.backend import OnnxBackend  # noqa: E402
from joulebench_plugins.onnx.exporter import OnnxExport  # noqa: E402
from joulebench_plugins.onnx.inventory import take_inventory  # noqa: E402
from joulebench_plugins.quantization.equivalent import QuantizeAwq, QuantizeRotate  # noqa: E402
from joulebench_plugins.quantization.techniques import QuantizeGptq, QuantizeRtn  # noqa: E402
from joulebench_plugins.shared.tensors.integers import FOLDER, SCHEME_FILE, IntegerFile  # noqa: E402

#: Technique and settings, the type of its GGUF blocks, and the bits of its MatMulNBits.
CASES: Mapping[str, tuple[type[ArtifactTechnique], Mapping[str, Any], str, int]] = {
    "rtn-8": (QuantizeRtn, {}, "Q8_0", 8),
    "rtn-4": (QuantizeRtn, {"bits": 4}, "Q4_0", 4),
    "rtn-3": (QuantizeRtn, {"bits": 3}, "Q4_0", 4),
    "rtn-2-embedding": (QuantizeRtn, {"bits": 2, "embedding": "int8"}, "Q4_0", 4),
    "rtn-8-rows": (QuantizeRtn, {"group": 0}, "Q8_0", 8),
    "gptq-4": (QuantizeGptq, {}, "Q4_0", 4),
    "awq-4": (QuantizeAwq, {}, "Q4_0", 4),
    "rotate-4": (QuantizeRotate, {"embedding": "int8"}, "Q4_0", 4),
}
PROMPT = [5, 17, 200, 31, 90, 7, 311, 42, 8, 9, 133, 70]


@pytest.fixture(scope="module")
def quantized(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Checkpoints by case, each made once."""
    root = tmp_path_factory.mktemp("quantized")
    text = root / "calibration.txt"
    text.write_text(TEXT, encoding="utf-8")
    source = save(make_model("llama-biased"), root / "source")

    def made(case: str) -> Path:
        folder = root / case
        if not folder.is_dir():
            technique, options, _, _ = CASES[case]
            pruned(technique(), source, folder, text, **options)
        return folder

    return made


def in_gguf(checkpoint: Path, output: Path, pack: str = "auto") -> Path:
    output.mkdir()
    GgufExport().convert(checkpoint, output, {"dtype": "float32", "pack": pack})
    return output / "model.gguf"


def in_onnx(checkpoint: Path, output: Path, **settings: str) -> Path:
    output.mkdir()
    OnnxExport().convert(checkpoint, output, settings)
    return output


def torch_logits(folder: Path) -> Any:
    with torch.inference_mode():
        return reloaded(folder)(input_ids=torch.tensor([PROMPT])).logits[0].numpy()


def divergence(exact: Any, value: Any) -> float:
    """Mean KL divergence of two rows of logits, in nats."""
    first, second = (torch.tensor(logits).double().log_softmax(-1) for logits in (exact, value))
    return float((first.exp() * (first - second)).sum(-1).mean())


# -- GGUF -------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
def test_gguf_blocks_stand_for_the_checkpoint_s_numbers_bit_for_bit(case: str, quantized: Any, tmp_path: Path) -> None:
    checkpoint, kind = quantized(case), CASES[case][2]
    file = in_gguf(checkpoint, tmp_path / "gguf")
    (tmp_path / "back").mkdir()
    GgufImport().convert(file, tmp_path / "back", {"dtype": "float32"})
    expected, tensors = tensors_of(checkpoint), tensors_of(tmp_path / "back")
    assert tensors.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(tensors[name], tensor.float()), name
    types = {tensor.name: tensor.tensor_type.name for tensor in gguf.GGUFReader(file).tensors}
    assert types["blk.0.attn_q.weight"] == types["blk.2.ffn_down.weight"] == kind
    head = "Q8_0" if "embedding" in CASES[case][1] else "F32"
    assert types["token_embd.weight"] == types["output.weight"] == head
    assert types["blk.0.attn_q.bias"] == types["output_norm.weight"] == "F32"
    kinds = {4: "MOSTLY_Q4_0", 8: "MOSTLY_Q8_0"}
    file_type = GgufFile(file).integer("general.file_type")
    assert file_type == gguf.LlamaFileType[kinds[CASES[case][3]]]


def test_the_blocks_hold_the_integers_and_scales_themselves(quantized: Any, tmp_path: Path) -> None:
    for case in ("rtn-8", "gptq-4"):
        file = in_gguf(quantized(case), tmp_path / case)
        integers = IntegerFile.beside(quantized(case))
        assert integers is not None
        matrix = integers.matrix("model.layers.1.mlp.down_proj.weight")
        (tensor,) = (tensor for tensor in gguf.GGUFReader(file).tensors if tensor.name == "blk.1.ffn_down.weight")
        width = 34 if case == "rtn-8" else 18
        blocks = np.array(tensor.data).reshape(len(matrix.integers), -1, width)
        scales = blocks[..., :2].copy().view(np.float16)[..., 0]
        assert np.array_equal(scales.view(np.uint16), matrix.scales.view(np.uint16))
        numbers = blocks[..., 2:]
        if width == 34:
            stored = numbers.view(np.int8)
        else:
            halves = (numbers & 15, numbers >> 4)
            stored = np.concatenate(halves, -1).astype(np.int8) - 8
        assert np.array_equal(stored.reshape(matrix.integers.shape), matrix.integers)


def test_a_file_of_blocks_is_smaller_and_a_dense_one_is_asked_for(quantized: Any, tmp_path: Path) -> None:
    packed = in_gguf(quantized("rtn-4"), tmp_path / "packed")
    dense = in_gguf(quantized("rtn-4"), tmp_path / "dense", pack="dense")
    assert {tensor.tensor_type.name for tensor in gguf.GGUFReader(dense).tensors} == {"F32"}
    assert packed.stat().st_size < 0.6 * dense.stat().st_size


@pytest.mark.parametrize("case", ["rtn-8", "rtn-4", "rotate-4"])
def test_llama_cpp_computes_nearly_the_same_from_blocks(case: str, quantized: Any, tmp_path: Path) -> None:
    if not LlamaCppBackend().available().ok:
        pytest.skip("no llama.cpp")
    exact = torch_logits(quantized(case))
    results = {}
    for pack in ("auto", "dense"):
        folder = in_gguf(quantized(case), tmp_path / pack, pack).parent
        with LlamaCppBackend().open(
            Artifact("gguf", folder, "", 0), "cpu", {"threads": 1, "context_tokens": 64}
        ) as session:
            results[pack] = divergence(exact, session.logits(PROMPT))
            dtype = str(session.facts()["dtype"])
            assert dtype == ("float32" if pack == "dense" else dtype)
            assert pack == "dense" or CASES[case][2].lower() in dtype
    assert results["dense"] < 1e-6
    # The kernels of Q4_0 and Q8_0 round the activations to 8 bits, in blocks of 32.
    assert 1e-9 < results["auto"] < 0.02


# -- ONNX -------------------------------------------------------------------------------------


def dequantized(folder: Path) -> dict[str, Any]:
    """The matrices that MatMulNBits multiplies with, by the names of their blocks."""
    model = onnx.load(str(folder / "model.onnx"))
    arrays = {
        initializer.name: onnx.numpy_helper.to_array(initializer, str(folder))
        for initializer in model.graph.initializer
    }
    results: dict[str, Any] = {}
    for node in model.graph.node:
        if node.op_type != "MatMulNBits":
            continue
        integers = {attribute.name: attribute.i for attribute in node.attribute}
        blocks = arrays[node.input[1]].astype(np.int16)
        if integers["bits"] == 4:
            blocks = np.stack([blocks & 15, blocks >> 4], -1).reshape(*blocks.shape[:2], -1)
        scales = arrays[node.input[2]].reshape(blocks.shape[:2])
        assert len(node.input) == 3, "the zero point is the one by default"
        values = (blocks - 2 ** (integers["bits"] - 1)).astype(np.float32) * scales[..., None]
        name = node.input[1].removesuffix(".integers") + ".weight"
        results[name] = values.reshape(integers["N"], integers["K"])
    return results


@pytest.mark.parametrize("case", CASES)
def test_matmulnbits_stands_for_the_checkpoint_s_numbers_bit_for_bit(case: str, quantized: Any, tmp_path: Path) -> None:
    checkpoint = quantized(case)
    folder = in_onnx(checkpoint, tmp_path / "onnx")
    tensors, expected = dequantized(folder), tensors_of(checkpoint)
    assert len(tensors) == 21 + ("embedding" in CASES[case][1])
    for name, values in tensors.items():
        assert np.array_equal(values, expected[name].numpy()), name


@pytest.mark.parametrize("case", CASES)
def test_onnx_runtime_computes_the_same_from_integers(case: str, quantized: Any, tmp_path: Path) -> None:
    exact = torch_logits(quantized(case))
    with opened(in_onnx(quantized(case), tmp_path / "onnx")) as session:
        logits = session.logits(PROMPT)
        assert f"int{CASES[case][3]}" in str(session.facts()["dtype"]).split(",")
        bytes_ = session.traffic().weights_bytes
    assert float(np.abs(logits - exact).max()) < 1e-3 * float(np.abs(exact).max())
    with opened(in_onnx(quantized(case), tmp_path / "dense", pack="dense")) as session:
        assert session.facts()["dtype"] == "float32"
        assert bytes_ is not None
        assert bytes_ < 0.8 * (session.traffic().weights_bytes or 0)


@pytest.mark.parametrize("case", ["rtn-8", "rtn-4"])
def test_with_int8_activations_onnx_runtime_rounds_them_too(case: str, quantized: Any, tmp_path: Path) -> None:
    exact = torch_logits(quantized(case))
    results = {}
    for activations in ("float32", "int8"):
        folder = in_onnx(quantized(case), tmp_path / activations, activations=activations)
        nodes = take_inventory(folder / "model.onnx").nodes
        levels = {node.integers.get("accuracy_level") for node in nodes if node.operator == "MatMulNBits"}
        assert levels == {4 if activations == "int8" else 0}
        with opened(folder) as session:
            results[activations] = divergence(exact, session.logits(PROMPT))
    assert results["float32"] < 1e-6
    assert results["int8"] < 0.02


def test_a_phone_s_format_keeps_the_integers(quantized: Any, tmp_path: Path) -> None:
    model = in_onnx(quantized("gptq-4"), tmp_path / "onnx")
    phone = to_ort(model, tmp_path / "ort")
    nodes = take_inventory(phone / "model.ort").nodes
    assert sum(node.operator == "MatMulNBits" for node in nodes) == 21
    with opened(model) as session:
        desktop = generated(session, PROMPT, 8)
    with opened(phone, "ort") as session:
        assert generated(session, PROMPT, 8) == desktop


def test_the_backends_ask_for_the_packing_that_a_profile_sets() -> None:
    chosen = {"pack": "dense", "activations": "int8", "threads": 2}
    assert OnnxBackend().conversion_settings(chosen) == {"pack": "dense", "activations": "int8"}
    asked = LlamaCppBackend().conversion_settings({"pack": "dense"})
    assert asked["pack"] == "dense"
    assert LlamaCppBackend().conversion_settings({})["pack"] == "auto"


# -- refusals ---------------------------------------------------------------------------------


def test_weights_that_were_changed_afterwards_are_not_packed(quantized: Any, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    copy = shutil.copytree(quantized("rtn-4"), tmp_path / "copy")
    tensors = tensors_of(copy)
    tensors["model.layers.0.mlp.up_proj.weight"][0, 0] += 0.5
    save_file(tensors, copy / "model.safetensors")
    for number, convert in enumerate((in_gguf, in_onnx)):
        with pytest.raises(ModelError, match="do not give its weights") as caught:
            convert(copy, tmp_path / f"packed-{number}")
        assert "quantize the checkpoint again" in str(caught.value.hint)
    in_gguf(copy, tmp_path / "gguf", pack="dense")
    in_onnx(copy, tmp_path / "onnx", pack="dense")


def test_groups_that_are_no_blocks_stay_dense(quantized: Any, tmp_path: Path) -> None:
    copy = shutil.copytree(quantized("rtn-4"), tmp_path / "copy")
    scheme = json.loads((copy / FOLDER / SCHEME_FILE).read_text("utf-8"))
    assert len(scheme["matrices"]) == 21
    integers = IntegerFile.beside(copy)
    assert integers is not None
    assert len(integers.packable(32)) == 21
    assert integers.packable(64) == {}
