"""Types of weights and of KV caches on the torch backend, on models of many architectures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
import numpy as np  # noqa: E402
from family_models import FAMILIES, make_family  # noqa: E402

from joulebench.api import Artifact, OptionValue  # noqa: E402
from joulebench_plugins.torch.backend import TorchBackend  # noqa: E402
from joulebench_plugins.torch.bareweights import bare_weights  # noqa: E402
from joulebench_plugins.torch.kvcaches.options import POLICIES  # noqa: E402

IDS = [(31 * i * i + 7 * i + 11) % 300 + 3 for i in range(40)]
FAST = ("gpt2", "granite")
families = [pytest.param(kind, marks=() if kind in FAST else pytest.mark.slow) for kind in FAMILIES]
EVICTING: dict[str, OptionValue] = {"kv_policy": "window", "kv_budget": 12, "kv_sinks": 2, "kv_chunk": 8}


def opened(folder: Path, **settings: OptionValue) -> Any:
    return TorchBackend().open(Artifact("hf", folder, "", 0), "cpu", {"threads": 1, **settings})


def fault_of(model: Any, **settings: OptionValue) -> str | None:
    return TorchBackend().check("cpu", {**TorchBackend().default_settings(), **settings}, model.config.to_diff_dict())


@pytest.mark.parametrize("kind", families)
def test_int8_reaches_each_layer_that_is_called_and_names_the_matrices_that_stay(kind: str, tmp_path: Path) -> None:
    model = make_family(kind)
    model.save_pretrained(tmp_path)
    plain, packed = opened(tmp_path), opened(tmp_path, weights="int8-dynamic")
    exact, near = np.asarray(plain.logits(IDS)), np.asarray(packed.logits(IDS))
    # Not the largest: an expert that a token is sent to by a hair changes everything after it.
    assert 0 < np.median(np.abs(near - exact)) < 0.4 * np.median(np.abs(exact))
    left = str(packed.facts()["left_alone"])
    taken = set(bare_weights(model))
    bare = {name.rpartition(".")[2] for name, module in model.named_modules() if module in taken}
    assert bare == {"dt_proj", "lm_head"} & {
        name.rpartition(".")[2] for name in left.replace(".weight", "").replace(" ×2", "").split(", ")
    }
    assert ("experts" in left) == any("experts" in name for name, _ in model.named_parameters())
    assert not any(part in left for part in ("attn", "attention", "fc", "in_proj", "out_proj", "w1"))
    plain.close()
    packed.close()


def seen_by_a_window(tokens: int, chunk: int, budget: int, sinks: int) -> torch.Tensor:
    """Which positions each token sees when a text is read in pieces through a window, (tokens, tokens)."""
    mask = torch.zeros(tokens, tokens, dtype=torch.bool)
    kept: list[int] = []
    for start in range(0, tokens, chunk):
        piece = list(range(start, min(tokens, start + chunk)))
        for position in piece:
            mask[position, kept + [other for other in piece if other <= position]] = True
        kept += piece
        if len(kept) > budget:
            kept = kept[:sinks] + kept[len(kept) - budget + sinks :]
    return mask


@pytest.mark.parametrize("kind", families)
def test_a_window_gives_what_masking_the_other_positions_gives_or_is_refused(kind: str, tmp_path: Path) -> None:
    model = make_family(kind)
    fault = fault_of(model, **EVICTING)
    if fault is not None:
        assert "kv_policy knows models of type" in fault or "sees every position" in fault
        return
    model.save_pretrained(tmp_path)
    mask = torch.where(seen_by_a_window(len(IDS), 8, 12, 2), 0.0, float("-inf"))[None, None]
    with torch.inference_mode():
        expected = model(input_ids=torch.tensor([IDS]), attention_mask=mask, use_cache=False).logits[0].numpy()
    session = opened(tmp_path, **EVICTING)
    np.testing.assert_allclose(session.logits(IDS), expected, atol=1e-4 * np.abs(expected).max())
    session.close()


@pytest.mark.parametrize("kind", families)
def test_a_budget_that_is_never_reached_changes_no_token(kind: str, tmp_path: Path) -> None:
    model = make_family(kind)
    settings: list[dict[str, OptionValue]] = [{"kv_policy": policy, "kv_budget": 100} for policy in POLICIES]
    settings = [wish for wish in settings if fault_of(model, **wish) is None]
    if not settings:
        return
    model.save_pretrained(tmp_path)
    written = []
    for wish in ({}, *settings):
        session = opened(tmp_path, **wish)
        written.append([session.prefill(IDS), *(session.step() for _ in range(5))])
        session.close()
    assert all(tokens == written[0] for tokens in written)
