"""Weights that torch quantizes when it loads them: what it holds, computes and says."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from torch_operations import operations_of

from joulebench.api import Artifact, OptionValue, RuntimeTechnique, Scalar
from joulebench.errors import JoulebenchError, ModelError, UnavailableError
from joulebench.profile.values import complete
from joulebench_plugins.quantization.torch_types import (
    TorchHalf,
    TorchInt4WeightOnly,
    TorchInt8Dynamic,
    TorchInt8WeightOnly,
)
from joulebench_plugins.torch.backend import TorchBackend

if TYPE_CHECKING:
    from conftest import Cli

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

# The tiny checkpoint of conftest.py, its output head tied to the embedding.
LAYERS, HIDDEN, KV, WIDTH, VOCABULARY = 2, 64, 32, 160, 384
TABLE = VOCABULARY * HIDDEN
LAYER = 2 * HIDDEN * HIDDEN + 2 * KV * HIDDEN + 3 * WIDTH * HIDDEN
ROWS = LAYERS * (2 * HIDDEN + 2 * KV + 2 * WIDTH + HIDDEN)
NORMS = HIDDEN * (2 * LAYERS + 1)
PROMPT = [3, 14, 15, 92, 65, 35, 89, 79]
LONG = [(7 * i * i + 3) % VOCABULARY for i in range(60)]
with_torchao = pytest.mark.skipif(
    importlib.util.find_spec("torchao") is None, reason="the extra torchao is not installed"
)


def opened(folder: Path, **settings: OptionValue) -> Any:
    return TorchBackend().open(Artifact("hf", folder, "", 0), "cpu", {"threads": 1, **settings})


def applied(technique: RuntimeTechnique, **given: OptionValue) -> dict[str, OptionValue]:
    """What the technique gives the backend, checked against its options as the host would."""
    settings = complete(technique.options, given, str)
    merged = dict(technique.session_options(settings))
    complete(TorchBackend.options, merged, str)
    assert technique.requires <= TorchBackend.capabilities
    return merged


def evidence_of(technique: RuntimeTechnique, session: Any) -> dict[str, Scalar]:
    return dict(technique.evidence(session, technique.default_settings()))


@pytest.fixture(scope="module")
def plain(tiny_checkpoint: Path) -> Iterator[Any]:
    with opened(tiny_checkpoint) as session:
        yield session


@pytest.fixture
def dynamic(tiny_checkpoint: Path) -> Iterator[Any]:
    with opened(tiny_checkpoint, **applied(TorchInt8Dynamic())) as session:
        yield session


def off(value: Any, expected: Any) -> float:
    return float(abs(value - expected).max() / abs(expected).max())


# -- int8 with whole-number products ----------------------------------------------------------


def test_dynamic_int8_computes_close_to_float32_but_not_the_same(plain: Any, dynamic: Any) -> None:
    assert 1e-4 < off(dynamic.logits(LONG), plain.logits(LONG)) < 0.1
    assert len([dynamic.prefill(PROMPT), *(dynamic.step() for _ in range(9))]) == 10


def test_dynamic_int8_says_what_it_holds_and_how_it_multiplies(dynamic: Any) -> None:
    dynamic.prefill(PROMPT)
    evidence = evidence_of(TorchInt8Dynamic(), dynamic)
    assert evidence["dtype"] == "qint8"
    assert evidence["compute"] == "int8"
    assert evidence["weights_kernel"] == "quantized.linear_dynamic"
    assert evidence["output_type"] == "float32"
    assert (evidence["embedding_type"], evidence["head_type"]) == ("float32", "qint8")
    assert evidence["linear_modules"] == f"DynamicQuantizedLinear {7 * LAYERS + 1}"
    size = LAYERS * LAYER + TABLE + 8 * (ROWS + VOCABULARY) + 4 * (TABLE + NORMS)
    parameters = LAYERS * LAYER + TABLE + NORMS
    assert evidence["bits_per_weight"] == pytest.approx(8 * size / parameters, abs=1e-3)
    assert dynamic.facts()["parameters"] == parameters


def test_memory_counts_each_storage_once_and_packed_matrices_too(plain: Any, dynamic: Any) -> None:
    buffers = sum(buffer.nbytes for buffer in plain.model.buffers())
    weights = 4 * (LAYERS * LAYER + TABLE + NORMS)
    assert plain.memory().weights_bytes == weights + buffers
    packed = LAYERS * LAYER + TABLE + 8 * (ROWS + VOCABULARY)
    assert dynamic.memory().weights_bytes == packed + 4 * (TABLE + NORMS) + buffers


def test_a_token_reads_int8_matrices_and_one_row_of_the_embedding(plain: Any, dynamic: Any) -> None:
    traffic = dynamic.traffic()
    packed = LAYERS * LAYER + TABLE + 8 * (ROWS + VOCABULARY)
    assert traffic.weights_bytes == packed + 4 * NORMS + 4 * HIDDEN
    assert traffic.operations == plain.traffic().operations == 2 * (LAYERS * LAYER + TABLE)
    assert traffic.head_operations == plain.traffic().head_operations == 2 * TABLE
    assert traffic.kv_position_bytes == plain.traffic().kv_position_bytes


def test_a_head_that_stays_keeps_its_tie(tiny_checkpoint: Path) -> None:
    with opened(tiny_checkpoint, **applied(TorchInt8Dynamic(), head=False)) as session:
        facts = session.facts()
        assert (facts["dtype"], facts["compute"]) == ("float32,qint8", "float32,int8")
        assert (facts["head_type"], facts["embedding_type"]) == ("float32", "float32")
        packed = LAYERS * LAYER + 8 * ROWS
        assert session.traffic().weights_bytes == packed + 4 * (TABLE + NORMS)


def test_operators_of_a_quantized_model_count_its_packed_bytes(dynamic: Any) -> None:
    kernels = {operator.name: operator for operator in dynamic.operators(8)}
    gate, head = kernels["gate_proj"], kernels["head"]
    assert gate.bytes_moved == WIDTH * HIDDEN + 8 * WIDTH + 4 * (HIDDEN + WIDTH)
    assert head.operations == 2 * TABLE
    called = operations_of(lambda: gate.run(2))
    assert len([name for name in called if "linear" in name and "quantized" in name]) == 2, called


def test_what_quantized_weights_cannot_do_is_refused(dynamic: Any) -> None:
    with pytest.raises(JoulebenchError, match="cannot be trained"):
        dynamic.train_step(PROMPT)
    with pytest.raises(JoulebenchError, match="multiplies plain numbers"):
        dynamic.hardware_kernel("matmul", 64)
    read = dynamic.hardware_kernel("read", 4096)
    assert len(operations_of(lambda: read.run(1))) == 1


# -- sixteen bits -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["bfloat16", "float16"])
def test_half_is_the_backends_own_type(kind: str, tiny_checkpoint: Path, plain: Any) -> None:
    technique = TorchHalf()
    with opened(tiny_checkpoint, **applied(technique, type=kind)) as session:
        evidence = evidence_of(technique, session)
        assert (evidence["dtype"], evidence["compute"], evidence["output_type"]) == (kind,) * 3
        assert evidence["bits_per_weight"] == 16
        assert session.traffic().weights_bytes == 2 * (LAYERS * LAYER + TABLE + NORMS)
        assert off(session.logits(LONG), plain.logits(LONG)) < 0.05


def test_a_plain_session_says_the_same_of_itself(plain: Any) -> None:
    facts = plain.facts()
    assert (facts["dtype"], facts["compute"], facts["output_type"]) == ("float32",) * 3
    assert facts["weight_types"] == "float32 100.0 %"
    assert facts["bits_per_weight"] == 32
    assert facts["linear_modules"] == f"Linear {7 * LAYERS + 1}"
    assert facts["parameters"] == LAYERS * LAYER + TABLE + NORMS


# -- torchao ----------------------------------------------------------------------------------


@pytest.mark.apart
@with_torchao
def test_int8_weights_alone_are_multiplied_in_floating_point(tiny_checkpoint: Path, plain: Any) -> None:
    technique = TorchInt8WeightOnly()
    with opened(tiny_checkpoint, **applied(technique)) as session:
        session.prefill(PROMPT)
        evidence = evidence_of(technique, session)
        assert (evidence["dtype"], evidence["compute"]) == ("int8", "float32")
        assert evidence["linear_modules"] == f"Linear[Int8Tensor] {7 * LAYERS + 1}"
        assert (evidence["embedding_type"], evidence["head_type"]) == ("float32", "int8")
        assert off(session.logits(LONG), plain.logits(LONG)) < 0.05
        matrices = LAYERS * LAYER + TABLE
        read = session.traffic().weights_bytes - 4 * (NORMS + HIDDEN)
        assert matrices + 4 * (ROWS + VOCABULARY) <= read <= matrices + 16 * (ROWS + VOCABULARY)
        held = session.memory().weights_bytes - 4 * (NORMS + TABLE)
        buffers = sum(buffer.nbytes for buffer in session.model.buffers())
        assert held - buffers == read


@pytest.mark.apart
@with_torchao
@pytest.mark.parametrize(
    ("head", "kind", "size"), [(True, "bfloat16", 2), (False, "bfloat16", 2), (True, "float32", 4)]
)
def test_int4_weights_take_half_a_byte_and_their_scales(
    head: bool, kind: str, size: int, tiny_checkpoint: Path, plain: Any
) -> None:
    technique = TorchInt4WeightOnly()
    with opened(tiny_checkpoint, **applied(technique, head=head, type=kind)) as session:
        session.prefill(PROMPT)
        evidence = evidence_of(technique, session)
        assert evidence["compute"] == kind
        assert evidence["dtype"] == ("int4" if head else f"{kind},int4")
        assert evidence["head_type"] == ("int4" if head else kind)
        assert "int4" in str(evidence["weights_kernel"])
        assert off(session.logits(LONG), plain.logits(LONG)) < 0.6
        matrices = LAYERS * LAYER + (TABLE if head else 0)
        rest = size * (NORMS + (HIDDEN if head else TABLE))
        read = session.traffic().weights_bytes - rest
        # Half a byte, and for each group of 32 a scale and a zero point.
        assert read == matrices * (0.5 + 2 * size / 32)


@pytest.mark.apart
@with_torchao
def test_a_head_that_cannot_be_packed_is_refused() -> None:
    config = {"hidden_size": 64, "intermediate_size": 160, "vocab_size": 264}
    settings = {**TorchBackend().default_settings(), **applied(TorchInt4WeightOnly())}
    assert "packs 16 rows together, and the head has 264" in (TorchBackend().check("cpu", settings, config) or "")
    settings |= applied(TorchInt4WeightOnly(), head=False)
    assert TorchBackend().check("cpu", settings, config) is None


@pytest.mark.apart
@with_torchao
def test_groups_that_do_not_divide_are_refused(tiny_checkpoint: Path) -> None:
    settings = applied(TorchInt4WeightOnly(), group=128)
    config = json.loads((tiny_checkpoint / "config.json").read_text("utf-8"))
    fault = TorchBackend().check("cpu", {**TorchBackend().default_settings(), **settings}, config)
    assert fault is not None
    assert "weights_group = 128 does not divide matrices that are 64 wide" in fault
    with pytest.raises(ModelError, match="128 does not divide the inputs of any"):
        opened(tiny_checkpoint, **settings)


# -- what cannot work -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("device", "given", "said"),
    [
        ("cuda:0", {"weights": "int8-dynamic"}, "for the device cpu"),
        ("cpu", {"weights": "int8-dynamic", "dtype": "bfloat16"}, "needs dtype = 'float32'"),
        ("cpu", {"weights": "int8-dynamic", "compile": True, "cache": "static"}, "compile"),
        ("cpu", {"weights": "int8-dynamic"}, None),
        ("cpu", {}, None),
    ],
)
def test_settings_that_do_not_go_together_are_refused(
    device: str, given: dict[str, OptionValue], said: str | None
) -> None:
    backend = TorchBackend()
    fault = backend.check(device, {**backend.default_settings(), **given}, {})
    assert (fault is None) if said is None else (fault is not None and said in fault)


def test_without_torchao_the_reason_and_the_cure_are_named(
    tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "torchao" else real(name, *rest)
    )
    for technique in (TorchInt8WeightOnly(), TorchInt4WeightOnly()):
        availability = technique.available()
        assert (availability.ok, availability.cure) == (False, "pip install 'joulebench[torchao]'")
        with pytest.raises(UnavailableError, match="needs torchao"):
            opened(tiny_checkpoint, **applied(technique))
    assert TorchInt8Dynamic().available().ok


def test_a_backend_without_the_capability_is_skipped_with_that_reason(cli: Cli, tmp_path: Path) -> None:
    profile = tmp_path / "types.toml"
    profile.write_text(
        """
        version = 1
        [model.smollm2-135m-instruct]
        [technique.int8]
        name = "torch-int8-dynamic"
        [backend.torch]
        [backend.onnx]
        [workload.generate]
        """,
        encoding="utf-8",
    )
    answer = cli("plan", profile, "--json")
    assert answer.code == 0, answer.stderr
    reasons = {cell["backend"]: cell["reason"] for cell in json.loads(answer.stdout)["cells"]}
    assert reasons["torch"] is None
    assert "weights.int8-dynamic" in reasons["onnx"]
    assert "torch-int8-dynamic" in reasons["onnx"]
