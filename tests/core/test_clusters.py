"""Intervals over clusters: against their formulas, and how often they hold a known truth."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from scipy import stats

from joulebench.meter.clusters import (
    log_ratio_over_clusters,
    paired_windows,
    positive_over_clusters,
    ratio_over_clusters,
    share_over_clusters,
)


def test_clusters_of_equal_size_have_the_interval_of_their_means() -> None:
    values = [3.0, 5.0, 4.0, 8.0, 6.0]
    ratio = ratio_over_clusters(values, [2.0] * 5)
    assert ratio is not None
    means = np.asarray(values) / 2
    low, high = stats.t.interval(0.95, 4, means.mean(), stats.sem(means))
    assert (ratio.value, ratio.clusters) == (pytest.approx(2.6), 5)
    assert (ratio.low, ratio.high) == (pytest.approx(low), pytest.approx(high))


def test_a_single_cluster_has_no_interval_and_none_no_figure() -> None:
    one = ratio_over_clusters([3.0], [2.0])
    assert one is not None
    assert (one.value, one.low, one.high) == (1.5, None, None)
    assert ratio_over_clusters([], []) is None
    assert share_over_clusters([], []) is None
    assert share_over_clusters([0, 0], [0, 0]) is None
    single = share_over_clusters([3], [4])
    assert single is not None
    assert (single.low, single.high) == (None, None)


def test_a_share_that_is_whole_everywhere_still_has_a_width() -> None:
    share = share_over_clusters([64] * 8, [64] * 8)
    assert share is not None
    assert share.value == share.high == 1.0
    t = stats.t.ppf(0.975, 7)
    assert share.low == pytest.approx(8 / (8 + t * t))
    none = share_over_clusters([0] * 8, [64] * 8)
    assert none is not None
    assert (none.low, none.high) == (0.0, pytest.approx(1 - 8 / (8 + t * t)))


def test_answers_that_agree_wholly_or_not_at_all_count_as_so_many_items() -> None:
    """Sixty-four tokens of one answer are no sixty-four answers."""
    whole = share_over_clusters([64] * 8 + [0] * 8, [64] * 16)
    mixed = share_over_clusters([32] * 8 + [31] * 8, [64] * 16)
    assert whole is not None
    assert mixed is not None
    assert whole.high is not None
    assert whole.low is not None
    assert mixed.high is not None
    assert mixed.low is not None
    assert whole.high - whole.low > 3 * (mixed.high - mixed.low)


def test_shares_stay_between_none_and_all() -> None:
    rng = np.random.default_rng(2)
    for _ in range(200):
        totals = rng.integers(1, 70, 8)
        hits = rng.binomial(totals, rng.beta(0.5, 0.2))
        share = share_over_clusters(hits.tolist(), totals.tolist())
        assert share is not None
        assert share.low is not None
        assert share.high is not None
        assert 0 <= share.low <= share.value <= share.high <= 1


def coverage(clusters: int, spread: float, share: float, all_or_none: float) -> float:
    """How often the interval holds the share: beta-binomial answers of 64 tokens.

    ``spread`` is α + β: where it is small, an answer agrees wholly or not at all.
    """
    rng = np.random.default_rng(5)
    held = 0
    for _ in range(600):
        p = rng.beta(share * spread, (1 - share) * spread, clusters)
        hits = rng.binomial(64, p).tolist()
        result = share_over_clusters(hits, [64] * clusters, all_or_none)
        assert result is not None
        assert result.low is not None
        assert result.high is not None
        held += result.low <= share <= result.high
    return held / 600


@pytest.mark.parametrize("share", [0.6, 0.9, 0.98])
@pytest.mark.parametrize("spread", [0.3, 4.0, 50.0])
@pytest.mark.parametrize("clusters", [8, 16, 32])
def test_a_share_of_answers_that_part_is_held_whatever_they_are(clusters: int, spread: float, share: float) -> None:
    assert coverage(clusters, spread, share, all_or_none=1.0) >= 0.915


@pytest.mark.parametrize("share", [0.6, 0.9])
@pytest.mark.parametrize("clusters", [8, 16, 32])
def test_a_share_of_nearly_independent_tokens_is_held_as_often_as_it_says(clusters: int, share: float) -> None:
    assert 0.93 <= coverage(clusters, 50.0, share, all_or_none=0.0) <= 0.98


def test_few_answers_alone_would_hold_too_little() -> None:
    """What the assumption is for: without it the interval would promise more than it holds."""
    assert coverage(16, 4.0, 0.98, all_or_none=0.0) < 0.88


@pytest.mark.parametrize("clusters", [8, 16, 32])
def test_the_interval_of_a_mean_over_clusters_holds_the_truth(clusters: int) -> None:
    """Divergences that are log-normal over answers of unequal length: skewed, as they are."""
    rng = np.random.default_rng(7)
    truth = math.exp(0.5 * 0.5**2)
    cells = 1500
    held = 0
    for _ in range(cells):
        means = rng.lognormal(0.0, 0.5, clusters)
        sizes = rng.integers(40, 65, clusters)
        ratio = ratio_over_clusters((means * sizes).tolist(), sizes.tolist())
        assert ratio is not None
        assert ratio.low is not None
        assert ratio.high is not None
        held += ratio.low <= truth <= ratio.high
    assert 0.91 <= held / cells <= 0.97


def test_paired_windows_take_the_difficulty_of_each_window_away() -> None:
    rng = np.random.default_rng(3)
    hard = rng.uniform(200, 900, 16)
    worse = 0.02 + rng.normal(0, 0.002, 16)  # nats a token
    own = [(float(loss + 255 * more), 255) for loss, more in zip(hard, worse, strict=True)]
    ratio = paired_windows(own, [(float(loss), 255) for loss in hard])
    assert ratio is not None
    assert ratio.low is not None
    assert ratio.high is not None
    assert ratio.value == pytest.approx(math.exp(worse.mean()), rel=1e-9)
    assert ratio.low < math.exp(0.02) < ratio.high
    assert ratio.high - ratio.low < 0.01


def test_windows_that_are_not_the_same_are_not_paired() -> None:
    assert paired_windows([(1.0, 4)], [(1.0, 5)]) is None
    assert paired_windows([(1.0, 4)], []) is None
    assert paired_windows([], []) is None
    assert paired_windows([(math.inf, 4)], [(1.0, 4)]) is None


def test_a_ratio_of_perplexities_beyond_every_number_is_none() -> None:
    assert log_ratio_over_clusters([1e6, 1e6], [1.0, 1.0]) is None
    ratio = log_ratio_over_clusters([0.1, 0.3], [1.0, 1.0])
    assert ratio is not None
    assert ratio.value == pytest.approx(math.exp(0.2))


def test_many_windows_that_lose_alike_have_a_wider_interval_than_independent_ones() -> None:
    rng = np.random.default_rng(11)
    drift = np.repeat(rng.normal(0.3, 0.1, 6), 5)  # thirty windows of six topics
    mixed = rng.permutation(drift)

    def width(losses: np.ndarray) -> float:
        ratio = paired_windows([(500.0 + 255 * x, 255) for x in losses], [(500.0, 255)] * 30)
        assert ratio is not None
        assert ratio.low is not None
        assert ratio.high is not None
        return ratio.high - ratio.low

    assert width(drift) > 1.5 * width(mixed)


@pytest.mark.parametrize(
    ("answers", "sigma", "least"), [(8, 0.5, 0.93), (8, 1.0, 0.9), (20, 1.0, 0.93), (32, 1.5, 0.9)]
)
def test_a_skewed_mean_of_few_answers_is_held(answers: int, sigma: float, least: float) -> None:
    source = random.Random(f"{answers} {sigma}")
    held = 0
    for _ in range(1000):
        values = [source.lognormvariate(0.0, sigma) for _ in range(answers)]
        mean = positive_over_clusters(values, [1.0] * answers)
        assert mean is not None
        assert mean.low is not None
        assert 0 < mean.low < mean.value
        held += mean.low <= math.exp(sigma**2 / 2) <= (mean.high or 0)
    assert held / 1000 >= least


def test_fewer_than_eight_answers_or_windows_have_no_interval() -> None:
    values = [0.1 * n for n in range(1, 8)]
    mean = positive_over_clusters(values, [1.0] * 7)
    assert mean is not None
    assert (mean.low, mean.high) == (None, None)
    windows = paired_windows([(v, 10) for v in values], [(1.0, 10)] * 7)
    assert windows is not None
    assert (windows.low, windows.high) == (None, None)


@pytest.mark.parametrize("count", [8, 12, 19])
def test_few_windows_that_lose_alike_are_held(count: int) -> None:
    source = random.Random(count)
    held = 0
    for _ in range(500):
        level, own = source.gauss(0, 1), []
        for _ in range(count):
            own.append((level, 1))
            level = 0.6 * level + source.gauss(0, 0.8)
        ratio = paired_windows(own, [(0.0, 1)] * count)
        assert ratio is not None
        held += (ratio.low or 0) <= 1 <= (ratio.high or 0)
    assert held / 500 >= 0.88
