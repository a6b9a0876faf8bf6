"""Counters, gauges, phases, idle power, totals and the fit."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from joulebench.meter.counters import corrected_for_late_edges, counter_energy, counter_energy_for_fit
from joulebench.meter.energy import SensorSpec, Trace, WindowEnergy, phase_energy, single_window_interval, total_energy
from joulebench.meter.fit import fit_energy
from joulebench.meter.gauges import gauge_energy
from joulebench.meter.idle import IdlePower, attributed_energy, combined_idle, idle_from_counter, net_energy
from joulebench.meter.uncertainty import cell_interval

S = 1_000_000_000
WRAP = 262_143_328_850  # µJ, max_energy_range_uj of a Xeon's package
RAPL = SensorSpec(1e-6, 0.001, 61e-6, WRAP, max_power_w=500.0)
NVML = SensorSpec(1e-3, 0.1, 1e-3)


def test_a_counter_is_differenced_and_scaled_and_its_edges_make_the_uncertainty() -> None:
    window = counter_energy((0, 5_000_000), (S, 45_000_000), RAPL)
    assert window.gross_j == pytest.approx(40.0)
    assert window.u_j == pytest.approx(math.hypot(40.0 * 0.001, 61e-6) / math.sqrt(6))
    assert window.worst_j == pytest.approx(40.0 * 0.001 + 61e-6)
    assert window.flags == ()


def test_a_wrap_between_the_edges_adds_the_devices_own_range() -> None:
    window = counter_energy((0, WRAP - 10_000_000), (S, 30_000_000), RAPL)
    assert window.gross_j == pytest.approx(40.0)


def test_ticks_count_several_wraps_in_one_window() -> None:
    spec = SensorSpec(1e-6, 0.001, 1e-6, 100_000_000, max_power_w=100.0)
    times = list(range(0, 10 * S, S // 10))
    raw = [int(90 * t / S * 1e6) % 100_000_000 for t in times]
    end = (10 * S, 900_000_000 % 100_000_000)
    assert counter_energy((0, 0), end, spec, Trace(times, raw)).gross_j == pytest.approx(900.0)
    blind = counter_energy((0, 0), end, spec)
    assert blind.gross_j is None
    assert blind.flags == ("counter_ambiguous",)


def test_ticks_too_sparse_for_four_reads_in_a_wrap_leave_the_window_ambiguous() -> None:
    spec = SensorSpec(1e-6, 0.001, 1e-6, 100_000_000, max_power_w=100.0)  # wraps in 1 s
    for gap_s, given_j in ((0.24, True), (0.26, False)):
        times = [round(i * gap_s * S) for i in range(1, 8)]
        raw = [int(50 * t / S * 1e6) % 100_000_000 for t in times]
        end_ns = round(8 * gap_s * S)
        end = (end_ns, int(50 * end_ns / S * 1e6) % 100_000_000)
        window = counter_energy((0, 0), end, spec, Trace(times, raw))
        assert (window.gross_j is not None) == given_j


def test_a_decrease_without_a_wrap_is_a_reset_and_gives_nothing() -> None:
    window = counter_energy((0, 5000), (10 * S, 100), NVML)
    assert (window.gross_j, window.flags) == (None, ("counter_reset",))
    hidden = Trace([5 * S], [3])
    overtaken = counter_energy((0, 5000), (10 * S, 9000), NVML, hidden)
    assert overtaken.flags == ("counter_reset",)


def test_a_fall_larger_than_power_allows_is_no_wrap() -> None:
    window = counter_energy((0, WRAP // 2), (S, 1000), RAPL)
    assert (window.gross_j, window.flags) == (None, ("counter_reset",))


def test_a_tick_out_of_order_beside_an_edge_is_not_taken_for_a_reset() -> None:
    ticks = Trace([1_000_000, S // 2], [999, 20_000_000])  # stamped after the edge, read before it
    assert counter_energy((0, 1000), (S, 40_001_000), RAPL, ticks).gross_j == pytest.approx(40.0)


@pytest.mark.parametrize(
    ("duration_s", "flag", "given_j"),
    [
        (1.9, "insufficient_resolution", False),
        (2.1, "coarse_resolution", True),
        (9.9, "coarse_resolution", True),
        (10.1, None, True),
    ],
)
def test_resolution_is_judged_by_update_periods(duration_s: float, flag: str | None, given_j: bool) -> None:
    end = (round(duration_s * S), 50_000)
    window = counter_energy((0, 0), end, NVML)
    assert window.flags == ((flag,) if flag else ())
    assert (window.gross_j is not None) == given_j
    assert counter_energy_for_fit((0, 0), end, NVML).gross_j == pytest.approx(50.0)


def test_an_unknown_update_period_leaves_the_uncertainty_unknown() -> None:
    window = counter_energy((0, 0), (S, 1000), SensorSpec(1e-3))
    assert window.gross_j == pytest.approx(1.0)
    assert (window.u_j, window.flags) == (None, ("update_period_unknown",))
    assert single_window_interval(window) is None


def test_a_single_window_has_the_edge_term_and_the_scale_in_its_interval() -> None:
    spec = SensorSpec(1e-6, 0.001, 1e-9, relative_u=0.01)
    interval = single_window_interval(counter_energy((0, 0), (S, 40_000_000), spec))
    assert interval is not None
    edges = 40 * 0.001 * math.sqrt(2 / 12)
    assert interval.half_width == pytest.approx(1.959964 * math.hypot(edges, 0.4), rel=1e-5)


def test_a_phase_sums_windows_and_is_judged_by_their_mean_length() -> None:
    pieces = [
        counter_energy_for_fit((i * S, 0), (i * S + 15_000_000 * (1 + i), 600_000 * (1 + i)), RAPL) for i in range(2)
    ]
    assert pieces[0].flags == ("insufficient_resolution",)
    phase = phase_energy(pieces, RAPL)  # 45 ms in two windows: mean 22.5 periods
    assert phase.gross_j == pytest.approx(1.8)
    assert phase.u_j == pytest.approx(math.hypot(*(p.u_j or 0 for p in pieces)))
    assert phase.flags == ("coarse_resolution",)
    short = phase_energy([pieces[0], pieces[0]], RAPL)
    assert (short.gross_j, short.flags) == (None, ("insufficient_resolution",))


def test_one_void_window_leaves_the_phase_without_a_figure() -> None:
    good = counter_energy_for_fit((0, 0), (S, 1_000_000), RAPL)
    bad = counter_energy_for_fit((0, WRAP // 2), (S, 0), RAPL)
    phase = phase_energy([good, bad], RAPL)
    assert phase.gross_j is None
    assert "counter_reset" in phase.flags


def test_a_total_adds_edges_and_scales_without_quadrature() -> None:
    a = WindowEnergy(100.0, 3.0, "counter", (), 10.0, 5.0, 0.02)
    b = WindowEnergy(50.0, 4.0, "integrated", ("gauge_integrated",), 10.0, 6.0, 0.05)
    total = total_energy([a, b])
    assert (total.gross_j, total.u_j, total.duration_s) == (150.0, 7.0, 10.0)  # one machine's counters err alike
    assert total.relative_u == pytest.approx((2.0 + 2.5) / 150)
    assert (total.method, total.flags) == ("integrated", ("gauge_integrated",))
    lacking = total_energy([a, WindowEnergy(None, None, "counter", ("counter_reset",), 10.0)])
    assert lacking.gross_j is None
    assert lacking.flags == ("counter_reset", "incomplete_total")


def test_late_edges_are_made_good_by_half_a_period_of_the_power_difference() -> None:
    window = counter_energy((0, 0), (5 * S, 200_000), NVML)
    corrected = corrected_for_late_edges(window, NVML, 20.0, 40.0)
    assert corrected.gross_j == pytest.approx(200.0 + 0.05 * 20.0)
    assert corrected_for_late_edges(window, NVML, None, 40.0) is window


def test_a_gauge_is_integrated_with_interpolated_edges() -> None:
    spec = SensorSpec(1e-3, 0.1, 1e-3, method="integrated")
    times = [i * S // 10 for i in range(101)]
    trace = Trace(times, [1000 * i for i in range(101)])  # a ramp: 10 W/s
    window = gauge_energy(S // 4, 9 * S, spec, trace, 0.1)
    assert window.gross_j == pytest.approx(5 * (81 - 0.0625))
    assert window.flags == ("gauge_integrated", "coarse_resolution")


@pytest.mark.parametrize(("start", "end"), [(-1, 5), (5, 11)])
def test_a_gauge_whose_samples_do_not_bracket_the_window_gives_nothing(start: int, end: int) -> None:
    trace = Trace([i * S for i in range(11)], [1000] * 11)
    window = gauge_energy(start * S, end * S, SensorSpec(1e-3, 1.0), trace, 1.0)
    assert (window.gross_j, window.flags) == (None, ("gauge_integrated", "samples_missing"))


def test_a_gauge_with_a_hole_in_its_samples_gives_nothing() -> None:
    times = [i * S for i in range(20) if not 5 < i < 10]
    trace = Trace(times, [1000] * len(times))
    spec = SensorSpec(1e-3, 0.01)
    assert gauge_energy(S, 15 * S, spec, trace, 1.0).flags[-1] == "samples_missing"
    assert gauge_energy(11 * S, 15 * S, spec, trace, 1.0).gross_j == pytest.approx(4.0)


def test_idle_power_is_the_mean_of_its_baseline() -> None:
    rng = random.Random(1)
    raw, total = [], 0.0
    for _ in range(101):
        raw.append(int(total))
        total += 0.1e6 * rng.gauss(20.0, 1.0)
    idle = idle_from_counter(Trace([i * S // 10 for i in range(101)], raw), RAPL)
    assert idle.power_w == pytest.approx(raw[-1] / 10e6)
    assert idle.u_w is not None
    assert 0.05 < idle.u_w < 0.25  # sd 1 W over 100 independent tenths of a second


def test_idle_baselines_that_differ_are_refused_and_net_with_them() -> None:
    steady = combined_idle(IdlePower(20.0, 0.01), IdlePower(20.3, 0.01))
    assert steady.power_w == pytest.approx(20.15)
    drifted = combined_idle(IdlePower(20.0, 0.01), IdlePower(20.5, 0.01))
    assert (drifted.power_w, drifted.flags) == (None, ("idle_drift",))
    noisy = combined_idle(IdlePower(20.0, 0.3), IdlePower(20.5, 0.3))
    assert noisy.power_w is not None
    net = net_energy(WindowEnergy(100.0, 1.0, "counter", (), 2.0), drifted)
    assert (net.gross_j, net.flags) == (None, ("idle_drift",))


def test_net_takes_idle_power_off_and_adds_its_uncertainty() -> None:
    net = net_energy(WindowEnergy(100.0, 0.3, "counter", (), 2.0), IdlePower(20.0, 0.2))
    assert net.gross_j == pytest.approx(60.0)
    assert net.u_j == pytest.approx(0.5)


def test_idle_uncertainty_does_not_shrink_with_the_number_of_blocks() -> None:
    rng = random.Random(2)
    joules, ones, process = [60 + rng.gauss(0, 0.1) for _ in range(320)], [1.0] * 320, [0] * 320
    gross = cell_interval(joules, ones, process)
    net = cell_interval(joules, ones, process, common_u=320 * 0.2 * 2.0)  # 0.2 W over blocks of 2 s
    assert net.u == pytest.approx(math.hypot(gross.u or 0, 0.4))


def test_attribution_is_a_share_by_cpu_time_and_null_where_nothing_was_counted() -> None:
    window = WindowEnergy(100.0, 1.0, "counter", (), 2.0)
    assert attributed_energy(window, 3.0, 4.0) == (75.0, 0.75)
    assert attributed_energy(window, 3.0, 0.0) is None


@settings(max_examples=300, deadline=None)
@given(start=st.integers(0, 999_999), steps=st.lists(st.integers(0, 249_000), min_size=1, max_size=60))
def test_wraps_never_lose_or_invent_energy(start: int, steps: list[int]) -> None:
    spec = SensorSpec(1.0, None, 1.0, 1_000_000, max_power_w=2_490_000.0)  # a quarter in 100 ms
    times, raw, now = [], [], start
    for i, step in enumerate(steps):
        now += step
        times.append((i + 1) * S // 10)
        raw.append(now % 1_000_000)
    window = counter_energy_for_fit((0, start), (times[-1], raw[-1]), spec, Trace(times[:-1], raw[:-1]))
    assert window.gross_j == float(sum(steps))


@pytest.mark.parametrize("windows", [100_000, pytest.param(1_000_000, marks=pytest.mark.slow)])
def test_wraps_resets_and_stale_reads_give_the_energy_or_none(windows: int) -> None:
    """A reset within one step of the wrap looks like one: its error is that step's at most."""
    rng = random.Random(7)
    wrap, gap_ns, largest_j = 10**12, S // 2, 108.0  # 200 W over a gap and four late updates
    spec = SensorSpec(1e-6, 0.01, 1e-6, wrap, max_power_w=200.0)
    wrong = wrong_after_reset = refused_without_reset = refused = 0
    for _ in range(windows):
        count = rng.randrange(wrap) if rng.random() < 0.5 else wrap - rng.randrange(200_000_000)
        reset_at = rng.randrange(1, 21)  # one window in five has a reset at one of its reads
        stale_at = rng.randrange(1, 11)  # three in ten repeat a reading
        reads, true_j = [(0, count % wrap)], 0.0
        for i in range(1, 5):
            step = rng.randrange(40_000_000)
            true_j += step * 1e-6
            count = step // 2 if i == reset_at else count + step
            raw = reads[-1][1] if i == stale_at and i < 4 else count % wrap
            reads.append((i * gap_ns, raw))
        trace = Trace([t for t, _ in reads[1:-1]], [raw for _, raw in reads[1:-1]])
        gross_j = counter_energy(reads[0], reads[-1], spec, trace).gross_j
        if gross_j is None:
            refused += 1
            refused_without_reset += reset_at > 4
        elif reset_at > 4:
            wrong += abs(gross_j - true_j) > 1e-6
        else:
            wrong_after_reset += abs(gross_j - true_j) > largest_j
    assert (wrong, wrong_after_reset, refused_without_reset) == (0, 0, 0)
    assert refused > 0.1 * windows  # most resets are seen


def test_the_fit_finds_joules_per_request_and_token() -> None:
    numpy = pytest.importorskip("numpy")
    rng = numpy.random.default_rng(3)
    prefill, decode = rng.integers(10, 200, 200), rng.integers(5, 300, 200)
    energy = 2.0 + 0.05 * prefill + 0.3 * decode + rng.normal(0, 1.5, 200)
    fit = fit_energy(energy.tolist(), prefill.tolist(), decode.tolist())
    design = numpy.column_stack([numpy.ones(200), prefill, decode])
    solution, residual, *_ = numpy.linalg.lstsq(design, energy, rcond=None)
    covariance = residual[0] / 197 * numpy.linalg.inv(design.T @ design)
    rows = [fit.per_request_j, fit.per_prefill_token_j, fit.per_decode_token_j]
    assert [i.mean for i in rows if i] == pytest.approx(solution.tolist(), rel=1e-9)
    assert numpy.asarray(fit.covariance_j2) == pytest.approx(covariance, rel=1e-8)
    assert fit.residual_sd_j == pytest.approx(math.sqrt(residual[0] / 197))
    assert fit.r_squared == pytest.approx(1 - residual[0] / ((energy - energy.mean()) ** 2).sum())


@pytest.mark.parametrize(
    ("prefill", "decode", "reason"),
    [
        ([10] * 8, range(8), "same number of prefill tokens"),
        (range(1, 9), [2 * i for i in range(1, 9)], "number of decode tokens follows"),
        ([0] * 8, range(8), "no prefill tokens"),
        ([1, 2], [3, 5], "too few"),
    ],
)
def test_requests_that_cannot_be_told_apart_are_not_fitted(prefill: list[int], decode: list[int], reason: str) -> None:
    fit = fit_energy([float(i) for i in range(len(prefill))], list(prefill), list(decode))
    assert fit.per_prefill_token_j is None
    assert reason in (fit.reason or "")
