"""The runtimes' types on the embedded model: perplexity near float32's, true bits and bytes."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from pruning_models import settings_of

from joulebench.api import Artifact, ArtifactTechnique, OptionValue, RuntimeTechnique, Scalar
from joulebench.models.making import Transform
from joulebench.models.store import Store, hash_content
from joulebench.profile.values import complete
from joulebench.registry.loading import default_registry
from joulebench.worker.tokenizer import CheckpointTokenizer

pytest.importorskip("torch")
pytest.importorskip("transformers")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

TEXTS = Path(__file__).parents[2] / "profiles" / "joulebench_profiles" / "texts"
TOKENS, WINDOW = 1024, 512
PARAMETERS = 134_515_008


def perplexity(session: Any, ids: list[int]) -> float:
    total = count = 0.0
    for start in range(0, len(ids), WINDOW):
        scores = session.score(ids[start : start + WINDOW])
        total -= sum(scores)
        count += len(scores)
    return math.exp(total / count)


@pytest.fixture(scope="module")
def ids(smollm2: Path) -> list[int]:
    text = (TEXTS / "evaluation.txt").read_text(encoding="utf-8")
    return CheckpointTokenizer(smollm2).encode(text, chat=False)[:TOKENS]


@pytest.fixture(scope="module")
def whole(smollm2: Path, ids: list[int]) -> float:
    """Perplexity in float32, on torch."""
    with opened("torch", "hf", smollm2) as session:
        return perplexity(session, ids)


@pytest.fixture(scope="module")
def smollm2_gguf(smollm2: Path, cache: Path) -> Path:
    exporter = default_registry().converter("gguf-export")
    content_hash, size = hash_content(smollm2)
    step = Transform("converter", exporter.name, exporter.target, exporter.default_settings(), exporter.versions())
    return Store(cache).make(Artifact("hf", smollm2, content_hash, size), step).artifact.path


def opened(backend: str, format_: str, path: Path, **settings: OptionValue) -> Any:
    quantized = default_registry().backend(backend)
    complete = {**quantized.default_settings(), "threads": 1, **settings}
    return quantized.open(Artifact(format_, path, "", 0), "cpu", complete)


def made(name: str, source: Path, output: Path, **given: OptionValue) -> tuple[Path, Mapping[str, Scalar]]:
    technique = default_registry().technique(name)
    assert isinstance(technique, ArtifactTechnique)
    settings = (
        settings_of(technique, TEXTS / "calibration.txt", sequences=12, length=256, **given)
        if "calibration" in {option.name for option in technique.options}
        else settings_of(technique, **given)
    )
    output.mkdir()
    technique.apply(source, output, settings)
    return output, technique.evidence(source, output, settings)


def said(name: str, value: float, whole: float, evidence: Mapping[str, Scalar]) -> None:
    keys = (
        "bits_per_weight",
        "weights_bytes",
        "weight_types",
        "fallback_share",
        "compute",
        "relative_error",
        "source_4bit_share",
        "embedding_type",
        "head_type",
    )
    told = {key: evidence[key] for key in keys if key in evidence}
    print(f"\n{name}: perplexity {value:.2f} ({value / whole - 1:+.1%}) {told}")


#: Greatest perplexity relative to float32's, and bits for each weight of the file. Types with a
#: minimum for each block (q5_1, most of q5_k_m here) fare worse than their bits say: the 16 levels
#: of the source fall between their 32 in the same way in each block.
GGUF = {
    "bf16": (1.01, (16, 16.1)),
    "f16": (1.01, (16, 16.1)),
    "q8_0": (1.01, (8.4, 8.6)),
    "q6_k": (1.03, (7.5, 8.6)),
    "q5_k_m": (1.2, (6, 7.6)),
    "q4_k_m": (1.1, (5.4, 7)),
    "q4_0": (1.35, (4.5, 5.6)),
    "iq4_nl": (1.3, (4.5, 5.8)),
    "q3_k_m": (1.4, (4, 6.5)),
    "q2_k": (1.6, (4, 6)),
}


@pytest.mark.parametrize("kind", GGUF)
def test_gguf_types(kind: str, smollm2_gguf: Path, ids: list[int], whole: float, tmp_path: Path) -> None:
    most, (low, high) = GGUF[kind]
    output, evidence = made("gguf-quantize", smollm2_gguf, tmp_path / "out", type=kind)
    with opened("llamacpp", "gguf", output, context_tokens=512) as session:
        perplexity_after = perplexity(session, ids)
        facts = session.facts()
        assert facts["compute"] == {"bf16": "bfloat16", "f16": "float16"}.get(kind, "int8")
        assert session.traffic().weights_bytes == evidence["weights_bytes"]
        said(f"{kind} ({facts['products']}, repacked {facts['repacked_bytes']})", perplexity_after, whole, evidence)
    assert 0.95 * whole < perplexity_after < most * whole
    assert low <= float(str(evidence["bits_per_weight"])) <= high
    narrow = kind.endswith(("_k", "_k_m"))
    assert (float(str(evidence["fallback_share"])) > 0.5) is narrow, "576 is no multiple of 256"
    assert float(str(evidence["source_4bit_share"])) > 0.7
    assert "4-bit grid" in str(evidence["caution"])


def test_q4_1_looks_better_than_it_is_and_is_marked(
    smollm2_gguf: Path, ids: list[int], whole: float, tmp_path: Path
) -> None:
    results = {}
    for kind in ("q4_1", "q4_0"):
        output, evidence = made("gguf-quantize", smollm2_gguf, tmp_path / kind, type=kind)
        with opened("llamacpp", "gguf", output, context_tokens=512) as session:
            results[kind] = perplexity(session, ids)
        said(kind, results[kind], whole, evidence)
        assert "looks better than it is" in str(evidence["caution"])
    assert abs(results["q4_1"] / whole - 1) < 0.02 < results["q4_0"] / whole - 1


def test_an_importance_matrix_helps_where_bits_are_few(
    smollm2_gguf: Path, ids: list[int], whole: float, tmp_path: Path
) -> None:
    for kind in ("q4_0", "q3_k_s"):
        results = {}
        for weighed in (False, True):
            name = f"{kind}-{weighed}"
            output, evidence = made("gguf-quantize", smollm2_gguf, tmp_path / name, type=kind, imatrix=weighed)
            assert evidence["imatrix_matrices"] == (210 if weighed else 0)
            with opened("llamacpp", "gguf", output, context_tokens=512) as session:
                results[weighed] = perplexity(session, ids)
            said(name, results[weighed], whole, evidence)
        assert results[True] < results[False]


#: Settings, greatest perplexity relative to float32's, greatest bits for each weight.
ONNX: Mapping[str, tuple[str, Mapping[str, OptionValue], float, float]] = {
    # One scale for the inputs of all tokens of a call: the outliers of one cost the others.
    "int8": ("onnx-dynamic-int8", {}, 1.4, 16),
    "8-bit": ("onnx-matmul-nbits", {"bits": 8}, 1.02, 17),
    "4-bit-32": ("onnx-matmul-nbits", {"bits": 4}, 1.4, 13),
    "4-bit-128": ("onnx-matmul-nbits", {"bits": 4, "block": 128}, 1.8, 12.5),
    "4-bit-8-head": ("onnx-matmul-nbits", {"bits": 4, "head_bits": 8, "embedding_bits": 8}, 1.4, 9),
}


@pytest.mark.parametrize("name", ONNX)
def test_onnx_types(name: str, smollm2_onnx: dict[str, Path], ids: list[int], whole: float, tmp_path: Path) -> None:
    technique, options, most, bits = ONNX[name]
    output, evidence = made(technique, smollm2_onnx["onnx"], tmp_path / "out", **options)
    with opened("onnx", "onnx", output, cache_tokens=512) as session:
        perplexity_after = perplexity(session, ids)
        assert session.facts()["compute"] == "int8"
        said(name, perplexity_after, whole, {**evidence, "traffic": session.traffic().weights_bytes})
        print(session.traffic())
    assert 0.95 * whole < perplexity_after < most * whole
    assert float(str(evidence["bits_per_weight"])) < bits
    (tmp_path / "ort").mkdir()
    default_registry().converter("ort-format").convert(output, tmp_path / "ort", {})
    with opened("onnx-mobile", "ort", tmp_path / "ort", cache_tokens=512) as session:
        assert perplexity(session, ids) == pytest.approx(perplexity_after, rel=0.02)
        assert session.facts()["compute"] == "int8"


TORCH: Mapping[str, tuple[float, float]] = {
    "torch-half": (1.01, 16.1),
    "torch-int8-dynamic": (2.2, 15),
    "torch-int8-weight-only": (1.02, 15),
    "torch-int4-weight-only": (1.4, 9),
}


@pytest.fixture(params=[pytest.param(name, marks=pytest.mark.apart if "weight-only" in name else ()) for name in TORCH])
def runtime(request: pytest.FixtureRequest) -> RuntimeTechnique:
    technique = default_registry().technique(request.param)
    assert isinstance(technique, RuntimeTechnique)
    if "weight-only" in request.param and importlib.util.find_spec("torchao") is None:
        pytest.skip("the extra torchao is not installed")
    return technique


def test_torch_types(runtime: RuntimeTechnique, smollm2: Path, ids: list[int], whole: float) -> None:
    most, bits = TORCH[runtime.name]
    settings = complete(runtime.options, {}, str)
    with opened("torch", "hf", smollm2, **runtime.session_options(settings)) as session:
        perplexity_after = perplexity(session, ids)
        evidence = runtime.evidence(session, settings)
        said(runtime.name, perplexity_after, whole, evidence)
        assert session.facts()["parameters"] == PARAMETERS
        read = session.traffic().weights_bytes
    assert 0.95 * whole < perplexity_after < most * whole
    assert float(str(evidence["bits_per_weight"])) < bits
    assert read <= int(str(evidence["weights_bytes"]))
