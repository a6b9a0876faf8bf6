"""ONNX Runtime's own types: models that run on both backends, and evidence that is true of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from llama_models import generated, torch_model, write_checkpoint
from onnx_models import TIED, UNTIED, export, opened, to_ort
from pruning_models import settings_of

from joulebench.api import ArtifactTechnique, OptionValue, Scalar
from joulebench.errors import ArtifactError, JoulebenchError
from joulebench_plugins.onnx.quantizing import OnnxDynamicInt8, OnnxMatMulNBits

np = pytest.importorskip("numpy")
onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from joulebench_plugins.onnx.blockwise import pack, unpack  # noqa: E402
from joulebench_plugins.onnx.inventory import read_inventory  # noqa: E402

PROMPT = [3, 14, 15, 92, 65, 35, 89, 79]
LONG = [(7 * i * i + 3) % TIED["vocab_size"] for i in range(100)]
SHAPES = {"tied": TIED, "untied": UNTIED}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For each shape its checkpoint and ONNX model."""
    path = tmp_path_factory.mktemp("quantized")
    for name, shape in SHAPES.items():
        (path / name).mkdir()
        export(write_checkpoint(path / name / "checkpoint", shape), path / name / "onnx")
    return path


def quantized(technique: ArtifactTechnique, source: Path, output: Path, **given: OptionValue) -> Mapping[str, Scalar]:
    settings = settings_of(technique, **given)
    output.mkdir(parents=True)
    technique.apply(source, output, settings)
    return technique.evidence(source, output, settings)


def tensors_of(folder: Path) -> dict[str, Any]:
    """All tensors of a model, by the onnx package alone."""
    model = onnx.load(str(folder / "model.onnx"))
    return {initializer.name: onnx.numpy_helper.to_array(initializer) for initializer in model.graph.initializer}


def off(value: Any, expected: Any) -> float:
    """Root of the mean squared difference, relative to what is expected.

    These random weights amplify what rounding changes; the embedded model is closer by far.
    """
    return float(np.linalg.norm(value - expected) / np.linalg.norm(expected))


def logits_of(model: Any) -> Any:
    with torch.no_grad():
        return model(input_ids=torch.tensor([LONG]), use_cache=False).logits[0].numpy()


def matrices(shape: Mapping[str, Any]) -> list[tuple[int, int]]:
    """(inputs, outputs) of the layers' matrices of the whole model."""
    hidden, wide = shape["hidden_size"], shape["intermediate_size"]
    queries = shape["num_attention_heads"] * shape["head_dim"]
    keys = shape["num_key_value_heads"] * shape["head_dim"]
    layer = [
        (hidden, queries),
        (hidden, keys),
        (hidden, keys),
        (queries, hidden),
        (hidden, wide),
        (hidden, wide),
        (wide, hidden),
    ]
    return layer * shape["num_hidden_layers"]


# -- few bits by blocks -----------------------------------------------------------------------


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize(("bits", "block"), [(4, 32), (4, 128), (8, 64)])
@pytest.mark.parametrize("name", SHAPES)
def test_the_runtime_computes_with_the_matrices_that_the_file_means(
    name: str, bits: int, block: int, symmetric: bool, folder: Path, tmp_path: Path
) -> None:
    """In float32 (accuracy level 1) its logits are transformers' on the dequantized matrices."""
    evidence = quantized(
        OnnxMatMulNBits(),
        folder / name / "onnx",
        tmp_path / "out",
        bits=bits,
        block=block,
        symmetric=symmetric,
        accuracy_level=1,
    )
    model = torch_model(folder / name / "checkpoint")
    lost = whole = 0.0
    with torch.no_grad():
        head = model.lm_head
        if SHAPES[name]["tie_word_embeddings"]:  # the embedding that is looked up stays
            head.weight = torch.nn.Parameter(head.weight.clone())
        for module in model.modules():
            if isinstance(module, torch.nn.Linear):
                before = module.weight.clone()
                matrix = np.ascontiguousarray(module.weight.T.numpy())
                packed = pack(matrix, bits, block, symmetric=symmetric)
                module.weight.copy_(torch.from_numpy(unpack(packed, bits, len(matrix)).copy()))
                lost += float((before - module.weight).square().sum())
                whole += float(before.square().sum())
    expected = logits_of(model)
    for format_ in ("onnx", "ort"):
        place = tmp_path / "out" if format_ == "onnx" else to_ort(tmp_path / "out", tmp_path / "ort")
        with opened(place, format_) as session:
            assert session.logits(LONG) == pytest.approx(expected, abs=5e-3)
            facts = session.facts()
            assert (facts["dtype"], facts["compute"]) == (f"int{bits}", "float32")
            assert len(generated(session, PROMPT, 20)) == 20
    # Every row was looked at: these matrices are small, or nearly so.
    assert evidence["relative_error"] == pytest.approx((lost / whole) ** 0.5, rel=0.1)


def test_packing_is_within_half_a_step_of_the_weights() -> None:
    matrix = np.random.default_rng(1).standard_normal((70, 24)).astype(np.float32)
    for bits in (4, 8):
        for symmetric in (True, False):
            packed = pack(matrix, bits, 32, symmetric=symmetric)
            off = np.abs(unpack(packed, bits, 70) - matrix.T)
            steps = np.repeat(np.abs(packed.scales.reshape(24, -1)), 32, axis=1)[:, :70]
            # The symmetric form clips the greatest weight of the other sign by up to a step.
            assert (off <= steps * (1.01 if symmetric else 0.51) + 1e-6).all()


@pytest.mark.parametrize("name", SHAPES)
def test_level_4_rounds_inputs_to_int8_and_says_so(name: str, folder: Path, tmp_path: Path) -> None:
    source = folder / name / "onnx"
    logits = {}
    for level in (1, 4):
        evidence = quantized(OnnxMatMulNBits(), source, tmp_path / str(level), bits=8, accuracy_level=level)
        assert evidence["compute"] == {1: "float32", 4: "int8"}[level]
        with opened(tmp_path / str(level)) as session:
            assert session.facts()["compute"] == evidence["compute"]
            logits[level] = session.logits(LONG)
    assert 1e-4 < off(logits[4], logits[1]) < 0.15


def test_without_packed_copies_the_matrices_are_dequantized(folder: Path, tmp_path: Path) -> None:
    quantized(OnnxMatMulNBits(), folder / "tied" / "onnx", tmp_path / "out")
    with opened(tmp_path / "out", prepacking=False) as session:
        assert session.facts()["compute"] == "float32"
        mapped = session.logits(LONG)
    with opened(tmp_path / "out") as session:
        assert session.facts()["compute"] == "int8"
        packed = session.logits(LONG)
    assert 1e-4 < off(packed, mapped) < 0.15


@pytest.mark.parametrize(("bits", "block", "symmetric"), [(4, 32, True), (8, 64, False)])
@pytest.mark.parametrize("name", SHAPES)
def test_a_token_reads_the_packed_bytes(
    name: str, bits: int, block: int, symmetric: bool, folder: Path, tmp_path: Path
) -> None:
    shape = SHAPES[name]
    quantized(OnnxMatMulNBits(), folder / name / "onnx", tmp_path / "out", bits=bits, block=block, symmetric=symmetric)
    hidden, rows = shape["hidden_size"], shape["vocab_size"]
    expected = 4 * hidden  # a row of the embedding
    for inputs, outputs in [*matrices(shape), (hidden, rows)]:
        blocks = -(-inputs // block)
        expected += outputs * blocks * (block * bits // 8 + 4)
        if not symmetric:
            expected += outputs * -(-blocks * bits // 8)
    expected += 4 * hidden * (2 * shape["num_hidden_layers"] + 1)  # norms
    expected += 2 * 4 * shape["head_dim"] // 2  # a row of the rotation's two tables
    if shape.get("attention_bias"):
        expected += 4 * sum(outputs for _, outputs in matrices(shape))
    operations = 2 * sum(a * b for a, b in [*matrices(shape), (hidden, rows)])
    for format_ in ("onnx", "ort"):
        place = tmp_path / "out" if format_ == "onnx" else to_ort(tmp_path / "out", tmp_path / "ort")
        with opened(place, format_) as session:
            traffic = session.traffic()
            assert traffic.weights_bytes == pytest.approx(expected, abs=64), format_
            assert traffic.operations == operations
            assert traffic.head_operations == 2 * hidden * rows


def test_evidence_is_true_of_the_file(folder: Path, tmp_path: Path) -> None:
    source = folder / "tied" / "onnx"
    evidence = quantized(OnnxMatMulNBits(), source, tmp_path / "out")
    tensors = tensors_of(tmp_path / "out")
    size = sum(tensor.nbytes for tensor in tensors.values())
    tables = sum(tensor.nbytes for name, tensor in tensors.items() if name.endswith("_cache"))
    constants = tensors["flat_shape"].nbytes
    weights = sum(tensor.size for name, tensor in tensors_of(source).items() if name.endswith(".weight"))
    assert evidence["weights_bytes"] == size
    assert evidence["bits_per_weight"] == pytest.approx(8 * (size - tables) / weights, abs=0.01)
    assert evidence["bits_per_weight_before"] == pytest.approx(32, abs=0.01)
    with opened(tmp_path / "out") as session:
        assert session.facts()["bits_per_weight"] == evidence["bits_per_weight"]
    assert constants == 16, "the shape of the rows"
    layers = TIED["num_hidden_layers"]
    assert f"MatMulNBits {7 * layers + 1}" in str(evidence["operators"])
    assert (evidence["embedding_type"], evidence["head_type"]) == ("float32", "int4")
    quarter = sum(a * b for a, b in [*matrices(TIED), (TIED["hidden_size"], TIED["vocab_size"])])
    embedding = TIED["hidden_size"] * TIED["vocab_size"]
    norms = TIED["hidden_size"] * (2 * layers + 1)
    share = 100 * quarter / (quarter + embedding + norms)
    assert f"int4 {share:.1f} %" in str(evidence["weight_types"])


@pytest.mark.parametrize("bits", [4, 8])
def test_the_embedding_can_be_packed_too(bits: int, folder: Path, tmp_path: Path) -> None:
    source = folder / "tied" / "onnx"
    evidence = quantized(OnnxMatMulNBits(), source, tmp_path / "out", embedding_bits=bits, bits=8)
    assert evidence["embedding_type"] == f"int{bits}"
    with opened(source) as full, opened(tmp_path / "out") as session:
        expected, logits = full.logits(LONG), session.logits(LONG)
        # A row of the table and its scales, where it was all of the table without the operator.
        row = TIED["hidden_size"] * bits // 8 + 4 * (TIED["hidden_size"] // 32)
        kept = quantized(OnnxMatMulNBits(), source, tmp_path / "kept", bits=8)
        with opened(tmp_path / "kept") as other:
            difference = (other.traffic().weights_bytes or 0) - (session.traffic().weights_bytes or 0)
        assert difference == 4 * TIED["hidden_size"] - row
    assert float(str(evidence["bits_per_weight"])) < float(str(kept["bits_per_weight"]))
    assert off(logits, expected) < {4: 0.6, 8: 0.15}[bits]


def test_the_head_can_have_bits_of_its_own(folder: Path, tmp_path: Path) -> None:
    source = folder / "untied" / "onnx"
    eight = quantized(OnnxMatMulNBits(), source, tmp_path / "eight", head_bits=8)
    whole = quantized(OnnxMatMulNBits(), source, tmp_path / "whole", head_bits=32)
    assert (eight["head_type"], whole["head_type"]) == ("int8", "float32")
    with opened(tmp_path / "whole") as session:
        assert session.facts()["dtype"] == "float32,int4"
        assert session.facts()["compute"] == "float32,int8"


# -- dynamic int8 -----------------------------------------------------------------------------


@pytest.mark.parametrize("format_", ["onnx", "ort"])
@pytest.mark.parametrize("name", SHAPES)
def test_dynamic_int8_runs_in_whole_numbers_and_close_to_float32(
    name: str, format_: str, folder: Path, tmp_path: Path
) -> None:
    source = folder / name / "onnx"
    evidence = quantized(OnnxDynamicInt8(), source, tmp_path / "out")
    assert evidence["compute"] == "int8"
    assert (evidence["embedding_type"], evidence["head_type"]) == ("float32", "int8")
    assert 0.001 < float(str(evidence["relative_error"])) < 0.02
    place = tmp_path / "out" if format_ == "onnx" else to_ort(tmp_path / "out", tmp_path / "ort")
    with opened(source) as full, opened(place, format_) as session:
        expected, logits = full.logits(LONG), session.logits(LONG)
        facts = session.facts()
        assert (facts["dtype"], facts["compute"]) == ("int8", "int8")
        assert session.traffic().operations == full.traffic().operations
        assert session.traffic().head_operations == full.traffic().head_operations
        assert len(generated(session, PROMPT, 20)) == 20
    assert 1e-4 < off(logits, expected) < 0.2


@pytest.mark.parametrize("format_", ["onnx", "ort"])
def test_a_token_reads_a_byte_for_each_weight(format_: str, folder: Path, tmp_path: Path) -> None:
    quantized(OnnxDynamicInt8(), folder / "tied" / "onnx", tmp_path / "out")
    all_ = [*matrices(TIED), (TIED["hidden_size"], TIED["vocab_size"])]
    # int8 numbers, a float32 scale and an int8 zero point for each output
    expected = sum(a * b + 5 * b for a, b in all_)
    expected += 4 * TIED["hidden_size"] * (1 + 2 * TIED["num_hidden_layers"] + 1)
    expected += 4 * TIED["head_dim"]
    place = tmp_path / "out" if format_ == "onnx" else to_ort(tmp_path / "out", tmp_path / "ort")
    with opened(place, format_) as session:
        assert session.traffic().weights_bytes == pytest.approx(expected, rel=0.002)


def test_the_operators_of_dynamic_int8_are_counted(folder: Path, tmp_path: Path) -> None:
    evidence = quantized(OnnxDynamicInt8(), folder / "tied" / "onnx", tmp_path / "out")
    count = 7 * TIED["num_hidden_layers"] + 1
    assert f"MatMulInteger {count}" in str(evidence["operators"])
    assert "MatMul 0" not in str(evidence["operators"])
    fused = read_inventory(to_ort(tmp_path / "out", tmp_path / "ort") / "model.ort")
    names = [node.operator for node in fused.nodes]
    whole = {"MatMulInteger", "MatMulIntegerToFloat", "DynamicQuantizeMatMul"}
    assert sum(name in whole for name in names) == count


def test_a_head_that_stays_is_shared_with_the_embedding_as_before(folder: Path, tmp_path: Path) -> None:
    source = folder / "tied" / "onnx"
    kept = quantized(OnnxDynamicInt8(), source, tmp_path / "kept", head=False)
    apart = quantized(OnnxDynamicInt8(), source, tmp_path / "apart", per_channel=False)
    assert (kept["head_type"], kept["embedding_type"]) == ("float32", "float32")
    table = TIED["vocab_size"] * TIED["hidden_size"]
    assert int(str(apart["weights_bytes"])) > int(str(kept["weights_bytes"]))
    assert f"MatMulInteger {7 * TIED['num_hidden_layers']}" in str(kept["operators"])
    assert sum(tensor.size == table for tensor in tensors_of(tmp_path / "kept").values()) == 1


# -- both -------------------------------------------------------------------------------------


@pytest.mark.parametrize("technique", [OnnxDynamicInt8(), OnnxMatMulNBits()], ids=lambda t: t.name)
def test_the_same_bytes_come_out_again(technique: ArtifactTechnique, folder: Path, tmp_path: Path) -> None:
    for number in ("1", "2"):
        quantized(technique, folder / "untied" / "onnx", tmp_path / number)
    for name in ("model.onnx", "model.onnx.data"):
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes()


@pytest.mark.parametrize("technique", [OnnxDynamicInt8(), OnnxMatMulNBits()], ids=lambda t: t.name)
def test_the_source_stays_as_it_was(technique: ArtifactTechnique, folder: Path, tmp_path: Path) -> None:
    source = folder / "tied" / "onnx"
    before = {file.name: file.stat().st_mtime_ns for file in source.iterdir()}
    quantized(technique, source, tmp_path / "out")
    assert {file.name: file.stat().st_mtime_ns for file in source.iterdir()} == before
    assert {file.name for file in (tmp_path / "out").iterdir()} == {"model.onnx", "model.onnx.data"}


def test_what_is_quantized_already_is_refused_in_plain_words(folder: Path, tmp_path: Path) -> None:
    quantized(OnnxMatMulNBits(), folder / "tied" / "onnx", tmp_path / "once")
    for technique in (OnnxDynamicInt8(), OnnxMatMulNBits()):
        with pytest.raises(ArtifactError, match="no product with a float32 matrix"):
            quantized(technique, tmp_path / "once", tmp_path / technique.name)


def test_the_workload_operators_says_that_it_does_not_know_these(folder: Path, tmp_path: Path) -> None:
    quantized(OnnxMatMulNBits(), folder / "tied" / "onnx", tmp_path / "out")
    with opened(tmp_path / "out") as session, pytest.raises(JoulebenchError, match="not known"):
        session.operators(8)


@pytest.mark.parametrize(
    ("given", "config", "said"),
    [
        ({"embedding_bits": 4, "block": 128}, {"hidden_size": 576}, "128 does not divide 576"),
        ({"embedding_bits": 4}, {"hidden_size": 576}, None),
        ({"block": 128}, {"hidden_size": 576}, None),
    ],
)
def test_blocks_that_do_not_divide_are_refused_where_they_must(
    given: Mapping[str, OptionValue], config: Mapping[str, object], said: str | None
) -> None:
    whole = {
        **UNTIED,
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_act": "silu",
        "rms_norm_eps": 1e-5,
        **config,
    }
    technique = OnnxMatMulNBits()
    fault = technique.check(settings_of(technique, **given), whole)
    assert (fault is None) if said is None else (fault is not None and said in fault)
