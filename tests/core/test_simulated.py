"""Simulated hardware's own time base: what is made of what a session says it has spent."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from joulebench.api import SimulatedCost
from joulebench.protocol import Block
from joulebench.runs.simulated import block_cost, device_rows, of_simulator, phase_costs, spent, total, with_device_time
from joulebench.session.tables import EnergyRow, RequestRow

_ROW = RequestRow(cell_id="c", block=0, request=0)


def cost(seconds: float, joules: float | None = None) -> dict[str, Any]:
    factor = None if joules is None else joules
    return {
        "device_s": seconds,
        "cycles": round(seconds * 100),
        "energy_j": factor,
        "energy_low_j": None if joules is None else joules / 2,
        "energy_high_j": None if joules is None else joules * 2,
    }


def request(start_s: float, simulated: bool = True, **more: Any) -> dict[str, Any]:
    told = {
        "edges": [cost(start_s + s, 10 * (start_s + s)) for s in (0.0, 0.0, 2.0, 5.0)],
        "token_s": [start_s + s for s in (2.0, 3.0, 5.0)],
    }
    return {
        "prompt_index": 0,
        "prefill_tokens": 4,
        "decode_tokens": 2,
        "units": 3.0,
        "edges": [[1, "start", []], [2, "prefill", []], [100, "decode", []], [300, "end", []]],
        "output": [1, 2, 3],
        "token_t_ns": [90, 200, 290],
        "values": {},
        "prompt": None,
        "response": None,
        "simulated": told if simulated else None,
        **more,
    }


def block(*requests: dict[str, Any]) -> Block:
    return Block.from_json({"cpu_s": 0.1, "requests": list(requests)}, counters=0)


def test_differences_and_sums_keep_unknown_unknown() -> None:
    known, unknown = SimulatedCost(3.0, 300, 9.0, 8.0, 10.0), SimulatedCost(1.0)
    assert spent(SimulatedCost(1.0, 100, 4.0, 3.0, 5.0), known) == SimulatedCost(2.0, 200, 5.0, 5.0, 5.0)
    assert spent(unknown, known) == SimulatedCost(2.0)
    assert total([known, known]) == SimulatedCost(6.0, 600, 18.0, 16.0, 20.0)
    assert total([known, unknown]) == SimulatedCost(4.0)


def test_a_request_is_told_in_seconds_of_the_device() -> None:
    one = block(request(7.0)).requests[0]
    assert with_device_time(_ROW, one) == replace(
        _ROW,
        device_s=5.0,
        device_ttft_s=2.0,
        device_prefill_s=2.0,
        device_decode_s=3.0,
        device_tpot_s=1.5,
        device_token_s=(2.0, 3.0, 5.0),
    )
    assert one.simulated is not None
    assert {name: c.device_s for name, c in phase_costs(one, one.simulated).items()} == {
        "total": 5.0,
        "prefill": 2.0,
        "decode": 3.0,
    }


def test_a_block_on_this_machine_has_no_seconds_of_a_device() -> None:
    plain = block(request(0.0, simulated=False))
    assert not plain.simulated
    assert block_cost(plain) is None
    assert with_device_time(_ROW, plain.requests[0]) == _ROW
    assert device_rows("c", 0, plain) == []


def test_energy_of_the_device_has_its_own_channel_range_and_seconds() -> None:
    both = block(request(0.0), request(10.0))
    whole = block_cost(both)
    assert whole is not None
    assert (whole.device_s, whole.cycles) == (10.0, 1000)
    rows = {row.phase: row for row in device_rows("c", 3, both)}
    assert set(rows) == {"total", "prefill", "decode"}
    row = rows["decode"]
    assert (row.provenance, row.method, row.domain) == ("simulated", "model", "device")
    assert row.counted
    assert (row.duration_s, row.gross_j) == pytest.approx((6.0, 60.0))
    assert (row.gross_low_j, row.gross_high_j) == pytest.approx((30.0, 120.0))
    assert row.gross_u_j is None
    assert row.net_j is None
    assert row.flags == ("input_range",)


def test_a_simulation_without_an_energy_model_has_no_joules() -> None:
    told = {"edges": [cost(s) for s in (0.0, 0.0, 2.0, 5.0)], "token_s": [2.0, 3.0, 5.0]}
    (row, *_) = device_rows("c", 0, block(request(0.0) | {"simulated": told}))
    assert row.gross_j is None
    assert row.flags == ("no_energy_model",)


def test_this_machine_s_joules_are_kept_flagged_and_not_counted() -> None:
    row = EnergyRow(
        cell_id="c",
        block=0,
        phase="total",
        channel="meter/power",
        domain="machine",
        provenance="measured",
        method="integrated",
        counted=True,
        gross_j=12.0,
        flags=("gauge_integrated",),
    )
    assert of_simulator(row) == replace(row, counted=False, flags=("gauge_integrated", "simulator"))


def test_what_makes_no_sense_is_refused() -> None:
    good = request(0.0)
    told = good["simulated"]
    with pytest.raises(ValueError, match="never fall"):
        block(good | {"simulated": told | {"edges": told["edges"][::-1]}})
    with pytest.raises(ValueError, match="each edge and token"):
        block(good | {"simulated": told | {"token_s": [1.0]}})
    with pytest.raises(ValueError, match="did nothing"):
        block(good | {"simulated": told | {"edges": [cost(1.0)] * 4}})
    with pytest.raises(ValueError, match="or none is"):
        block(good, request(10.0, simulated=False))
