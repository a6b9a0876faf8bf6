"""MLPs that leave channels out: thresholds, masks, gathered rows, and what is said of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from pruning_models import SIZES, TEXT, make_model, save  # noqa: E402

from joulebench.api import Artifact  # noqa: E402
from joulebench.errors import ModelError  # noqa: E402
from joulebench_plugins.torch.backend import TorchBackend  # noqa: E402

PROMPT = [5, 17, 33, 64, 120, 7, 9, 200]


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("text") / "text.txt"
    file.write_text(TEXT * 2, encoding="utf-8")
    return file


@pytest.fixture(scope="module", params=["llama", "llama-biased"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(make_model(request.param, max_position_embeddings=512), tmp_path_factory.mktemp(request.param))


def opened(folder: Path, **settings: str | int | float) -> Any:
    return TorchBackend().open(Artifact("hf", folder, "", 0), "cpu", {"threads": 1, **settings})


def generated(session: Any, count: int) -> list[int]:
    return [session.prefill(PROMPT), *(session.step() for _ in range(count - 1))]


def test_all_channels_active_is_the_dense_model(folder: Path, text: Path) -> None:
    chosen = {"mlp_active": 1.0, "mlp_text": str(text), "mlp_kernel": "mask"}
    with opened(folder, **chosen) as session, opened(folder) as dense:
        # The least value of the calibration text is the threshold: hardly anything is below it.
        assert session.score(PROMPT) == pytest.approx(dense.score(PROMPT), abs=1e-3)


@pytest.mark.parametrize("share", [0.3, 0.6])
def test_the_active_share_is_the_wanted_one_on_the_calibration_text(folder: Path, text: Path, share: float) -> None:
    chosen = {"mlp_active": share, "mlp_text": str(text), "mlp_kernel": "mask"}
    with opened(folder, **chosen) as session:
        from tokenizers import Tokenizer

        ids = Tokenizer.from_file(str(folder / "tokenizer.json")).encode(text.read_text()).ids
        session.score(ids[:256])
        observed = session.observed("mlp.contextual")
        # Later layers see what sparser ones before them made.
        assert observed["active_share_mean"] == pytest.approx(share, abs=0.1)
        assert observed["active_share_wanted"] == share
        assert observed["layers"] == SIZES["num_hidden_layers"]
        assert "no time is saved" in observed["note"]


def test_gathered_rows_give_what_masks_give(folder: Path, text: Path) -> None:
    results = {}
    for kernel in ("mask", "gather"):
        chosen = {"mlp_active": 0.4, "mlp_text": str(text), "mlp_kernel": kernel}
        with opened(folder, **chosen) as session:
            results[kernel] = generated(session, 24), session.score(PROMPT)
            observed = session.observed("mlp.contextual")
            assert observed["kernel"] == session.facts()["mlp"] == kernel
            assert 0.05 < observed["active_share_min"] <= observed["active_share_max"] < 0.9
            # What a token reads depends on it where rows are picked, and only there.
            assert (session.traffic().weights_bytes is None) == (kernel == "gather")
    assert results["mask"][0] == results["gather"][0]
    assert results["mask"][1] == pytest.approx(results["gather"][1], abs=1e-4)


def test_left_out_channels_are_zero_in_a_plain_computation(folder: Path, text: Path) -> None:
    chosen = {"mlp_active": 0.5, "mlp_text": str(text), "mlp_kernel": "gather"}
    with opened(folder, **chosen) as session:
        mlp = session.model.model.layers[0].mlp
        state = torch.randn((1, 1, SIZES["hidden_size"]))
        with torch.no_grad():
            gate = torch.nn.functional.silu(mlp.gate_proj(state))
            kept = torch.where(gate.abs() >= mlp.threshold, gate, 0.0)
            expected = mlp.down_proj(kept * mlp.up_proj(state))
            assert torch.allclose(mlp(state), expected, atol=1e-5)
        assert (kept == 0).any()


def test_auto_takes_what_its_trial_shows_to_be_faster(folder: Path, text: Path) -> None:
    with opened(folder, mlp_active=0.5, mlp_text=str(text)) as session:
        observed = session.observed("mlp.contextual")
        assert observed["kernel"] == ("gather" if observed["gather_over_mask_time"] < 1 else "mask")
        # Turned back where it was not taken: nothing else becomes slower.
        weight = session.model.model.layers[0].mlp.down_proj.weight
        assert weight.is_contiguous() == (observed["kernel"] == "mask")
        assert session.train_step(PROMPT) > 0


def test_it_goes_together_with_a_compressed_cache(folder: Path, text: Path) -> None:
    chosen = {"mlp_active": 0.5, "mlp_text": str(text), "kv_policy": "tova", "kv_budget": 6, "kv_sinks": 0}
    with opened(folder, **chosen) as session:
        generated(session, 10)
        assert session.observed("kv.evict")["kv_tokens_kept_max"] == 6
        assert session.observed("mlp.contextual")["active_share_mean"] is not None


def test_a_text_that_is_too_short_is_an_error_with_its_length(folder: Path, tmp_path: Path) -> None:
    short = tmp_path / "short.txt"
    short.write_text("the cat sat", encoding="utf-8")
    with pytest.raises(ModelError, match="too short for thresholds"):
        opened(folder, mlp_active=0.5, mlp_text=str(short))


def test_a_model_without_a_tokenizer_is_an_error(tmp_path: Path, text: Path) -> None:
    make_model().save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"no tokenizer\.json"):
        opened(tmp_path, mlp_active=0.5, mlp_text=str(text))
