"""Energies that hold idle time around a request, where the truth is known."""

from __future__ import annotations

import pytest

from joulebench.api import Channel, FileSource
from joulebench.meter.energy import SensorSpec, Trace
from joulebench.meter.margins import Margins, energy_with_margins, traced_energy
from joulebench.meter.windows import Accountant
from joulebench.protocol import Block, Edge, RequestRecord
from joulebench.worker.windows import block_windows

NS = 1_000_000_000
#: 1 W before 10 s and after 12 s, 11 W between; the counter counts mJ.
BUSY_FROM, BUSY_TO = 10 * NS, 12 * NS


def joules(t_ns: int) -> float:
    busy = min(max(t_ns, BUSY_FROM), BUSY_TO) - BUSY_FROM
    return (t_ns + 10 * busy) / NS


def trace(step_s: float = 0.1, until_s: float = 20.0, wrap: int | None = None) -> Trace:
    times = [round(i * step_s * NS) for i in range(round(until_s / step_s) + 1)]
    counts = [round(joules(t) * 1000) for t in times]
    return Trace(times, counts if wrap is None else [count % wrap for count in counts])


SPEC = SensorSpec(1e-3, 0.001, 1e-3)


def test_a_counter_between_its_readings_rises_evenly() -> None:
    energy = traced_energy(10_250_000_000, 11_730_000_000, SPEC, trace(), 0.1)
    assert energy.gross_j == pytest.approx(11 * 1.48, abs=2e-3)
    assert energy.duration_s == pytest.approx(1.48)
    assert energy.method == "integrated"


def test_margins_put_idle_energy_into_the_figure() -> None:
    margins = Margins(1.0, 2.0, 0.5, 0.5)
    energy = energy_with_margins(BUSY_FROM, BUSY_TO, margins, SPEC, trace(), is_gauge=False, sampling_period_s=0.1)
    assert energy.gross_j == pytest.approx(22 + 0.5 + 0.5, abs=2e-3)
    assert energy.duration_s == pytest.approx(3.0)
    assert "margins_counted" in energy.flags


def test_a_wrap_inside_loses_nothing() -> None:
    wrap = 20_000
    spec = SensorSpec(1e-3, 0.001, 1e-3, wraps_at=wrap)
    energy = traced_energy(9 * NS, 13 * NS, spec, trace(wrap=wrap), 0.1)
    assert energy.gross_j == pytest.approx(24.0, abs=2e-3)


@pytest.mark.parametrize(("t0_s", "t1_s"), [(-0.5, 5.0), (5.0, 20.5), (5.0, 5.0), (6.0, 5.0)])
def test_without_a_reading_beyond_each_end_there_is_no_energy(t0_s: float, t1_s: float) -> None:
    energy = traced_energy(round(t0_s * NS), round(t1_s * NS), SPEC, trace(), 0.1)
    assert energy.gross_j is None
    assert energy.flags == ("samples_missing",)


def test_a_gap_in_the_readings_leaves_no_energy() -> None:
    whole = trace()
    kept = [i for i, t in enumerate(whole.t_ns) if not 10.5 * NS < t < 11.2 * NS]
    holed = Trace([whole.t_ns[i] for i in kept], [whole.raw[i] for i in kept])
    assert traced_energy(BUSY_FROM, BUSY_TO, SPEC, holed, 0.1).gross_j is None


def test_a_counter_that_fell_back_leaves_no_energy() -> None:
    whole = trace()
    reset = Trace(
        whole.t_ns, [raw if t < 11 * NS else raw - 15_000 for t, raw in zip(whole.t_ns, whole.raw, strict=True)]
    )
    energy = traced_energy(BUSY_FROM, BUSY_TO, SPEC, reset, 0.1)
    assert (energy.gross_j, energy.flags) == (None, ("counter_reset",))


def test_the_accountant_takes_them_for_the_block_and_not_for_its_phases() -> None:
    channel = Channel(
        "c/total",
        "energy",
        "J",
        "counter",
        FileSource("/x"),
        1e-3,
        "simulated",
        "board",
        rate_hz=10.0,
        update_period_s=0.001,
    )
    edges = tuple(
        Edge(t, kind, (round(joules(t) * 1000),))
        for t, kind in ((BUSY_FROM, "start"), (BUSY_FROM, "prefill"), (11 * NS, "decode"), (BUSY_TO, "end"))
    )
    request = RequestRecord(0, edges, 1, 1, 1.0, (), (), {}, None, None)
    accountant = Accountant([channel], [0], {}, margins=Margins(1, 1, 0.5, 0.25))
    parts = accountant.block_energies(block_windows(Block((request,), 0.1)), {0: trace()})
    by_name = {part.phase: part.energy for part in parts}
    assert by_name["total"].gross_j == pytest.approx(22.75, abs=2e-3)
    assert by_name["decode"].gross_j == pytest.approx(11.0, abs=2e-3)
    assert "margins_counted" not in by_name["decode"].flags
