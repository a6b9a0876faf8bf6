"""The methods' order on the embedded model: perplexity at half of the weights, and a cut model."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("tokenizers")

from pruning_models import pruned, reloaded  # noqa: E402

from joulebench.api import ArtifactTechnique  # noqa: E402
from joulebench.worker.tokenizer import CheckpointTokenizer  # noqa: E402
from joulebench_plugins.pruning.structured import PruneStructured  # noqa: E402
from joulebench_plugins.pruning.unstructured import (  # noqa: E402
    PruneMagnitude,
    PruneSparseGpt,
    PruneWanda,
)

# Three techniques over 210 matrices: minutes on an idle machine, more on a busy one.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

TEXTS = Path(__file__).parents[2] / "profiles" / "joulebench_profiles" / "texts"
CALIBRATION, EVALUATION = TEXTS / "calibration.txt", TEXTS / "evaluation.txt"
TOKENS, WINDOW = 4096, 512
DEFAULT = {"sequences": 12, "length": 256}


def perplexity(folder: Path) -> float:
    """In float32, over windows that do not overlap, of the text that calibration never sees."""
    text = EVALUATION.read_text(encoding="utf-8")
    ids = CheckpointTokenizer(folder).encode(text, chat=False)[:TOKENS]
    model = reloaded(folder)
    total = count = 0.0
    with torch.inference_mode():
        for start in range(0, len(ids), WINDOW):
            window = torch.tensor([ids[start : start + WINDOW]])
            logits = model(window).logits[0, :-1].log_softmax(-1)
            total -= float(logits.gather(1, window[0, 1:, None]).sum())
            count += window.shape[1] - 1
    return math.exp(total / count)


def perplexity_after(technique: ArtifactTechnique, source: Path, output: Path, **given: str) -> float:
    calibrated = {} if technique.name == "prune-magnitude" else DEFAULT
    evidence = pruned(technique, source, output, CALIBRATION, **calibrated, **given)
    assert evidence["zero_fraction"] == pytest.approx(0.5, abs=1e-4)
    return perplexity(output)


@pytest.mark.parametrize("pattern", ["unstructured", "2:4"])
def test_at_half_of_the_weights_sparsegpt_and_wanda_beat_magnitude(pattern: str, smollm2: Path, tmp_path: Path) -> None:
    whole = perplexity(smollm2)
    results = {
        technique.name: perplexity_after(technique(), smollm2, tmp_path / technique.name, pattern=pattern)
        for technique in (PruneMagnitude, PruneWanda, PruneSparseGpt)
    }
    print({"none": whole, "pattern": pattern, **results})
    assert whole < results["prune-sparsegpt"] < results["prune-wanda"]
    assert results["prune-wanda"] < 0.5 * results["prune-magnitude"]


def test_by_activations_a_cut_model_is_better_than_by_the_weights_norms(smollm2: Path, tmp_path: Path) -> None:
    results = {}
    for scores in ("activation", "magnitude"):
        evidence = pruned(
            PruneStructured(), smollm2, tmp_path / scores, CALIBRATION, keep_mlp="75%", scores=scores, **DEFAULT
        )
        assert (evidence["mlp_width_before"], evidence["mlp_width_after"]) == (1536, 1152)
        assert int(str(evidence["parameters_after"])) < int(str(evidence["parameters_before"]))
        results[scores] = perplexity(tmp_path / scores)
    print({"none": perplexity(smollm2), **results})
    assert results["activation"] < results["magnitude"]
