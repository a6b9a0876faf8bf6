"""Means, processes, ratios, comparisons and stopping, against scipy, numpy and simulation."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import numpy as np
import pytest
from scipy import special, stats

from joulebench.meter.comparison import CellBlocks, CellComparison, LogMean, compare, compare_apart
from joulebench.meter.multiplicity import corrected_for_many, holm_adjusted
from joulebench.meter.student import incomplete_beta, t_quantile, two_sided_p
from joulebench.meter.uncertainty import (
    HIGHEST_DECAY,
    Interval,
    autocorrelation,
    interval_around,
    mean_interval,
    positive,
    process_interval,
    quantile,
    ratio_interval,
    spread_of,
    with_systematic,
)


def correlated(rng: np.random.Generator, cells: int, n: int, r: float) -> np.ndarray:
    """AR(1) series with unit variance and mean 0."""
    noise = rng.normal(size=(cells, n))
    values = np.empty((cells, n))
    values[:, 0] = noise[:, 0]
    for i in range(1, n):
        values[:, i] = r * values[:, i - 1] + math.sqrt(1 - r * r) * noise[:, i]
    return values


@pytest.mark.parametrize("df", [0.4, 1, 1.5, 2, 2.71, 4, 7.3, 19, 59.9, 119.9, 120.1, 1e3, 1e6, 1e8, 1e12])
def test_t_quantiles_and_p_values_equal_scipys(df: float) -> None:
    for p in (0.025, 0.5, 0.6, 0.9, 0.975, 0.995, 0.99995):
        expected = stats.t.ppf(p, df)
        assert t_quantile(p, df) == pytest.approx(expected, rel=1e-8, abs=1e-8)
    for t in (0.0, 0.3, 2.0, 9.0):
        assert two_sided_p(t, df) == pytest.approx(2 * stats.t.sf(t, df), rel=1e-8)


def test_the_incomplete_beta_function_equals_scipys() -> None:
    for a, b, x in ((0.5, 0.5, 0.3), (2.5, 7.0, 0.9), (40.0, 3.3, 0.97), (1e4, 0.5, 0.9999)):
        assert incomplete_beta(a, b, x) == pytest.approx(special.betainc(a, b, x), rel=1e-9)


@pytest.mark.parametrize("white", [0.0, 1.0])
def test_the_formulas_of_a_correlated_mean_follow_by_hand(white: float) -> None:
    rng = np.random.default_rng(5)
    values = correlated(rng, 1, 60, 0.6)[0] + white * rng.normal(size=60)
    n, deviations = 60, values - values.mean()
    squares = (deviations**2).sum()
    raw1 = (deviations[1:] * deviations[:-1]).sum() / (n - 1) / (squares / n)
    r1 = (n * raw1 + 1) / (n - 4)
    raw2 = (deviations[2:] * deviations[:-2]).sum() / (n - 2) / (squares / n)
    r2 = raw2 + (1 + r1) / (1 - r1) / n
    decay = min(max(r2 / r1, r1), HIGHEST_DECAY)
    f = 1 + 2 * r1 / (1 - decay)
    interval = mean_interval(values.tolist())
    assert interval.autocorrelation == pytest.approx(r1)
    assert interval.n_eff == pytest.approx(n / f)
    u, df = math.sqrt(values.var(ddof=1) * (n - 1) / (n - f) * f / n), n / f - 1
    batches = values.reshape(4, 15).mean(axis=1).std(ddof=1) / 2
    if batches > u:
        u, df = batches, min(df, 3)
    assert interval.u == pytest.approx(u)
    assert interval.half_width == pytest.approx(u * stats.t.ppf(0.975, df))


def holds_zero(interval: Interval) -> bool:
    """Whether there is an interval and 0, the truth, lies in it."""
    assert interval.mean is not None
    assert interval.half_width is not None
    return abs(interval.mean) <= interval.half_width


@pytest.mark.parametrize(
    ("n", "r", "low", "high"),
    [(20, 0.0, 0.945, 0.98), (20, 0.3, 0.935, 0.97), (20, 0.6, 0.92, 0.96), (50, 0.6, 0.935, 0.97)],
)
def test_simulated_coverage_is_that_of_the_protocol(n: int, r: float, low: float, high: float) -> None:
    cells = correlated(np.random.default_rng(11), 2000, n, r).tolist()
    hits = sum(holds_zero(i) for i in map(mean_interval, cells))
    assert low <= hits / len(cells) <= high


@pytest.mark.parametrize(("n", "low"), [(40, 0.925), (200, 0.94)])
def test_white_noise_over_correlation_is_covered(n: int, low: float) -> None:
    """Half of the variance is white: lag 1 alone covers 90.4 %, whatever n is."""
    rng = np.random.default_rng(29)
    cells = (correlated(rng, 2000, n, 0.6) + rng.normal(size=(2000, n))).tolist()
    hits = sum(holds_zero(i) for i in map(mean_interval, cells))
    assert low <= hits / len(cells) <= 0.98


def test_batches_see_what_two_lags_do_not_and_slow_series_are_flagged() -> None:
    """An AR(1) of r = 0.9 under equal white noise: lags alone hold in 78 % (40 blocks)."""
    rng = np.random.default_rng(7)
    cells = (correlated(rng, 1500, 40, 0.9) + rng.normal(size=(1500, 40))).tolist()
    intervals = [mean_interval(cell) for cell in cells]
    assert sum(map(holds_zero, intervals)) / 1500 >= 0.81
    assert sum("slow_changes" in interval.flags for interval in intervals) / 1500 >= 0.5
    states = []
    for _ in range(300):
        state, blocks = 1.0, []
        for _ in range(80):
            state = -state if rng.random() < 1 / 15 else state
            blocks.append(state + 0.5 * rng.normal())
        states.append(mean_interval(blocks))
    assert sum("slow_changes" in state.flags for state in states) / 300 >= 0.95
    quiet = [mean_interval(cell) for cell in rng.normal(size=(500, 80)).tolist()]
    assert sum("slow_changes" in state.flags for state in quiet) / 500 <= 0.1


def test_negative_correlation_promises_nothing() -> None:
    values = [1.0, -1.0] * 10
    assert autocorrelation(values) == 0.0
    assert spread_of(values).n_eff == 20


def test_strong_correlation_is_flagged_and_leaves_two_effective_blocks() -> None:
    interval = mean_interval([float(i) for i in range(20)])
    assert "autocorrelated" in interval.flags
    assert interval.n_eff == pytest.approx(2.0)


def test_too_few_blocks_have_no_interval() -> None:
    assert (mean_interval([]).mean, mean_interval([]).flags) == (None, ("no_blocks",))
    single = mean_interval([3.0])
    assert (single.mean, single.low, single.u, single.flags) == (3.0, None, None, ("single_block",))
    assert single.relative_half_width is None


def test_equal_blocks_have_an_interval_of_no_width() -> None:
    assert mean_interval([2.0] * 20).half_width == 0.0


@pytest.mark.parametrize("between", [0.0, 0.1, 0.3, 2.0])
def test_three_processes_are_covered_whatever_their_difference(between: float) -> None:
    rng = np.random.default_rng(13)
    cells, hits = 1500, 0
    for _ in range(cells):
        groups = [rng.normal(between * rng.normal(), 1.0, 14).tolist() for _ in range(3)]
        interval = process_interval(groups)
        hits += holds_zero(interval)
    assert 0.92 <= hits / cells <= 0.975


@pytest.mark.parametrize("between", [0.0, 0.1, 0.3, 2.0])
def test_processes_of_unequal_length_are_covered_by_the_interval_of_the_mean_that_is_stated(between: float) -> None:
    """Every block counts alike in it: with looks at 20, 40, 80, … each process is as long as all before."""
    rng = np.random.default_rng(19)
    sizes, cells = (20, 20, 40, 80, 160), 1000
    hits, plain = 0, 0.0
    for _ in range(cells):
        groups = [rng.normal(between * rng.normal(), 1.0, n).tolist() for n in sizes]
        interval = process_interval(groups)
        assert interval.mean == pytest.approx(sum(map(sum, groups)) / sum(sizes))
        hits += holds_zero(interval)
        plain += (interval.u or 0.0) / cells
    assert 0.92 <= hits / cells <= 0.99
    if not between:
        assert plain < 1.25 / math.sqrt(sum(sizes))  # it was that of a mean over processes, 1.4 times as much


def test_process_means_are_the_units_where_processes_differ() -> None:
    rng = np.random.default_rng(17)
    groups = [(10 * k + rng.normal(size=20)).tolist() for k in range(4)]
    interval = process_interval(groups)
    means = [sum(g) / 20 for g in groups]
    assert interval.df == 3
    assert interval.u == pytest.approx(np.std(means, ddof=1) / 2)


def test_fewer_than_three_processes_are_said_to_be_few() -> None:
    one, two = [1.0, 2.0, 1.5, 1.2], [1.1, 1.9, 1.4, 1.3]
    assert "few_processes" in process_interval([one, two]).flags
    assert "single_process" in process_interval([one]).flags


def test_a_ratio_of_sums_agrees_with_a_bootstrap() -> None:
    rng = np.random.default_rng(19)
    tokens = rng.integers(50, 200, 160).astype(float)
    joules = 5 + 0.3 * tokens + rng.normal(0, 4, 160)
    interval = ratio_interval(joules.tolist(), tokens.tolist())
    picks = rng.integers(0, 160, (4000, 160))
    ratios = joules[picks].sum(1) / tokens[picks].sum(1)
    assert interval.mean == pytest.approx(joules.sum() / tokens.sum())
    assert interval.autocorrelation is not None
    plain_u = (interval.u or 0) / math.sqrt(160 / (interval.n_eff or 1))
    assert plain_u == pytest.approx(ratios.std(), rel=0.08)


def test_a_ratio_of_correlated_blocks_agrees_with_a_block_bootstrap() -> None:
    rng = np.random.default_rng(23)
    tokens = rng.integers(90, 110, 2000).astype(float)
    joules = 0.3 * tokens * (1 + 0.1 * correlated(rng, 1, 2000, 0.6)[0])
    interval = ratio_interval(joules.tolist(), tokens.tolist())
    starts = rng.integers(0, 1950, (2000, 40))
    picks = (starts[:, :, None] + np.arange(50)).reshape(2000, -1)
    ratios = joules[picks].sum(1) / tokens[picks].sum(1)
    assert interval.u == pytest.approx(ratios.std(), rel=0.15)


def test_unequal_work_widens_a_ratio_by_its_bias() -> None:
    source = random.Random(5)
    work = [source.lognormvariate(0.0, 1.6) for _ in range(20)]
    energies = [30.0 + x for x in work]
    interval = ratio_interval(energies, work)
    assert "unequal_work" in interval.flags
    assert "unequal_work" not in ratio_interval(energies, [1.0 + 0.01 * x for x in work]).flags


def test_a_positive_quantity_has_a_positive_interval() -> None:
    interval = positive(interval_around(42.0, 39.0, 20, n=20))
    assert 0 < (interval.low or 0) < 42 < (interval.high or 0)
    assert (interval.low or 0) * (interval.high or 0) == pytest.approx(42**2)
    negative = interval_around(-1.0, 1.0, 20, n=20)
    assert positive(negative) == negative


def test_ratios_without_work_or_with_one_block_have_no_interval() -> None:
    assert ratio_interval([1.0], [0.0]).flags == ("no_blocks",)
    assert ratio_interval([6.0], [2.0]).mean == 3.0


def test_quantiles_equal_numpys() -> None:
    values = [3.0, 1.0, 4.0, 1.5, 9.0, 2.6]
    for p in (0.0, 0.05, 0.5, 0.9, 1.0):
        assert quantile(values, p) == pytest.approx(np.quantile(values, p))
    assert quantile([], 0.5) is None
    assert quantile([7.0], 0.9) == 7.0


def test_a_systematic_share_does_not_shrink_with_blocks() -> None:
    many = interval_around(100.0, 0.001, 319, n=320)
    assert with_systematic(many, 0.05).half_width == pytest.approx(1.96 * 5, rel=1e-3)
    few = interval_around(100.0, 5.0, 2.0, n=3)
    widened = with_systematic(few, 0.05).half_width
    assert widened is not None
    assert few.half_width is not None
    assert widened >= few.half_width


def cells_in_turns(seed: int, ratio: float, n: int = 40, drift: float = 0.5) -> tuple[CellBlocks, CellBlocks]:
    rng = np.random.default_rng(seed)
    common = 1 + drift * np.linspace(0, 1, n)
    rounds = list(range(n))
    candidate = 100 * ratio * common * (1 + 0.02 * rng.normal(size=n))
    baseline = 100 * common * (1 + 0.02 * rng.normal(size=n))
    return (
        CellBlocks(candidate.tolist(), None, rounds, starts=[2 * number for number in rounds]),
        CellBlocks(baseline.tolist(), None, rounds, starts=[2 * number + 1 for number in rounds]),
    )


def known(mean: LogMean | None) -> LogMean:
    assert mean is not None
    return mean


def compared(candidate: CellBlocks, baseline: CellBlocks) -> CellComparison:
    """By the blocks alone: the cells of this module differ by nothing from start to start."""
    return compare(candidate, baseline, start_u=0.0)


def test_pairing_removes_common_drift() -> None:
    candidate, baseline = cells_in_turns(1, 0.95)
    paired = compared(candidate, baseline)
    assert paired.verdict == "lower"
    apart = compared(CellBlocks(candidate.energies), CellBlocks(baseline.energies))
    assert paired.u_log is not None
    assert apart.u_log is not None
    assert paired.u_log < 0.2 * apart.u_log
    assert apart.verdict != "lower"


def test_a_difference_without_turns_is_not_told() -> None:
    candidate, baseline = cells_in_turns(2, 0.8, drift=0.0)
    apart = compared(CellBlocks(candidate.energies), CellBlocks(baseline.energies))
    assert (apart.high or 1) < 1
    assert apart.verdict == "cannot_tell"
    assert "not_interleaved" in apart.flags


def test_cells_of_different_groups_are_not_paired_by_equal_numbers_of_rounds() -> None:
    candidate, baseline = cells_in_turns(2, 0.8, drift=0.0)
    after = replace(candidate, starts=[1000 + 2 * number for number in range(40)])
    comparison = compared(after, baseline)
    assert not comparison.paired
    assert comparison == compare_apart(*(known(cell.log_mean) for cell in (after, baseline)), start_u=0.0)
    assert comparison.verdict == "cannot_tell"
    for unknown in (replace(after, starts=None), replace(after, rounds=None)):
        assert not compared(unknown, baseline).paired


def test_the_last_turn_of_one_group_and_the_first_of_the_next_are_no_pair() -> None:
    one = CellBlocks([1.0, 1.1, 1.0], None, [0, 1, 2], starts=[0, 1, 2])
    other = CellBlocks([1.0, 1.1, 1.0], None, [2, 3, 4], starts=[3, 4, 5])
    assert not compared(one, other).paired


def test_a_repeated_block_is_one_turn() -> None:
    candidate, baseline = cells_in_turns(6, 0.9)
    energies, starts = list(candidate.energies), list(candidate.starts or ())
    repeated = CellBlocks(
        [*energies[:5], energies[5] * 1.5, energies[5], *energies[6:]],
        None,
        [*range(6), 5, *range(6, 40)],
        starts=[*starts[:6], starts[5] + 0.5, *starts[6:]],
    )
    rows, plain = compared(repeated, baseline), compared(candidate, baseline)
    assert (rows.n, rows.ratio) == (40, pytest.approx(plain.ratio))
    assert rows.u_log == pytest.approx(plain.u_log)


def test_pairs_that_share_a_process_are_of_one_process() -> None:
    candidate, baseline = cells_in_turns(7, 0.9)
    processes = [number // 10 for number in range(40)]
    placed = [e * (1 + 0.1 * p) for e, p in zip(candidate.energies, processes, strict=True)]
    several = replace(candidate, energies=placed, processes=processes)
    apart = compared(several, replace(baseline, processes=processes))
    shared = compared(several, replace(baseline, processes=[0] * 40))
    assert apart.df >= 3
    assert apart.flags == ()
    assert "single_process" in shared.flags


def test_no_difference_comes_with_the_smallest_that_could_be_seen() -> None:
    verdicts = [compared(*cells_in_turns(seed, 1.0)).verdict for seed in range(300)]
    assert 0.92 <= verdicts.count("no_difference") / 300 <= 0.99
    detectable = compared(*cells_in_turns(3, 1.0)).smallest_detectable
    assert detectable is not None
    seen = [compared(*cells_in_turns(s, 1 + detectable)).verdict == "higher" for s in range(300)]
    assert 0.6 <= sum(seen) / 300 <= 0.97


def test_unpaired_cells_follow_welch() -> None:
    rng = np.random.default_rng(4)
    x, y = rng.normal(100, 1, 21), rng.normal(101, 4, 21)
    comparison = compared(CellBlocks(x.tolist()), CellBlocks(y.tolist()))
    sx, sy = spread_of(x.tolist()), spread_of(y.tolist())
    u = math.hypot(sx.u / sx.mean, sy.u / sy.mean)
    assert comparison.u_log == pytest.approx(u, rel=1e-9)
    assert comparison.ratio == pytest.approx(x.mean() / y.mean())
    parts = [(s.u / s.mean) ** 2 for s in (sx, sy)]
    welch = sum(parts) ** 2 / (parts[0] ** 2 / sx.df + parts[1] ** 2 / sy.df)
    assert comparison.df == pytest.approx(welch)


def test_a_comparison_of_one_process_each_says_so_and_too_few_blocks_cannot_tell() -> None:
    assert "single_process" in compared(*cells_in_turns(5, 0.9)).flags
    alone = compared(CellBlocks([1.0]), CellBlocks([2.0]))
    assert (alone.verdict, alone.ratio) == ("cannot_tell", None)


def test_holms_p_values_follow_his_rule() -> None:
    assert holm_adjusted([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm_adjusted([]) == []


def test_correction_for_many_agrees_with_adjusted_p_values() -> None:
    pairs = [compared(*cells_in_turns(s, 1 - 0.003 * s)) for s in range(8)]
    corrected = corrected_for_many(pairs)
    for before, after in zip(pairs, corrected, strict=True):
        assert before.p_value is not None
        assert after.p_value is not None
        assert (after.verdict in {"lower", "higher"}) == (after.p_value < 0.05)
        assert after.p_value >= before.p_value
        assert after.level >= before.level
        assert after.compared_with == 8
    assert {c.verdict for c in corrected} >= {"lower", "no_difference"}
