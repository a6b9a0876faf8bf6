"""Intervals of shares, means and ratios over items that come in clusters: tokens of an answer.

Tokens of one answer resemble each other, so the answers are the units, not the tokens. All
figures here are ratios of sums over the clusters, with the variance by linearisation (Cochran,
"Sampling Techniques", 3rd ed. 1977, section 6.4: ratio estimators of clusters of unequal size)
and Student's t with as many degrees of freedom as there are clusters less one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from joulebench.meter.student import t_quantile
from joulebench.meter.uncertainty import DEFAULT_LEVEL, ratio_interval

#: Fewer clusters, or windows of a text, have no interval: too few to show their skewness, or how
#: much those in a row are alike.
FEWEST = 8
#: How far the upper end of a skewed quantity's interval is stretched, by its skewness/√k.
_STRETCH = 1.5
#: exp() of more than this overflows a double.
_LARGEST_EXPONENT = 700.0


@dataclass(frozen=True, slots=True)
class Clustered:
    """A figure over ``clusters`` clusters; without bounds where there are fewer than two."""

    value: float
    low: float | None
    high: float | None
    clusters: int


def ratio_over_clusters(
    numerators: Sequence[float], denominators: Sequence[float], level: float = DEFAULT_LEVEL
) -> Clustered | None:
    """Σy/Σx with its interval; ``None`` where Σx is not positive.

    With residuals e = y - R·x and the mean x̄ of k clusters, u² = Σe²/(k·(k - 1))/x̄².
    """
    k, total = len(numerators), math.fsum(denominators)
    if total <= 0:
        return None
    ratio = math.fsum(numerators) / total
    if k < 2:
        return Clustered(ratio, None, None, k)
    u = math.sqrt(_variance(numerators, denominators))
    half = t_quantile(0.5 + level / 2, k - 1) * u
    return Clustered(ratio, ratio - half, ratio + half, k)


def positive_over_clusters(
    numerators: Sequence[float], denominators: Sequence[float], level: float = DEFAULT_LEVEL
) -> Clustered | None:
    """Σy/Σx of what cannot be negative and is skewed (a KL divergence), on the log scale.

    The upper end is stretched by 1 + 1.5·|g|/√k with the skewness g of k clusters, since a mean of
    few skewed values is low more often than not. Fewer than eight have no bounds. (Simulated with
    log-normal clusters, 8 to 32 of them: σ = 0.5, 1, 1.5 are covered in 95-97, 93-96, 88-94 %,
    by a symmetric interval in 92-94, 82-89, 70-80 %.)
    """
    ratio = ratio_over_clusters(numerators, denominators, level)
    if ratio is None or ratio.low is None or ratio.value <= 0:
        return ratio
    k = ratio.clusters
    if k < FEWEST:
        return Clustered(ratio.value, None, None, k)
    residuals = [y - ratio.value * x for y, x in zip(numerators, denominators, strict=True)]
    mean = math.fsum(residuals) / k
    second = math.fsum((r - mean) ** 2 for r in residuals) / k
    third = math.fsum((r - mean) ** 3 for r in residuals) / k
    skewness = third / second**1.5 if second > 0 else 0.0
    half = (ratio.value - ratio.low) / ratio.value
    stretched = half * (1 + _STRETCH * abs(skewness) / math.sqrt(k))
    low, high = (ratio.value * math.exp(min(x, _LARGEST_EXPONENT)) for x in (-half, stretched))
    return Clustered(ratio.value, low, high, k)


def share_over_clusters(
    hits: Sequence[int], totals: Sequence[int], all_or_none: float = 0.0, level: float = DEFAULT_LEVEL
) -> Clustered | None:
    """Σhits/Σtotals with Wilson's interval at the effective number of items.

    Wilson's interval (1927) stays within 0 … 1 and has a width where all items agree. The
    effective number is p·(1 - p)/v, v being the variance over clusters, at least the number of
    clusters and at most that of items; t in place of the normal quantile (as Franco, Little, Louis
    and Slud 2019, "Comparative Study of Confidence Intervals for Proportions in Complex Sample
    Surveys", J. Survey Stat. Methodol. 7, find best). Where all items hit or none does, v says
    nothing, and each cluster counts as one item.

    ``all_or_none`` is how many clusters' worth of weight the assumption has that each cluster hits
    wholly or not at all. Few clusters cannot tell that themselves: by chance all may be of one
    kind. (Simulated with beta-binomial clusters of 64 items, 8 to 32 of them, shares of 0.6 to
    0.98. Weight 1 covers 93 to 100 % whatever the clusters are, all or none included. Weight 0
    covers 94 to 96 % where items are nearly independent (β + α = 50), with half the width or less,
    but down to 77 % where clusters hit wholly or not at all.)
    """
    filled = [(hit, total) for hit, total in zip(hits, totals, strict=True) if total > 0]
    k, items = len(filled), sum(total for _, total in filled)
    if not items:
        return None
    p = sum(hit for hit, _ in filled) / items
    if k < 2:
        return Clustered(p, None, None, k)
    seen = _variance([hit for hit, _ in filled], [total for _, total in filled])
    # Half a cluster that hits and half a one that does not keep this from being 0.
    whole = (math.fsum(hit / total for hit, total in filled) + 0.5) / (k + 1)
    assumed = whole * (1 - whole) / k
    variance = ((k - 1) * seen + all_or_none * assumed) / (k - 1 + all_or_none)
    n = float(k)
    if 0 < p < 1:
        n = min(float(items), max(n, p * (1 - p) / variance if variance > 0 else math.inf))
    t = t_quantile(0.5 + level / 2, k - 1)
    middle = (p + t * t / (2 * n)) / (1 + t * t / n)
    half = t / (1 + t * t / n) * math.sqrt(p * (1 - p) / n + t * t / (4 * n * n))
    # At the ends Wilson's bound is the share itself, but for rounding.
    return Clustered(p, min(p, max(0.0, middle - half)), max(p, min(1.0, middle + half)), k)


def log_ratio_over_clusters(
    changes: Sequence[float], sizes: Sequence[float], level: float = DEFAULT_LEVEL
) -> Clustered | None:
    """exp(Σchange/Σsize): a ratio of perplexities from differences of log-likelihoods in nats."""
    return _exponential(ratio_over_clusters(changes, sizes, level))


def paired_windows(
    own: Sequence[tuple[float, int]], other: Sequence[tuple[float, int]], level: float = DEFAULT_LEVEL
) -> Clustered | None:
    """Perplexity of a text over another model's, from windows that both have scored.

    Each window is its negative log-likelihood in nats and its tokens. Pairing removes how hard
    each window is. Windows of one topic may still lose alike, so the interval is that of a series
    (:func:`~joulebench.meter.uncertainty.ratio_interval`); fewer than eight have none. (Simulated
    with an AR(1) of r = 0.6, 8 to 19 windows: covered in 90 to 95 %, taken for independent in 65 to
    69 %.) ``None`` where the windows are not the same, or hold nothing.
    """
    if not own or [tokens for _, tokens in own] != [tokens for _, tokens in other]:
        return None
    changes = [ours - theirs for (ours, _), (theirs, _) in zip(own, other, strict=True)]
    if not all(map(math.isfinite, changes)):
        return None
    interval = ratio_interval(changes, [float(tokens) for _, tokens in own], level=level)
    if interval.mean is None:
        return None
    low, high = (interval.low, interval.high) if len(own) >= FEWEST else (None, None)
    return _exponential(Clustered(interval.mean, low, high, len(own)))


def _exponential(logarithm: Clustered | None) -> Clustered | None:
    if logarithm is None or logarithm.value > _LARGEST_EXPONENT:
        return None
    bounds = [
        None if bound is None or bound > _LARGEST_EXPONENT else math.exp(bound)
        for bound in (logarithm.low, logarithm.high)
    ]
    return Clustered(math.exp(logarithm.value), bounds[0], bounds[1], logarithm.clusters)


def _variance(numerators: Sequence[float], denominators: Sequence[float]) -> float:
    """Variance of the ratio of sums over two clusters or more."""
    k, total = len(numerators), math.fsum(denominators)
    ratio = math.fsum(numerators) / total
    squares = math.fsum((y - ratio * x) ** 2 for y, x in zip(numerators, denominators, strict=True))
    return squares / (k * (k - 1)) / (total / k) ** 2
