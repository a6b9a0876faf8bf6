"""The statistics against scipy and numpy, and their intervals against simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from joulebench_reports.melodi import bootstrap
from joulebench_reports.melodi.bootstrap import Resampler


def _data(n: int, seed: int) -> tuple[bootstrap.Array, bootstrap.Array, bootstrap.Array]:
    source = np.random.default_rng(seed)
    z = source.normal(size=n)
    x = z + source.normal(size=n)
    return x, 3 * z + 0.5 * x + source.normal(size=n) + 100, z


def test_point_values_are_scipys() -> None:
    x, y, z = _data(80, 1)
    resampler = Resampler(range(80), 0, 200)
    coefficient = bootstrap.correlation(x, y, resampler, z)
    assert coefficient is not None
    assert coefficient.beyond is not None
    assert coefficient.r.value == pytest.approx(stats.pearsonr(x, y).statistic)

    def left(values: bootstrap.Array) -> bootstrap.Array:
        return values - np.polyval(np.polyfit(z, values, 1), z)

    assert coefficient.beyond.value == pytest.approx(stats.pearsonr(left(x), left(y)).statistic)
    model = bootstrap.linear_model(y, [x, z], resampler)
    assert model is not None
    wanted = np.linalg.lstsq(np.column_stack([np.ones(80), x, z]), y, rcond=None)[0]
    assert [coefficient.value for coefficient in model.coefficients] == pytest.approx(list(wanted))
    assert model.residuals.sum() == pytest.approx(0, abs=1e-9)


def test_the_same_seed_gives_the_same_interval_whether_draws_are_kept_or_not(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y, _ = _data(30, 2)
    kept = bootstrap.ratio_of_sums(y, x + 20, Resampler(range(30), 5, 400))
    monkeypatch.setattr(bootstrap, "_KEPT", 0)
    monkeypatch.setattr(bootstrap, "_CHUNK", 3000)
    assert bootstrap.ratio_of_sums(y, x + 20, Resampler(range(30), 5, 400)) == kept


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    # 300 samples of 60: the count that covers is binomial, 95 % less four standard deviations.
    source = np.random.default_rng(7)
    covered = {"r": 0, "slope": 0, "ratio": 0}
    for trial in range(300):
        x = source.uniform(1, 9, size=60)
        y = 5 + 2 * x + source.normal(size=60) * x / 3  # scatter that grows with x
        resampler = Resampler(range(60), trial, 400)
        model = bootstrap.linear_model(y, [x], resampler)
        r = bootstrap.correlation(x, y, resampler)
        ratio = bootstrap.ratio_of_sums(y, x, resampler)
        assert model is not None
        assert r is not None
        true_r = 2 * np.std([1, 9]) / np.sqrt(3)  # standard deviation of 2x
        true_r /= np.hypot(true_r, np.sqrt(((9**3 - 1) / 3 / 8) / 9))
        for name, item, truth in (("r", r.r, true_r), ("slope", model.coefficients[1], 2.0), ("ratio", ratio, 3.0)):
            assert item.low is not None
            assert item.high is not None
            covered[name] += item.low <= truth <= item.high
    assert all(count >= 270 for count in covered.values()), covered


def test_repetitions_of_prompts_make_no_interval_narrower() -> None:
    x, y, _ = _data(20, 3)
    once = bootstrap.correlation(x, y, Resampler(range(20), 0))
    many = bootstrap.correlation(np.tile(x, 10), np.tile(y, 10), Resampler(list(range(20)) * 10, 0))
    assert once is not None
    assert many is not None
    assert many.r.low == pytest.approx(once.r.low)
    assert many.r.high == pytest.approx(once.r.high)


def test_the_median_and_its_interval() -> None:
    values = np.arange(1.0, 102.0)
    interval = Resampler(range(101), 0).median(values)
    assert interval.value == 51
    # Distribution-free: order statistics 41 and 61 of 101.
    assert interval.low == pytest.approx(41, abs=1.5)
    assert interval.high == pytest.approx(61, abs=1.5)


def test_what_does_not_vary_has_no_figure() -> None:
    x, y, _ = _data(30, 4)
    same = np.full(30, 7.0)
    resampler = Resampler(range(30), 0, 100)
    assert bootstrap.correlation(same, y, resampler) is None
    assert bootstrap.linear_model(y, [same], resampler) is None
    assert bootstrap.linear_model(y, [x, 2 * x + 1], resampler) is None


def test_one_prompt_has_no_interval() -> None:
    interval = bootstrap.ratio_of_sums(np.array([6.0, 6.2]), np.array([2.0, 2.0]), Resampler([0, 0], 0))
    assert interval == bootstrap.Resampled(pytest.approx(3.05), None, None)


@pytest.mark.parametrize(("r", "n"), [(0.5, 30), (-0.9, 12), (0.0, 1000)])
def test_fishers_interval_is_scipys(r: float, n: int) -> None:
    source = np.random.default_rng(0)
    x = source.normal(size=n)
    z = source.normal(size=n)
    z -= z.mean() + (x - x.mean()) * np.cov(x, z)[0, 1] / x.var(ddof=1)
    y = r * (x - x.mean()) / x.std() + np.sqrt(1 - r * r) * z / z.std()
    wanted = stats.pearsonr(x, y).confidence_interval(0.95)
    assert bootstrap.fisher_interval(r, n) == pytest.approx((wanted.low, wanted.high), abs=1e-6)


def test_fishers_interval_needs_five_prompts() -> None:
    assert bootstrap.fisher_interval(0.5, 4) is None
