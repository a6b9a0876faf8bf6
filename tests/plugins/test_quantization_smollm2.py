"""The methods' order on the embedded model, and one quantized model on three runtimes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
np = pytest.importorskip("numpy")
pytest.importorskip("transformers")
pytest.importorskip("tokenizers")

from pruning_models import pruned, reloaded  # noqa: E402

from joulebench.api import Artifact, ArtifactTechnique, BackendSession  # noqa: E402
from joulebench.worker.tokenizer import CheckpointTokenizer  # noqa: E402
from joulebench_plugins.gguf.export import GgufExport  # noqa: E402
from joulebench_plugins.llamacpp.backend import LlamaCppBackend  # noqa: E402
from joulebench_plugins.onnx.backend import OnnxBackend  # noqa: E402
from joulebench_plugins.onnx.exporter import OnnxExport  # noqa: E402
from joulebench_plugins.quantization.equivalent import (  # noqa: E402
    QuantizeAwq,
    QuantizeRotate,
    QuantizeSmoothQuant,
)
from joulebench_plugins.quantization.techniques import QuantizeGptq, QuantizeRtn  # noqa: E402

# Calibration and correction of 210 matrices: minutes on an idle machine, more on a busy one.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

TEXTS = Path(__file__).parents[2] / "profiles" / "joulebench_profiles" / "texts"
CALIBRATION, EVALUATION = TEXTS / "calibration.txt", TEXTS / "evaluation.txt"
TOKENS, WINDOW = 2048, 512
DEFAULT = {"sequences": 12, "length": 256}


def windows(folder: Path, tokens: int = TOKENS) -> Iterator[torch.Tensor]:
    """The text that calibration never sees, in pieces that do not overlap."""
    text = EVALUATION.read_text(encoding="utf-8")
    ids = CheckpointTokenizer(folder).encode(text, chat=False)[:tokens]
    for start in range(0, len(ids), WINDOW):
        yield torch.tensor([ids[start : start + WINDOW]])


def perplexity(model: Any, folder: Path) -> float:
    """In float32."""
    total = count = 0.0
    with torch.inference_mode():
        for window in windows(folder):
            logits = model(window).logits[0, :-1].log_softmax(-1)
            total -= float(logits.gather(1, window[0, 1:, None]).sum())
            count += window.shape[1] - 1
    return math.exp(total / count)


def perplexity_after(technique: ArtifactTechnique, source: Path, output: Path, **given: str | int) -> float:
    calibrated = DEFAULT if any(option.name == "sequences" for option in technique.options) else {}
    evidence = pruned(technique, source, output, CALIBRATION, **calibrated, **given)
    assert evidence["source_4bit_share"] == pytest.approx(1, abs=0.01), "it comes from Q4_1"
    assert evidence.get("integers_give_weights") is not False
    return perplexity(reloaded(output), output)


def test_eight_bits_cost_next_to_nothing_and_of_four_gptq_and_awq_cost_less_than_rounding(
    smollm2: Path, tmp_path: Path
) -> None:
    results = {"none": perplexity(reloaded(smollm2), smollm2)}
    for name, technique, options in (
        ("rtn-8", QuantizeRtn(), {"bits": 8}),
        ("rtn-4", QuantizeRtn(), {"bits": 4}),
        ("gptq-4", QuantizeGptq(), {"bits": 4}),
        ("awq-4", QuantizeAwq(), {"bits": 4}),
        ("rotate", QuantizeRotate(), {"rounding": "none"}),
        ("rotate-4", QuantizeRotate(), {"bits": 4}),
        ("rotate-gptq-4", QuantizeRotate(), {"bits": 4, "rounding": "gptq"}),
    ):
        results[name] = perplexity_after(technique, smollm2, tmp_path / name, **options)
    print(results)
    assert results["rotate"] == pytest.approx(results["none"], rel=1e-4)
    assert results["rtn-8"] == pytest.approx(results["none"], rel=0.01)
    for name in ("gptq-4", "awq-4", "rotate-gptq-4"):
        assert results["none"] < results[name] < 0.97 * results["rtn-4"]
    # Rotated, errors of the weights meet the large channels that the norms kept from them.
    assert results["rotate-4"] > results["rtn-4"]


def test_where_a_row_shares_a_scale_the_methods_differ_more(smollm2: Path, tmp_path: Path) -> None:
    results = {
        technique.name: perplexity_after(technique, smollm2, tmp_path / technique.name, bits=4, group=0)
        for technique in (QuantizeRtn(), QuantizeGptq(), QuantizeAwq())
    }
    print(results)
    for name in ("quantize-gptq", "quantize-awq"):
        assert results[name] < 0.9 * results["quantize-rtn"]


def rounding_activations(model: Any) -> Any:
    """Each linear layer of the decoder sees its input rounded to int8, a scale for each token."""

    def rounded(_: Any, given: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        scale = given[0].abs().amax(-1, keepdim=True).clamp(1e-9) / 127
        return ((given[0] / scale).round() * scale, *given[1:])

    for layer in model.model.layers:
        for module in layer.modules():
            if isinstance(module, torch.nn.Linear):
                module.register_forward_pre_hook(rounded)
    return model


def test_smoothing_and_rotating_pay_where_activations_are_rounded_and_not_before(smollm2: Path, tmp_path: Path) -> None:
    results: dict[str, float] = {"none": perplexity(reloaded(smollm2), smollm2)}
    for name, technique, options in (
        ("rtn", QuantizeRtn(), {"bits": 8, "group": 0}),
        ("smooth", QuantizeSmoothQuant(), {"bits": 8, "group": 0}),
        ("rotate", QuantizeRotate(), {"rounding": "none"}),
    ):
        results[name] = perplexity_after(technique, smollm2, tmp_path / name, **options)
        model = rounding_activations(reloaded(tmp_path / name))
        results[f"{name}-activations"] = perplexity(model, tmp_path / name)
    print(results)
    assert results["smooth"] == pytest.approx(results["none"], rel=0.01)
    assert results["rtn-activations"] > 1.02 * results["none"]
    for name in ("smooth", "rotate"):
        assert results[f"{name}-activations"] < 0.98 * results["rtn-activations"]


@pytest.mark.parametrize("bits", [8, 4])
def test_one_quantized_model_is_nearly_as_good_on_every_runtime(bits: int, smollm2: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    if not LlamaCppBackend().available().ok:
        pytest.skip("no llama.cpp")
    folder = tmp_path / "quantized"
    pruned(QuantizeRtn(), smollm2, folder, CALIBRATION, bits=bits)
    model = reloaded(folder)
    (window,) = windows(folder, 256)
    ids = window[0].tolist()
    with torch.inference_mode():
        exact = model(window).logits[0].double().log_softmax(-1)
    results: dict[str, dict[str, float]] = {"torch": {"perplexity": _perplexity_of(exact, ids)}}
    for name, session in _packed_sessions(folder, tmp_path):
        with session:
            logits = torch.tensor(np.asarray(session.logits(ids))).double().log_softmax(-1)
        results[name] = {
            "perplexity": _perplexity_of(logits, ids),
            "kl_nats": float((exact.exp() * (exact - logits)).sum(-1).mean()),
            "top1": float((exact.argmax(-1) == logits.argmax(-1)).double().mean()),
        }
    print(results)
    assert results["onnx"]["kl_nats"] < 1e-6
    assert results["onnx"]["top1"] == 1
    for name in ("onnx-int8", "llamacpp"):
        assert results[name]["kl_nats"] < 0.01
        assert results[name]["perplexity"] == pytest.approx(results["torch"]["perplexity"], rel=0.02)


def _perplexity_of(log_probabilities: torch.Tensor, ids: list[int]) -> float:
    chosen = log_probabilities[:-1].gather(1, torch.tensor(ids[1:])[:, None])
    return math.exp(-float(chosen.mean()))


def _packed_sessions(folder: Path, root: Path) -> Iterator[tuple[str, BackendSession]]:
    for name, settings in (("onnx", {}), ("onnx-int8", {"activations": "int8"})):
        (root / name).mkdir()
        OnnxExport().convert(folder, root / name, settings)
        artifact = Artifact("onnx", root / name, "", 0)
        yield name, OnnxBackend().open(artifact, "cpu", {"threads": 1, "cache_tokens": 512})
    (root / "gguf").mkdir()
    GgufExport().convert(folder, root / "gguf", {"dtype": "float32"})
    artifact = Artifact("gguf", root / "gguf", "", 0)
    settings = {"threads": 1, "context_tokens": 512}
    yield "llamacpp", LlamaCppBackend().open(artifact, "cpu", settings)
