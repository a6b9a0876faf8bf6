"""What goes through the RTL: whole texts, one token of a model, and what happens on a fault."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fpga_models import NO_BIAS, TIED, integer_llama, opened, setup_of, write_checkpoint

from joulebench.errors import PluginError
from joulebench_plugins.fpga import law, verification
from joulebench_plugins.fpga.model.cache import IntegerKvCache
from joulebench_plugins.fpga.model.products import ExactProducts, Products
from joulebench_plugins.fpga.rtlsim import available, build
from joulebench_plugins.fpga.verification import RtlProducts, verify

np = pytest.importorskip("numpy")
pytest.importorskip("torch")
pytest.importorskip("transformers")
if not available().ok:
    pytest.skip(f"no RTL here: {available().reason}", allow_module_level=True)

PROMPT = [3, 14, 15, 92, 65]
WRITTEN = 64


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("fpga") / "checkpoint", TIED)


def everything(layer: int | None, head: int) -> bool:
    return True


def greedy(model: Any, setup: Any, products: Products, count: int) -> list[int]:
    cache = IntegerKvCache(setup.shape, len(PROMPT) + count)
    tokens, written = list(PROMPT), []
    while len(written) < count:
        hidden = model.hidden(np.asarray(tokens), cache, products)
        tokens = [int(model.logits(hidden[-1:], products).argmax())]
        written += tokens
    return written


@pytest.mark.parametrize("weights", ["int8", "int4"])
def test_64_greedy_tokens_through_the_rtl_are_the_integer_model_s(folder: Path, weights: str, cache: Path) -> None:
    setup = setup_of(TIED, weights=weights)
    model = integer_llama(folder, setup)
    rtl = RtlProducts(setup, build(setup.engine), everything, all_engines=True)
    written = greedy(model, setup, rtl, WRITTEN)
    assert written == greedy(model, setup, ExactProducts(), WRITTEN)
    assert len(set(written)) > 10, "a text that repeats itself would prove little"
    assert rtl.verified.macs > WRITTEN * setup.layout.macs()


@pytest.mark.parametrize("shape", [TIED, NO_BIAS], ids=["tied", "own head"])
@pytest.mark.parametrize("weights", ["int8", "int4"])
def test_a_whole_token_takes_the_cycles_of_the_closed_form(
    shape: dict[str, Any], weights: str, tmp_path: Path, cache: Path
) -> None:
    checkpoint = write_checkpoint(tmp_path / "checkpoint", shape)
    setup = setup_of(shape, weights=weights, engines=1)
    verification = verify(integer_llama(checkpoint, setup), setup, "token", "seed")
    layout, model = setup.layout, setup.nominal()
    products = (*layout.projections(), layout.head(), *layout.attention(5))
    expected = sum(product.times * layout.planes(product) * model.gemv_cycles(product) for product in products)
    assert verification.cycles == expected
    assert verification.gemvs == sum(product.times * layout.planes(product) for product in products)
    # Memory is slower than this engine, so that waiting for it is part of what was checked.
    assert setup_of(shape, weights=weights, engines=1, lanes=8).nominal().machine.rate <= 1


def test_a_sample_is_the_model_s_own_and_smaller(folder: Path, cache: Path) -> None:
    with opened(folder, verify="sampled") as session:
        facts = session.facts()
    assert facts["evidence"] == "rtl-sampled"
    layers = min(verification.SAMPLED_LAYERS, TIED["num_hidden_layers"])
    # Seven matrices, a head's scores and its values in two passes, of each layer; and the head.
    assert facts["verified_gemvs"] == layers * (7 + 1 + 2) + 1
    assert session.simulated().cycles == 0, "what was verified is no work of the cell"
    with opened(folder, verify="token") as session:
        assert session.facts()["evidence"] == "rtl-full"
    with opened(folder, verify="off") as session:
        assert session.facts()["evidence"] == "analytic"
        assert session.facts()["verified_gemvs"] == 0


def test_a_wrong_cycle_law_fails_the_model_and_names_the_product(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setup = setup_of(TIED)
    model = integer_llama(folder, setup)
    monkeypatch.setattr(
        "joulebench_plugins.fpga.rtlsim.checking.gemv_cycles", lambda *shape: law.gemv_cycles(*shape) + 1
    )
    with pytest.raises(PluginError, match=r"in layer \d q_proj: cycles: the RTL counts"):
        verify(model, setup, "sampled", "seed")


def test_a_wrong_value_fails_the_model(folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from joulebench_plugins.fpga.rtlsim.running import GemvEngine

    setup = setup_of(TIED)
    model = integer_llama(folder, setup)
    honest = GemvEngine.gemv

    def off_by_one(self: GemvEngine, *operands: Any, **more: Any) -> Any:
        run = honest(self, *operands, **more)
        run.accumulators[-1] += 1
        return run

    monkeypatch.setattr(GemvEngine, "gemv", off_by_one)
    with pytest.raises(PluginError, match="accumulators: 1 of"):
        verify(model, setup, "sampled", "seed")


@pytest.mark.slow
def test_one_token_of_the_embedded_model_goes_through_the_rtl(smollm2: Path, cache: Path) -> None:
    with opened(smollm2, board="kv260", lanes=32, engines=1, verify="token") as session:
        facts = session.facts()
    assert facts["evidence"] == "rtl-full"
    assert int(facts["verified_macs"]) > 134_000_000  # type: ignore[arg-type]
