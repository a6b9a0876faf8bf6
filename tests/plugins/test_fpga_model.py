"""The functional model: exact products, near to transformers, the same through every path."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fpga_models import NO_BIAS, TIED, integer_llama, opened, setup_of, write_checkpoint
from llama_models import generated, torch_model
from onnx_models import LLAMA3

from joulebench.errors import JoulebenchError, ModelError
from joulebench_plugins.fpga.model.cache import IntegerKvCache
from joulebench_plugins.fpga.model.llama import _two_parts
from joulebench_plugins.fpga.model.matrices import Matrix, quantized_groups, quantized_rows
from joulebench_plugins.fpga.model.products import ExactProducts

np = pytest.importorskip("numpy")
pytest.importorskip("torch")
pytest.importorskip("transformers")

PROMPT = [3, 14, 15, 92, 65, 35, 89, 79]
SHAPES = {"tied": TIED, "own head": NO_BIAS, "llama3": LLAMA3}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("fpga") / "checkpoint", TIED)


def tokens_of(count: int) -> list[int]:
    return [(7 * i * i + 3) % TIED["vocab_size"] for i in range(count)]


def torch_logits(folder: Path, tokens: list[int]) -> Any:
    import torch

    with torch.no_grad():
        return torch_model(folder)(input_ids=torch.tensor([tokens])).logits[0].numpy()


# -- integers -----------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [64, 1536, 3000])
@pytest.mark.parametrize("extreme", [127, -128])
def test_products_in_float32_slices_are_exact(columns: int, extreme: int) -> None:
    source = np.random.default_rng(columns)
    for integers in (source.integers(-128, 128, (9, columns)), np.full((9, columns), extreme)):
        matrix = Matrix("m", integers.astype(np.int8), np.ones(9, np.float32), 8, 0)
        x = np.full((2, columns), extreme, np.int8)
        assert (matrix.products(x) == x.astype(np.int64) @ integers.astype(np.int64).T).all()
        assert (matrix.integers(2, 3) == integers[2:5]).all()


def test_groups_have_an_accumulator_each() -> None:
    source = np.random.default_rng(1)
    integers = source.integers(-8, 8, (6, 100)).astype(np.int8)
    matrix = Matrix("m", integers, np.ones((4, 6), np.float32), 4, 32)
    x = source.integers(-127, 128, (3, 100)).astype(np.int8)
    products = matrix.products(x)
    assert products.shape == (4, 3, 6)
    assert (products.sum(axis=0) == x.astype(np.int64) @ integers.astype(np.int64).T).all()
    assert (matrix.integers() == integers).all()


def test_quantized_weights_are_within_half_a_step() -> None:
    weights = np.random.default_rng(2).standard_normal((5, 100)).astype(np.float32)
    weights[3] = 0
    rows = quantized_rows("r", weights)
    looked_up = rows.looked_up(np.arange(5))
    assert (np.abs(looked_up - weights) <= 0.5001 * rows.scales[:, None]).all()
    assert np.abs(rows.integers()).max() == 127
    assert (looked_up[3] == 0).all()


def test_int4_groups_use_all_codes_and_float16_scales() -> None:
    weights = np.random.default_rng(2).standard_normal((50, 128)).astype(np.float32)
    rounded = quantized_groups("g", weights, 32)
    integers = rounded.integers()
    assert (integers.min(), integers.max()) == (-8, 7)
    assert (rounded.scales == rounded.scales.astype(np.float16)).all()
    steps = np.repeat(np.abs(rounded.scales.T), 32, axis=1)
    signed = np.repeat(rounded.scales.T, 32, axis=1)
    error = np.abs(integers * signed - weights)
    # The code that would be +8 is the one that is missing: it costs up to a whole step.
    assert (error <= 1.001 * steps).all()
    assert np.median(error / steps) < 0.3


def test_probabilities_have_fourteen_bits_in_two_parts() -> None:
    weights = np.random.default_rng(4).random((2, 3, 40)).astype(np.float32)
    weights[0, 0] = 0
    high, low, unit = _two_parts(weights)
    assert high.dtype == low.dtype == np.int8
    assert min(high.min(), low.min()) == 0
    whole = high.astype(np.int64) * 128 + low
    assert whole.max() == 2**14 - 1
    assert np.allclose(whole * unit, weights, atol=weights.max() / 2**14)


# -- the model ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SHAPES)
def test_int8_logits_are_near_those_of_transformers(name: str, tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "checkpoint", SHAPES[name])
    tokens = tokens_of(60)
    expected = torch_logits(checkpoint, tokens)
    with opened(checkpoint) as session:
        logits = session.logits(tokens)
    assert logits.shape == expected.shape
    # Weights this wild make a small step of an integer large: 7 to 10 % here, 0.1 % in float32.
    assert np.abs(logits - expected).mean() < 0.15 * np.abs(expected).mean()
    assert np.corrcoef(logits.ravel(), expected.ravel())[0, 1] > 0.98


def test_int4_is_farther_away_than_int8_and_still_a_model(folder: Path) -> None:
    tokens = tokens_of(60)
    expected = torch_logits(folder, tokens)

    def error(**settings: Any) -> float:
        with opened(folder, **settings) as session:
            return float(np.abs(session.logits(tokens) - expected).mean())

    eight, four = error(), error(weights="int4")
    assert 2 * eight < four < 0.5 * np.abs(expected).mean()


@pytest.mark.parametrize("weights", ["int8", "int4"])
def test_a_prompt_at_once_and_token_by_token_give_the_same(folder: Path, weights: str) -> None:
    setup = setup_of(TIED, weights=weights)
    model, products = integer_llama(folder, setup), ExactProducts()
    tokens = np.asarray(tokens_of(20))
    together = model.hidden(tokens, IntegerKvCache(setup.shape, 32), products)
    cache = IntegerKvCache(setup.shape, 32)
    apart = [model.hidden(tokens[i : i + 1], cache, products)[0] for i in range(20)]
    # Sums of floats may differ in their last bit, and an integer with them.
    assert np.allclose(together, np.stack(apart), rtol=1e-3, atol=1e-3)


def test_long_prompts_attend_in_chunks(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = tokens_of(70)
    with opened(folder) as session:
        whole = session.logits(tokens)
        monkeypatch.setattr("joulebench_plugins.fpga.model.llama._CHUNK", 16)
        assert np.allclose(session.logits(tokens), whole, atol=1e-2 * np.abs(whole).max())


def test_greedy_text_follows_the_logits_and_scores(folder: Path) -> None:
    with opened(folder) as session:
        written = generated(session, PROMPT, 40)
        assert len(set(written)) > 8
        sequence = PROMPT + written
        logits = session.logits(sequence[:-1]).astype(np.float64)
        assert logits.argmax(-1)[len(PROMPT) - 1 :].tolist() == written
        scores = session.score(sequence)
        logits -= logits.max(-1, keepdims=True)
        expected = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        assert scores == pytest.approx(expected[np.arange(len(scores)), sequence[1:]], abs=1e-5)
        session.reset()
        assert generated(session, PROMPT, 40) == written


# -- refusals -----------------------------------------------------------------------------------


def test_misuse_is_an_error_in_words(folder: Path) -> None:
    with opened(folder, cache_tokens=16) as session:
        with pytest.raises(JoulebenchError, match="empty prompt"):
            session.prefill([])
        with pytest.raises(JoulebenchError, match="call prefill"):
            session.step()
        with pytest.raises(JoulebenchError, match="do not fit into 16 positions"):
            session.prefill(tokens_of(17))
        with pytest.raises(JoulebenchError, match="token is not in"):
            session.prefill([TIED["vocab_size"]])


def test_tensors_that_no_layer_uses_fail_the_model(folder: Path, tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    tensors["model.layers.0.self_attn.q_norm.weight"] = np.ones(16, np.float32)
    save_file(tensors, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    with pytest.raises(ModelError, match=r"layers that are not modelled: .*q_norm"):
        opened(tmp_path)


def test_a_damaged_or_missing_file_is_named(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    with pytest.raises(ModelError, match="no weights"):
        opened(tmp_path)
    whole = (folder / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match="is truncated"):
        opened(tmp_path)
    config = json.loads((folder / "config.json").read_text())
    (tmp_path / "model.safetensors").write_bytes(whole)
    (tmp_path / "config.json").write_text(json.dumps({**config, "intermediate_size": 100}))
    with pytest.raises(ModelError, match=r"config\.json says"):
        opened(tmp_path)
