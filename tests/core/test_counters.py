"""What a counter or gauge says at the edges of a window, where the truth is known."""

from __future__ import annotations

import random
from bisect import bisect_right
from itertools import pairwise

import pytest

from joulebench.api import Channel, FileSource, Provenance
from joulebench.meter.counters import as_watched, corrected_for_late_edges, counter_energy, single_counter_window
from joulebench.meter.energy import MOST_POWER_W, SensorSpec, Trace, WindowEnergy, single_window_interval, total_energy
from joulebench.meter.gauges import gauge_energy
from joulebench.meter.idle import IdlePower, net_energy
from joulebench.meter.timing import UpdateTiming
from joulebench.meter.windows import TOTAL, Accountant, BlockWindows, Span, trusted_joules
from joulebench.protocol import Edge

S = 1_000_000_000
COUNT_J = 61e-6
RANGE_UJ = 262_143_328_850


def test_a_value_of_a_constant_period_is_half_a_period_old() -> None:
    timing = UpdateTiming.of_gaps([0.02] * 20)
    assert timing is not None
    assert timing.lateness_s == pytest.approx(0.01)
    assert timing.lateness_u_s == pytest.approx(0.02 / 12**0.5)


def test_skipped_updates_make_values_older_than_half_of_any_percentile() -> None:
    source = random.Random(1)
    updates = [0.02 * n for n in range(20_000) if source.random() >= 0.1]
    gaps = [b - a for a, b in pairwise(updates)]
    timing = UpdateTiming.of_gaps(gaps)
    assert timing is not None
    ages = [t - updates[bisect_right(updates, t) - 1] for t in (source.uniform(0, updates[-1]) for _ in range(20_000))]
    mean = sum(ages) / len(ages)
    assert timing.lateness_s == pytest.approx(mean, rel=0.02)
    assert abs(timing.period_s / 2 - mean) > 0.3 * mean  # which the 95th percentile is not


def test_the_correction_takes_the_mean_lateness() -> None:
    spec = SensorSpec(1e-3).with_timing(UpdateTiming(0.04, 0.06, 0.0122, 0.009))
    window = counter_energy((0, 0), (5 * S, 200_000), spec)
    assert corrected_for_late_edges(window, spec, 20.0, 40.0).gross_j == pytest.approx(200 + 0.0122 * 20)


def rapl(provenance: Provenance = "measured") -> Channel:
    return Channel(
        "rapl/package-0", "energy", "J", "counter", FileSource("/x"), 1e-6, provenance, "package-0", wraps_at=RANGE_UJ
    )


@pytest.mark.parametrize("before_uj", [RANGE_UJ - 1_000_000, RANGE_UJ // 2, 9_000_000])
def test_a_counter_that_restarts_within_a_block_is_no_wrap(before_uj: int) -> None:
    """120 J at 60 W; after 1 s the counter begins anew from 0."""
    times = [n * S // 100 for n in range(201)]
    raw = [before_uj + 600_000 * n if n < 100 else 600_000 * (n - 100) for n in range(201)]
    raw = [value % RANGE_UJ for value in raw]
    span = Span(Edge(times[0], "start", (raw[0],)), Edge(times[-1], "end", (raw[-1],)))
    (part,) = Accountant([rapl()], [0], {}).block_energies(
        BlockWindows(times[0], times[-1], {TOTAL: [span]}), {0: Trace(times, raw)}
    )
    assert part.energy.gross_j is None or part.energy.gross_j == pytest.approx(120, abs=MOST_POWER_W * 0.02)


def test_a_counter_that_wraps_faster_than_any_bound_is_counted_by_the_power_that_was_seen() -> None:
    """60 W wrap a range of 3 J each 50 ms: at 2 kW it would wrap twice between two ticks of 3 ms."""
    wrap, tick_ns = 3_000_000, 3_000_000
    times = [n * tick_ns for n in range(301)]
    raw = [int(60 * t / S * 1e6) % wrap for t in times]
    spec = SensorSpec(1e-6, 0.001, 1e-6, wrap, MOST_POWER_W, largest_power_w=61.0)
    window = counter_energy((times[0], raw[0]), (times[-1], raw[-1]), spec, Trace(times[1:-1], raw[1:-1]))
    assert window.gross_j == pytest.approx(60 * times[-1] / S, abs=1e-3)


def test_power_at_the_edges_and_not_in_the_mean_makes_the_interval() -> None:
    """A window that ends in a burst: 2 W, and 150 W in its last 50 ms."""

    def joules(t_s: float) -> float:
        return 2 * t_s + 148 * max(0.0, t_s - 2.95)

    def shown(t_s: float) -> int:
        return int(joules(t_s // 0.001 * 0.001) / COUNT_J)

    ticks = [n / 100 for n in range(50, 300)]
    trace = Trace([round(t * S) for t in ticks], [shown(t) for t in ticks])
    spec = SensorSpec(COUNT_J, 0.001, COUNT_J)
    window = single_counter_window((S, shown(1.0)), (3 * S, shown(2.9999)), spec, trace)
    mean_w = (joules(3.0) - joules(1.0)) / 2
    assert window.worst_j is not None
    assert window.worst_j >= 149 * 0.001 > 20 * mean_w * 0.001


def test_where_the_power_before_a_window_is_unknown_its_interval_holds_any() -> None:
    window = single_counter_window((0, 0), (S, 1_000_000), SensorSpec(COUNT_J, 0.01))
    interval = single_window_interval(window)
    assert interval is not None
    assert interval.half_width is not None
    assert interval.half_width > 61 * 0.01


# -- gauges --------------------------------------------------------------------------------------


def averaging_gauge(load_s: float, *, mean_of_s: float = 1.0) -> tuple[Trace, float]:
    """(samples of a mean of the last second, true J) of a load of 100 W that begins at 5 s; 20 W else."""

    def joules(t_s: float) -> float:
        return 20 * t_s + 80 * min(max(0.0, t_s - 5), load_s)

    ticks = [n * 0.05 for n in range(int((load_s + 8) / 0.05))]
    shown = [round(1e3 * (joules(t) - joules(t - mean_of_s)) / mean_of_s) for t in ticks]
    return Trace([round(t * S) for t in ticks], shown), 100 * load_s


def test_a_gauge_that_averages_has_its_lag_made_good() -> None:
    trace, truth = averaging_gauge(25.0)
    spec = SensorSpec(1e-3, 0.05, 1e-3, method="integrated", averaging_s=1.0)
    window = gauge_energy(5 * S, 30 * S, spec, trace, 0.05)
    assert window.gross_j == pytest.approx(truth, rel=0.002)
    assert "edges_corrected" in window.flags
    blind = gauge_energy(5 * S, 30 * S, SensorSpec(1e-3, 0.05, 1e-3), trace, 0.05)
    assert blind.gross_j is not None
    assert blind.gross_j < 0.99 * truth


@pytest.mark.parametrize("averaging_s", [0.0, 1.0])
def test_a_gauge_has_no_energy_below_twenty_of_its_periods(averaging_s: float) -> None:
    spec = SensorSpec(1e-3, 0.5, 1e-3, averaging_s=averaging_s)
    trace, _ = averaging_gauge(9.0)
    window = gauge_energy(5 * S, 14 * S, spec, trace, 0.05)
    assert window.gross_j is None
    assert "insufficient_resolution" in window.flags


# -- sums ----------------------------------------------------------------------------------------


def test_net_energy_keeps_the_idle_powers_uncertainty_where_no_update_period_is_known() -> None:
    window = WindowEnergy(100.0, None, "counter", ("update_period_unknown",), 2.0)
    assert net_energy(window, IdlePower(20.0, 0.5)).u_j == pytest.approx(1.0)


def test_counters_that_change_together_err_together_in_their_total() -> None:
    """Twelve packages that are updated at the same moments: the total's interval holds the truth."""
    source, held = random.Random(2), 0
    spec = SensorSpec(1e-6, 0.01)
    for _ in range(400):
        start, end = source.uniform(5, 6), source.uniform(7, 8)
        reads = [int(12e6 * (t // 0.01 * 0.01)) for t in (start, end)]
        one = counter_energy((round(start * S), reads[0]), (round(end * S), reads[1]), spec)
        interval = single_window_interval(total_energy([one] * 12))
        assert interval is not None
        assert interval.low is not None
        assert interval.high is not None
        held += interval.low <= 12 * 12 * (end - start) <= interval.high
    assert held >= 0.93 * 400


def test_a_block_is_stopped_by_its_most_trusted_energy() -> None:
    assert trusted_joules([("simulated", 3.0), ("estimated", 9.0)]) == 9.0
    assert trusted_joules([("simulated", 3.0), ("measured", 2.0), ("measured", 1.0)]) == 3.0


# -- what no power is ---------------------------------------------------------------------------

MS = 1_000_000


@pytest.mark.parametrize(
    "watts",
    [[0] * 41, [-5] * 41, [*[50] * 20, 10**9, *[50] * 20], [50] * 20 + [-20] * 21],
    ids=["none", "less", "huge", "falling"],
)
def test_a_gauge_that_shows_what_no_power_is_gives_nothing(watts: list[int]) -> None:
    trace = Trace([10 * MS * n for n in range(41)], watts)
    window = gauge_energy(10 * MS, 390 * MS, SensorSpec(1.0, update_period_s=0.001), trace, 0.01)
    assert window.gross_j is None
    assert window.flags == ("gauge_integrated", "power_implausible")


def test_a_gauge_s_offset_around_zero_is_no_fault() -> None:
    trace = Trace([10 * MS * n for n in range(41)], [-1, *[100] * 40])
    assert gauge_energy(10 * MS, 390 * MS, SensorSpec(1.0, update_period_s=0.001), trace, 0.01).gross_j is not None


def test_a_counter_that_jumps_further_than_any_machine_draws_gives_nothing() -> None:
    spec = SensorSpec(1e-6, update_period_s=0.001)
    assert counter_energy((0, 5), (S, 10**10), spec).gross_j == pytest.approx(1e4, rel=1e-6)
    assert counter_energy((0, 5), (S, 10**12), spec).flags == ("counter_reset",)


def test_a_counter_whose_changes_end_in_a_window_is_frozen_though_nobody_calibrated_it() -> None:
    spec = SensorSpec(1e-6, update_period_s=0.001, period_verified=False)
    times = [10 * MS * n for n in range(-20, 61)]
    stopped = Trace(times, [10_000 * min(t // MS, 300) + 10**7 for t in times])
    window = single_counter_window((0, 10**7), (600 * MS, 10**7 + 3_000_000), spec, stopped)
    assert window.flags == ("counter_frozen",)


def test_a_sampler_that_stops_in_a_window_is_no_counter_that_stands_still() -> None:
    spec = SensorSpec(1e-6, update_period_s=0.001)
    times = [10 * MS * n for n in range(-20, 31)]
    trace = Trace(times, [10_000 * (t // MS) + 10**7 for t in times])
    window = single_counter_window((0, 10**7), (600 * MS, 10**7 + 6_000_000), spec, trace)
    assert window.gross_j == pytest.approx(6.0, rel=0.05)


def test_a_sampler_that_is_held_up_makes_no_counter_slower() -> None:
    spec = SensorSpec(1e-6, update_period_s=0.001, period_verified=False)
    held_up = [0, *range(10, 210, 10), *range(410, 510, 10), *range(710, 810, 10)]
    trace = Trace([t * MS for t in held_up], [10_000 * t for t in held_up])
    assert as_watched(spec, trace) == spec
