"""Cycles, bytes and joules of a token, against counting by hand."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import pytest
from fpga_models import setup_of
from hypothesis import given
from hypothesis import strategies as st

from joulebench_plugins.fpga.configuration import rate_of_beats
from joulebench_plugins.fpga.cycles import Cost
from joulebench_plugins.fpga.energy import Ledger, energy_shares
from joulebench_plugins.fpga.law import pipeline_cycles
from joulebench_plugins.fpga.traffic import TokenProduct

#: Small enough to count: one layer, hidden 16, two heads of 8 over one KV head, MLP 24.
ONE: dict[str, Any] = {
    "vocab_size": 40,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
    "max_position_embeddings": 64,
    "tie_word_embeddings": True,
}


def counted(**settings: Any) -> Any:
    return setup_of(ONE, lanes=8, engines=1, cache_tokens=64, **settings)


def test_a_token_is_the_sum_of_its_products_counted_by_hand() -> None:
    setup = counted()
    model = setup.nominal()
    assert model.machine.rate == 1, "this memory is faster than eight lanes"
    fill = pipeline_cycles(setup.engine)
    rows_and_beats = [
        (16, 2),
        (8, 2),
        (8, 2),
        (16, 2),
        (24, 2),
        (24, 2),
        (16, 3),
        (40, 2),  # matrices, head
        (5, 1),
        (5, 1),
        (8, 1),
        (8, 1),
        (8, 1),
        (8, 1),  # per head: scores, values twice
    ]
    products = sum(rows * beats + fill for rows, beats in rows_and_beats)
    vectors = 2 * 2 + 2 + 3 + 2 * 1 + 4 * 1 + 2  # hidden twice, heads, MLP, queries, weights, head
    per_cycle = 8  # bytes: a beat of eight int8 weights
    scales = [16, 8, 8, 16, 24, 24, 16, 40]
    waiting = sum(math.ceil(4 * scale / per_cycle) for scale in scales)
    waiting += math.ceil(2 * 2 * 5 * 4 / per_cycle)  # scales of keys and of values, both heads
    waiting += math.ceil((2 * (8 + 4) + 16 + 4) / per_cycle)  # new keys and values, embedding's row
    latency = 3 * math.ceil(200e-9 * 200e6)
    assert model.decode(5).cycles == products + vectors + waiting + latency


def test_bytes_and_multiplications_count_filled_up_beats() -> None:
    setup = counted()
    cost = setup.nominal().decode(5)
    beats = 32 + 16 + 16 + 32 + 48 + 48 + 48 + 80 + 2 * 5 + 4 * 8
    assert cost.lane_macs == 8 * beats
    scales = 4 * (16 + 8 + 8 + 16 + 24 + 24 + 16 + 40 + 2 * 2 * 5)
    assert cost.dram_bytes == 8 * beats + scales + 2 * (8 + 4) + 16 + 4
    layout = setup.layout
    assert layout.macs() == 16 * 16 + 2 * 8 * 16 + 16 * 16 + 3 * 16 * 24 + 40 * 16
    assert layout.cache_bytes(64) == 64 * 2 * (8 + 4)
    assert layout.stored_bytes() == layout.weights_bytes() - 20


def test_int8_on_an_int4_engine_takes_two_passes_and_the_same_bytes() -> None:
    eight, four = counted().layout, counted(weights="int4", group=8).layout
    head = four.head()
    assert four.planes(head) == 2
    assert four.beat_bytes(head) == eight.beat_bytes(eight.head())
    projections = sum(map(four.beat_bytes, four.projections()))
    assert 2 * projections == sum(map(eight.beat_bytes, eight.projections()))
    (down,) = [projection for projection in four.projections() if projection.name == "down_proj"]
    assert four.scale_bytes(down) == 16 * 3 * 2  # float16, three groups of eight columns


def test_a_prompt_is_its_tokens_one_by_one_without_their_logits() -> None:
    model = counted().nominal()
    prompt = model.read(0, 4, 1)
    assert prompt == sum((model.body(n) for n in (1, 2, 3, 4)), model.head())
    assert model.read(4, 1, 1) == model.decode(5)
    assert prompt.cycles < sum(model.decode(n).cycles for n in (1, 2, 3, 4))


def test_slower_memory_stretches_products_as_the_rate_says() -> None:
    setup = counted(clock_hz=10e9)
    model = setup.nominal()
    rate = model.machine.rate
    assert rate == rate_of_beats(0.85 * 19.2e9 / (8 * 10e9))
    product = TokenProduct("p", 100, 16, 8)
    beats = 200
    assert model.gemv_cycles(product) == math.ceil(beats / rate) + pipeline_cycles(setup.engine)


def test_engines_share_rows_and_bandwidth() -> None:
    one, four = counted(), setup_of(ONE, lanes=8, engines=4)
    product = TokenProduct("p", 101, 16, 8)
    assert four.nominal().gemv_cycles(product) == 26 * 2 + pipeline_cycles(four.engine)
    fast = {"clock_hz": 10e9}
    shared = setup_of(ONE, lanes=8, engines=4, **fast).nominal().machine
    alone = setup_of(ONE, lanes=8, engines=1, **fast).nominal().machine
    assert shared.rate == pytest.approx(alone.rate / 4, rel=0.02)
    assert one.layout.beats(product) == four.layout.beats(product)


@given(st.floats(1e-4, 3.0))
def test_the_rate_of_beats_is_never_above_what_memory_gives(rate: float) -> None:
    fraction = rate_of_beats(rate)
    assert isinstance(fraction, Fraction)
    assert 0 < fraction <= 1
    assert float(fraction) <= rate
    assert rate > 1 or fraction >= rate * 0.99 - 1 / 256


# -- energy -------------------------------------------------------------------------------------


def test_energy_is_the_sum_of_its_four_parts() -> None:
    device = counted().device
    cost = Cost(cycles=1, dram_bytes=1000, on_chip_bytes=500, lane_macs=2000)
    shares = {share.name: share for share in energy_shares(device, cost, 2.0, 1.0, 4.0)}
    assert shares["multiplications"].value_j == pytest.approx(2000 * 2.0e-12)
    assert shares["memory"].value_j == pytest.approx(8000 * 20e-12)
    assert shares["memory"].low_j == pytest.approx(8000 * 8e-12)
    assert shares["on-chip memory"].high_j == pytest.approx(4000 * 1.0e-12)
    static = shares["static"]
    assert (static.low_j, static.value_j, static.high_j) == pytest.approx((1.0, 4.0, 14.0))


def test_the_ledger_adds_up_and_its_range_holds_its_value() -> None:
    ledger = Ledger(counted())
    assert ledger.spent().device_s == 0
    ledger.read(0, 10, 1)
    first = ledger.spent()
    ledger.read(10, 1, 1)
    second = ledger.spent()
    step = counted().nominal().decode(11)
    assert second.cycles - first.cycles == step.cycles  # type: ignore[operator]
    assert second.device_s == pytest.approx(second.cycles / 200e6)  # type: ignore[operator]
    low, value, high = second.energy_low_j, second.energy_j, second.energy_high_j
    assert 0 < low < value < high  # type: ignore[operator]
    assert first.energy_j < second.energy_j  # type: ignore[operator]
