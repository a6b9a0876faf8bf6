"""The virtual rail knows its own energy, and the meter finds it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

import pytest
from scipy import integrate

from joulebench.api import Channel
from joulebench.meter import counters
from joulebench.meter.counters import counter_energy
from joulebench.meter.energy import SensorSpec, Trace
from joulebench.meter.gauges import gauge_energy
from joulebench.meter.live.calibration import SensorCalibration
from joulebench.meter.windows import Accountant
from joulebench.rail import faults, instrument
from joulebench.rail.cells import simulate_cell
from joulebench.rail.coverage import Coverage, QuantityCoverage, coverage, coverage_of, simulate_outcomes
from joulebench.rail.faults import fault_study
from joulebench.rail.files import shipped_scenarios
from joulebench.rail.pairs import pair_study, simulate_pairs
from joulebench.rail.power import Constant, Counter, Gauge, Line, Noise, Pulses, Rail, Ramp, Schedule
from joulebench.rail.scenarios import Level, Scenario, Wander
from joulebench.rail.study import study
from joulebench.runs.instruments import Instruments
from joulebench.sensors.probing import Sensors

S = 1_000_000_000
BY_NAME = {scenario.name: scenario for scenario in shipped_scenarios()}


def test_energy_of_each_part_is_the_integral_of_its_power() -> None:
    assert Rail([Constant(20.0)]).energy_j(1.0, 4.0) == pytest.approx(60.0)
    expected, _ = integrate.quad(lambda t: 3 * min(max(t - 1, 0), 2), 0, 6, points=[1, 3])
    assert Rail([Ramp(1.0, 3.0, 3.0)]).energy_j(0.0, 6.0) == pytest.approx(expected)
    line = Rail([Line(1.0, 3.0, 10.0, 20.0), Line(3.0, math.inf, 20.0, 20.0)])
    assert line.energy_j(0.0, 2.0) == pytest.approx(12.5)
    assert line.energy_j(2.0, 5.0) == pytest.approx(17.5 + 40.0)
    pulses = Rail([Pulses(100.0, 0.1, 0.03, phase_s=0.02)])
    assert pulses.energy_j(0.0, 0.1) == pytest.approx(3.0)
    assert pulses.energy_j(0.02, 0.03) == pytest.approx(1.0)
    assert pulses.energy_j(0.06, 0.11) == pytest.approx(0.0)
    work = Schedule()
    work.add(1.0, 2.0, 50.0)
    work.add(3.0, 4.0, 10.0)
    assert Rail([work]).energy_j(1.5, 3.5) == pytest.approx(30.0)
    with pytest.raises(ValueError, match="overlap"):
        work.add(3.5, 5.0, 1.0)


def test_noise_has_its_spread_and_its_correlation_time() -> None:
    noise = Noise(2.0, 0.5, 0.1, seed=3)
    sums = [noise.energy_since_zero_j(0.1 * i) for i in range(40_001)]
    power = [(b - a) / 0.1 for a, b in pairwise(sums)]
    mean = math.fsum(power) / len(power)
    variance = math.fsum((p - mean) ** 2 for p in power) / len(power)
    lag5 = math.fsum((a - mean) * (b - mean) for a, b in zip(power, power[5:], strict=False)) / len(power)
    assert math.sqrt(variance) == pytest.approx(2.0, rel=0.08)
    assert lag5 / variance == pytest.approx(math.exp(-1), abs=0.08)


def test_noise_is_the_same_path_in_whatever_order_it_is_asked() -> None:
    first, second = Noise(2.0, 0.5, 0.1, seed=3), Noise(2.0, 0.5, 0.1, seed=3)
    late = first.energy_since_zero_j(50.0)
    for t in (3.0, 1.0, 50.0):
        assert first.energy_since_zero_j(t) == second.energy_since_zero_j(t)
    assert second.energy_since_zero_j(50.0) == late


def test_a_counter_is_late_by_less_than_an_update_and_its_jitter() -> None:
    counter = Counter(Rail([Constant(50.0)]), period_s=0.02, jitter=0.3, quantum_counts=1, seed=4)
    for i in range(2000):
        t_ns = S + i * 1_234_567
        late_s = t_ns / S - counter.read(t_ns) * 1e-6 / 50.0
        assert -1e-6 <= late_s <= 0.02 * 1.3 + 1e-6


def test_a_counter_never_falls_but_by_its_wrap_or_a_reset() -> None:
    rail = Rail([Constant(50.0)])
    counter = Counter(rail, wraps_at=10_000_000, start=9_000_000, stale_share=0.3, jitter=0.4)
    reads = [counter.read(i * 1_000_000) for i in range(2000)]
    falls = [(a, b) for a, b in pairwise(reads) if b < a]
    assert len(falls) == 10  # 9 J at the start and 100 J in 2 s
    assert all(a - b > 9_000_000 for a, b in falls)
    reset = Counter(rail, resets_s=[1.0])
    assert reset.read(S - 1_000_000) > 49_000_000
    assert reset.read(S + 1_000_000) < 100_000


def test_a_gauge_that_sees_25_of_100_ms_is_off_by_two_thirds_and_the_counter_exact() -> None:
    rail = Rail([Pulses(100.0, 0.1, 0.06)])
    gauge = Gauge(rail, phase_s=0.04)
    times = [i * S // 20 for i in range(10, 260)]
    trace = Trace(times, [gauge.read(t) for t in times])
    spec = SensorSpec(1e-3, 0.1, 1e-3, method="integrated")
    seen = gauge_energy(S, 11 * S, spec, trace, 0.05)
    true_j = rail.energy_j(1.0, 11.0)
    assert seen.gross_j == pytest.approx(true_j * (1 + 2 / 3), rel=1e-3)
    counter = Counter(rail, period_s=0.1, quantum_counts=1000, phase_s=0.05)
    exact = counter_energy((S, counter.read(S)), (11 * S, counter.read(11 * S)), SensorSpec(1e-6, 0.1, 1e-3))
    assert exact.gross_j == pytest.approx(true_j, abs=2e-3)


def test_a_cell_is_the_same_by_seed_and_another_by_another() -> None:
    scenario = BY_NAME["constant"]
    assert simulate_cell(scenario, 1) == simulate_cell(scenario, 1)
    assert simulate_cell(scenario, 1) != simulate_cell(scenario, 2)


#: 300 cells: three standard errors of 95 % are 3.8 points.
BOUNDS = (0.90, 0.99)


#: Half-widths in those of a normal interval by the errors that cells really have. Two one-sided allowances (of
#: correlation, and of batches with their three degrees of freedom) make it 1.2 to 1.65.
_WIDEST = 1.75


#: Scenarios with so many cells of each; one that stops by its precision takes six times as long as others.
_COVERED = {
    **dict.fromkeys(("constant", "processes", "wraps", "short-windows", "coarse-counter"), 300),
    "stopping": 150,
}


@pytest.mark.parametrize("name", _COVERED)
def test_intervals_hold_the_truth_in_95_of_100_cells_and_are_no_wider_than_they_must_be(name: str) -> None:
    """Of processes of unequal length the interval was that of another mean, and twice as wide."""
    outcomes = simulate_outcomes(BY_NAME[name], 5, range(_COVERED[name]))
    row = coverage_of(BY_NAME[name], outcomes)
    for quantity in (row.gross, row.net, row.j_per_token):
        assert quantity.covered is not None
        assert quantity.covered >= BOUNDS[0]
        assert abs(quantity.bias or 1) < 0.005
    if name == "short-windows":  # its prefills have no energy of their own
        assert BOUNDS[0] <= (row.j_per_prefill_token.covered or 0) <= BOUNDS[1]
    for place in range(3):  # gross, net, J/token
        known = [cell.outcomes[place] for cell in outcomes]
        figures = [(error, half_width) for _, error, half_width in (figure for figure in known if figure is not None)]
        error = math.sqrt(math.fsum(error**2 for error, _ in figures) / len(figures))
        half_width = math.fsum(half_width for _, half_width in figures) / len(figures)
        assert half_width <= _WIDEST * 1.96 * error


def test_drift_is_covered_for_the_blocks_that_were_run() -> None:
    row = coverage(BY_NAME["drift"], 300, seed=5)
    assert BOUNDS[0] <= (row.gross.covered or 0) <= BOUNDS[1]


def test_strong_correlation_is_covered_and_flagged() -> None:
    row = coverage(BY_NAME["autocorrelated"], 300, seed=5)
    assert BOUNDS[0] <= (row.gross.covered or 0) <= BOUNDS[1]
    assert row.warnings["autocorrelated"] > 0.5


def test_correlation_that_white_scatter_hides_from_neighbours_is_covered_too() -> None:
    """A lag-1 estimate covers 90.5 % here; 800 cells err by 0.9 points (one standard error)."""
    row = coverage(BY_NAME["hidden-correlation"], 800, seed=5)
    assert 0.92 <= (row.j_per_token.covered or 0) <= 0.97
    assert 0.92 <= (row.net.covered or 0) <= 0.97


def test_prefills_too_short_for_the_sensor_are_refused() -> None:
    cell = simulate_cell(BY_NAME["short-windows"], 1)
    assert all(p.gross_j is None for p in cell.prefill)


def test_blocks_too_short_for_the_sensor_give_no_figure() -> None:
    cell = simulate_cell(BY_NAME["too-short"], 1)
    assert (cell.gross, cell.net, cell.j_per_token) == (None, None, None)
    assert "insufficient_resolution" in cell.flags


def test_a_gauge_that_averages_is_idle_before_a_block_begins() -> None:
    """Begun after an update period, while it still averages the block before, it was 0.5 % low."""
    row = coverage(BY_NAME["averaging-gauge"], 200, seed=1)
    assert abs(row.j_per_token.bias or 1) < 0.001
    assert (row.j_per_token.covered or 0) >= BOUNDS[0]


def test_net_is_refused_where_idle_drifts() -> None:
    row = coverage(BY_NAME["idle-drift"], 100, seed=5)
    assert row.net.given == 0.0
    assert row.warnings["idle_drift"] == pytest.approx(1.0)
    assert row.gross.given == 1.0


def test_update_periods_are_those_that_were_seen_not_those_declared() -> None:
    row = coverage(BY_NAME["wrong-period"], 200, seed=5)
    assert BOUNDS[0] <= (row.j_per_token.covered or 0) <= BOUNDS[1]
    assert row.warnings["coarse_resolution"] == pytest.approx(1.0)  # by 1 ms it would be fine


@pytest.mark.parametrize("name", ["jittered-updates", "skipped-updates"])
def test_late_and_missing_updates_bias_no_energy(name: str) -> None:
    row = coverage(BY_NAME[name], 300, seed=5)
    assert BOUNDS[0] <= (row.j_per_token.covered or 0) <= BOUNDS[1]
    assert abs(row.j_per_token.bias or 1) < 0.003


def test_a_cell_is_measured_in_its_processes_by_the_rule_of_a_run() -> None:
    cell = simulate_cell(BY_NAME["three-processes"], 3)
    assert len(cell.idle) == 3  # one pair of baselines around each process
    assert len(cell.blocks) == 40
    assert cell.gross is not None
    assert cell.gross.df is not None
    assert cell.gross.df < 10  # processes are the units, not forty blocks


def row_of(covered: float, warnings: dict[str, float], least: float | None = None, false: float = 0.0) -> Coverage:
    figure = QuantityCoverage(covered, 0.0, 0.01, 1.0)
    return Coverage("x", "", 1000, {"gross": figure}, warnings, least, false, 1000)


def test_no_flag_excuses_a_coverage_below_90_percent() -> None:
    """Any coverage was excused where more than half of the cells carried a flag."""
    assert row_of(0.80, {"autocorrelated": 1.0}).outside(by_chance=False) == ["gross"]
    assert row_of(0.91, {"autocorrelated": 1.0}).outside(by_chance=False) == []
    assert row_of(0.91, {"autocorrelated": 0.4}).outside(by_chance=False) == ["gross"]
    assert row_of(0.95, {}).outside(by_chance=False) == []


def test_what_no_interval_covers_is_held_to_the_coverage_that_is_stated() -> None:
    assert row_of(0.80, {}, least=0.75).outside(by_chance=False) == []
    assert row_of(0.70, {}, least=0.75).outside(by_chance=False) == ["gross"]


def test_false_differences_are_counted_for_each_scenario() -> None:
    assert row_of(0.95, {}, false=0.10).too_many_false()
    assert not row_of(0.95, {}, false=0.05).too_many_false()


def test_the_gauges_bias_shows_in_whole_cells_and_is_flagged() -> None:
    row = coverage(BY_NAME["gauge-25-of-100"], 20, seed=5)
    assert 0.55 < (row.gross.bias or 0) < 0.7
    assert row.warnings["gauge_integrated"] == pytest.approx(1.0)


def test_edges_locked_to_the_sensor_would_be_wrong_each_time_alike() -> None:
    """Why blocks are dithered: lateness 0.1 T at one edge and 0.9 T at the other."""
    rail = Rail([Constant(50.0)])
    counter = Counter(rail, period_s=0.1, quantum_counts=1)
    spec = SensorSpec(1e-6, 0.1, 1e-6)
    gross_j = [
        counter_energy(
            (t := k * 5 * S + S // 100, counter.read(t)), (e := t + 3 * S + 8 * S // 100, counter.read(e)), spec
        ).gross_j
        for k in range(20)
    ]
    assert gross_j == pytest.approx([50.0 * 3.0] * 20)
    assert rail.energy_j(0.01, 3.09) == pytest.approx(154.0)


def test_a_scenario_is_plain_values() -> None:
    mine = Scenario("mine", "made here", (Level(0.0, math.inf, 5.0, 5.0), Wander(0.1, 0.2)))
    simulation = simulate_cell(replace(mine, protocol=replace(mine.protocol, blocks=20)), 1)
    assert simulation.gross is not None
    assert len(simulation.blocks) == 20


def test_phases_of_every_shipped_scenario_have_a_truth() -> None:
    truth = simulate_cell(BY_NAME["constant"], 1).truth
    # Two requests of 40 and 60 tokens: 80 W for 2 ms, 60 W for 5 ms a token.
    assert truth.j_per_prefill_token == pytest.approx(0.16)
    assert truth.j_per_decode_token == pytest.approx(0.30)
    assert truth.gross_j == pytest.approx(2 * (40 * 0.16 + 60 * 0.30))


def test_equal_cells_are_rarely_told_apart_and_different_ones_mostly() -> None:
    equal = pair_study(0.0, simulate_pairs(0.0, 3, range(120)))
    assert equal.false_share <= 0.10  # 5 % and three standard errors
    different = pair_study(0.05, simulate_pairs(0.05, 3, range(120)))
    assert different.found_share >= 0.82
    assert different.lower == 0


def test_no_energy_is_wrong_where_counters_wrap_restart_and_skip_updates() -> None:
    study = fault_study(20_000, 7)
    assert study.wrong == 0
    assert study.stated > 1000
    assert study.wraps > 1000
    assert study.refused["counter_reset"] > 1000
    assert study.refused["counter_ambiguous"] > 1000
    assert study.stated + sum(study.refused.values()) == study.windows == 20_000


def test_the_study_of_faults_fails_where_the_rule_of_a_run_is_too_weak(monkeypatch: pytest.MonkeyPatch) -> None:
    """With loads of up to four times the power that calibration saw, a run stated energies short of whole wraps."""
    monkeypatch.setattr(counters, "_LOAD_OVER_SEEN", 4)
    assert fault_study(20_000, 7).wrong > 10


def test_a_run_judges_a_counter_as_the_study_of_faults_does(monkeypatch: pytest.MonkeyPatch) -> None:
    met: list[tuple[Sequence[Channel], Mapping[int, SensorCalibration]]] = []
    made = instrument.calibrated_accountant

    def noted(channels: Sequence[Channel], calibrations: Mapping[int, SensorCalibration]) -> Accountant:
        met.append((channels, calibrations))
        return made(channels, calibrations)

    faults._accountant.cache_clear()
    monkeypatch.setattr(instrument, "calibrated_accountant", noted)
    judged = faults._accountant(0.001, 61e-6, 1 << 28, 250.0)
    faults._accountant.cache_clear()
    ((channels, calibrations),) = met
    measured = Instruments(Sensors((), tuple(channels)), calibrations).accountant()
    assert measured.spec(0) == judged.spec(0)
    assert measured.spec(0).largest_power_w == 250.0
    assert type(measured).block_energies is type(judged).block_energies


def test_the_study_is_the_same_by_seed_however_it_is_spread() -> None:
    scenarios = [BY_NAME["constant"]]
    first, second = (study(scenarios, cells=70, pairs=0, windows=100, seed=4) for _ in range(2))
    assert first == second
    # One process, no chunks: the study's tasks must not show in its figures.
    assert first.coverage[0] == coverage(scenarios[0], 70, seed=4)
    assert first != study(scenarios, cells=70, pairs=0, windows=100, seed=5)
    assert first.pairs == ()


def test_a_wrapping_counter_of_few_changes_is_no_crash() -> None:
    """With a power known by calibration and fewer than two changes seen, the meter raised a TypeError."""
    cell = simulate_cell(BY_NAME["wraps"], 1)
    assert cell.gross is not None
    assert any(window.gross_j is not None for window in cell.blocks)
