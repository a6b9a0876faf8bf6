"""How sure a mean of blocks is: correlation, processes, ratios, and when to stop.

Blocks in a row are rarely independent, so the variance of a mean carries a factor f. A machine
that wanders is a first-order autoregressive series (autocorrelations s·φ, s·φ², …), and the
scatter of unequal blocks lies over it as white noise (s < 1). So f = 1 + 2·(r₁ + r₁·φ + r₁·φ² + …)
= 1 + 2·r₁/(1 - φ), with φ = r₂/r₁, as in every ARMA(1,1) (Box and Jenkins 1970, chapter 3.4).
Without white noise φ = r₁ and f = (1 + r₁)/(1 - r₁). The comparison of two cells stands in
:mod:`joulebench.meter.comparison`.

All functions are pure. A figure that cannot be given is ``None``, with a flag that says why.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Final, NamedTuple

from joulebench.meter.student import t_quantile

#: Blocks at which the half-width may be looked at. Looking oftener eats coverage.
LOOKS: Final = (20, 40, 80, 160, 320)
#: Clip of the autocorrelation: beyond it the variance factor means nothing (f = 99).
HIGHEST_AUTOCORRELATION: Final = 0.98
#: Highest φ that the second lag alone may claim: beyond it some tens of blocks cannot tell φ from
#: 1, and intervals would be wide without being more honest (simulated with 0.80 … 0.98).
HIGHEST_DECAY: Final = 0.85
#: Above this autocorrelation a cell is flagged; the cure is longer blocks.
AUTOCORRELATED_ABOVE: Final = 0.5
#: From this many processes on, their means are the units.
PROCESSES_AS_UNITS: Final = 3
DEFAULT_LEVEL: Final = 0.95
#: Degrees of freedom of a strongly correlated series are no fewer than one for so many blocks, up
#: to the least of many: with n_eff - 1 near 1, Student's t is 12.7 (at 99.4 % over 100) and
#: intervals are ten times wider without being more honest (``python -m bench coverage``). On 24
#: blocks of an AR(1) of r = 0.8, nominal 95 and 99.4 % cover 94.1 and 97.8, without this 94.2 and
#: 97.8, at a median half-width of 2.3 and 5.0 standard deviations instead of 8.8 and 70.
_LEAST_DF: Final = 3.0
_BLOCKS_PER_DF: Final = 8
#: So much must remain of a strongly correlated series for Student's t to exist.
_FEWEST_EFFECTIVE: Final = 2.0
#: So many batches of blocks in a row show what changes more slowly than two lags tell, from as
#: many blocks on. On an AR(1) of r = 0.9 under equal white noise they bring the coverage of 20, 40
#: and 80 blocks from 75, 78 and 82 to 79, 84 and 88 %, at 12 % more width on independent blocks.
_BATCHES: Final = 4
_BATCHED_FROM: Final = LOOKS[0]
#: Above this autocorrelation, or where batches scatter by so much more than it implies, a series
#: is flagged: if what changes is 1/f noise or states that last, no interval of it holds 95 %.
_SLOW_ABOVE: Final = 0.3
_SLOW_EXCESS: Final = 1.4
#: Share of a ratio's uncertainty from which on its bias is told.
_NOTED_BIAS: Final = 0.1
#: exp() of more than this overflows a double.
_LARGEST_EXPONENT: Final = 700.0


class Interval(NamedTuple):
    """A mean with its interval at ``level``, in the unit of the values.

    ``u`` is the standard uncertainty of the mean, ``n_eff`` the number of independent blocks
    that carry as much, ``df`` the degrees of freedom of ``u``. The bounds are ``None`` where
    there are fewer than two values; ``flags`` says so.
    """

    mean: float | None
    low: float | None
    high: float | None
    half_width: float | None
    u: float | None
    n: int
    n_eff: float | None
    df: float | None
    autocorrelation: float | None
    level: float
    flags: tuple[str, ...] = ()

    @property
    def relative_half_width(self) -> float | None:
        """Half-width over the magnitude of the mean; ``None`` without either."""
        if self.half_width is None or not self.mean:
            return None
        return self.half_width / abs(self.mean)


class Spread(NamedTuple):
    """Standard uncertainty of a mean of correlated values, and what it rests on.

    ``slow``: the values change so slowly that their interval may hold less often than it says.
    """

    mean: float
    u: float
    df: float
    n: int
    n_eff: float
    autocorrelation: float
    slow: bool = False


def without_interval(values: Sequence[float], level: float) -> Interval:
    """The interval of no value or of a single one: no bounds."""
    mean = values[0] if values else None
    flag = "single_block" if values else "no_blocks"
    return Interval(mean, None, None, None, None, len(values), None, None, None, level, (flag,))


def interval_around(
    mean: float,
    u: float,
    df: float,
    *,
    n: int,
    level: float = DEFAULT_LEVEL,
    n_eff: float | None = None,
    autocorrelation: float | None = None,
    flags: tuple[str, ...] = (),
) -> Interval:
    """The Student interval of ``mean`` whose standard uncertainty ``u`` has ``df`` degrees."""
    half = t_quantile(0.5 + level / 2, df) * u
    return Interval(mean, mean - half, mean + half, half, u, n, n_eff, df, autocorrelation, level, flags)


# ---------------------------------------------------------------------------------------------
# Autocorrelation


class Correlation(NamedTuple):
    """How blocks hang together: r₁, and the share φ of it that each further lag keeps."""

    lag1: float = 0.0
    decay: float = 0.0

    def variance_factor(self, n: int) -> float:
        """f = 1 + 2·r₁/(1 - φ), at most n/2 so that two effective blocks remain."""
        return max(1.0, min(1 + 2 * self.lag1 / (1 - self.decay), n / _FEWEST_EFFECTIVE))


def _lag_sums(values: Sequence[float], mean: float) -> tuple[float, float, float]:
    """Sums of squared deviations, and of products of deviations one and two blocks apart."""
    squares = first = second = 0.0
    before = earlier = 0.0
    for value in values:
        deviation = value - mean
        squares += deviation * deviation
        first += before * deviation
        second += earlier * deviation
        earlier, before = before, deviation
    return squares, first, second


def corrected_autocorrelation(raw: float, n: float) -> float:
    """Lag-1 autocorrelation with its small-sample bias -(1 + 4r)/n removed, clipped.

    (Marriott and Pope 1954, Kendall 1954: E[r̂] = r - (1 + 4r)/n for an AR(1) with fitted mean.)
    Negative values are clipped to 0: they would promise more than independent blocks do.
    """
    if n <= 4:
        return 0.0
    return min(max((n * raw + 1) / (n - 4), 0.0), HIGHEST_AUTOCORRELATION)


def pooled_correlation(groups: Sequence[Sequence[float]]) -> Correlation:
    """Correlation within series that share it (processes), pooled: one alone has too few blocks.

    r₂'s bias is that of the fitted mean, -f/n, with f from r₁ alone. φ is never below r₁ (white
    noise can only hide correlation), so f is never below that of an AR(1). On independent blocks
    this costs 3 to 6 % of the mean width; on an AR(1) of r = 0.6 under equal white noise it
    brings the coverage from 90.4 to 93.2 (n = 40) and 94.7 (n = 200).

    The raw values are means of products over a mean of squares: with bare ratios of sums the
    interval of 20 blocks covers up to a percent less. Four values or fewer tell nothing.
    """
    squares = first = second = 0.0
    count, k = 0, len(groups)
    for group in groups:
        sums = _lag_sums(group, math.fsum(group) / len(group))
        squares, first, second = squares + sums[0], first + sums[1], second + sums[2]
        count += len(group)
    if squares <= 0 or count <= 4 * k:
        return Correlation()
    n = count / k
    variance = squares / count
    lag1 = corrected_autocorrelation(first / (count - k) / variance, n)
    if lag1 <= 0:
        return Correlation()
    plain = min((1 + lag1) / (1 - lag1), n / _FEWEST_EFFECTIVE)
    lag2 = second / (count - 2 * k) / variance + plain / n
    return Correlation(lag1, min(max(lag2 / lag1, lag1), max(HIGHEST_DECAY, lag1)))


def autocorrelation(values: Sequence[float]) -> float:
    """Bias-corrected lag-1 autocorrelation in [0, 0.98]; 0 for four values or fewer."""
    return pooled_correlation([values]).lag1 if values else 0.0


def spread_of(values: Sequence[float], correlation: Correlation | None = None) -> Spread:
    """Spread of the mean of two or more values in the order in which they were measured.

    ``correlation`` is given where it is known from elsewhere (pooled over processes). From 20
    values on, the scatter of the means of four batches counts where it is larger, with at most
    three degrees of freedom.
    """
    n = len(values)
    mean = math.fsum(values) / n
    squares = math.fsum([(value - mean) ** 2 for value in values])
    estimate = pooled_correlation([values]) if correlation is None else correlation
    f = estimate.variance_factor(n)
    # s² of correlated values is too small by (n - f)/(n - 1) on average.
    variance = squares / (n - 1) * (n - 1) / (n - f)
    n_eff = n / f
    df = max(n_eff - 1, min(_LEAST_DF, n / _BLOCKS_PER_DF))
    u = math.sqrt(variance / n_eff)
    batched = _of_batches(values) if n >= _BATCHED_FROM else 0.0
    slow = n >= _BATCHED_FROM and (estimate.lag1 > _SLOW_ABOVE or batched > _SLOW_EXCESS * u)
    if batched > u:
        u, df = batched, min(df, _BATCHES - 1.0)
    return Spread(mean, u, df, n, n_eff, estimate.lag1, slow)


def _of_batches(values: Sequence[float]) -> float:
    """Standard uncertainty of the mean of four batches of values in a row."""
    edges = [len(values) * place // _BATCHES for place in range(_BATCHES + 1)]
    means = [math.fsum(values[a:b]) / (b - a) for a, b in pairwise(edges)]
    mean = math.fsum(means) / _BATCHES
    return math.sqrt(math.fsum([(m - mean) ** 2 for m in means]) / (_BATCHES - 1) / _BATCHES)


def mean_interval(values: Sequence[float], level: float = DEFAULT_LEVEL) -> Interval:
    """Interval of the mean of blocks of one process, in the order in which they were measured."""
    if len(values) < 2:
        return without_interval(values, level)
    return _of_spread(spread_of(values), level)


def _of_spread(spread: Spread, level: float) -> Interval:
    flags = ("autocorrelated",) if spread.autocorrelation > AUTOCORRELATED_ABOVE else ()
    flags = (*flags, "slow_changes") if spread.slow else flags
    return interval_around(
        spread.mean,
        spread.u,
        spread.df,
        n=spread.n,
        level=level,
        n_eff=spread.n_eff,
        autocorrelation=spread.autocorrelation,
        flags=flags,
    )


# ---------------------------------------------------------------------------------------------
# Between processes


def process_interval(groups: Sequence[Sequence[float]], level: float = DEFAULT_LEVEL) -> Interval:
    """Interval of the mean over processes; each group holds one process's blocks in order.

    With three or more processes (of two or more blocks) these are the units, by one-way random effects.
    Every block counts alike, so a process of n_i of all N blocks has the weight n_i/N and
    u² = σ_b²·Σ(n_i/N)² + v/N, with v the variance of a block within processes (correlation included). By
    Q = Σ n_i·(m_i - m)²/v, whose expectation is k - 1 where processes do not differ, σ_b² is
    (Q - (k - 1))·v/(N - Σn_i²/N) (DerSimonian and Laird 1986; of equal processes that is S² - v/n, with the
    variance S² of their means, and u² = S²/k). Its degrees of freedom are (tr A)²/tr A² of Q's matrix A, which is
    k - 1 of equal processes. Where Q is below k - 1, it and v tell of the same variance and the middle of both is
    taken, with Satterthwaite's degrees from k - 1 and those within.
    (Simulated for k = 3 … 5 and any σ_b: 93.2 … 96.4 %. With v itself it is up to 98.4 %; Q alone is exact,
    but processes that agree by chance would then end a cell too soon; Satterthwaite's rule on σ_b² itself
    covers only 89 % with three processes.)
    With fewer processes the blocks are the units and the flag ``few_processes`` says so.
    """
    filled = [group for group in groups if group]
    if len(filled) <= 1:
        only = mean_interval(filled[0] if filled else (), level)
        return only._replace(flags=(*only.flags, "single_process")) if filled else only
    if len(filled) < PROCESSES_AS_UNITS or any(len(group) < 2 for group in filled):
        return _blocks_as_units(filled, level)
    correlation = pooled_correlation(filled)
    spreads = [spread_of(group, correlation) for group in filled]
    between = _between(spreads)
    return interval_around(
        between.mean,
        math.sqrt(between.variance),
        between.df,
        n=sum([s.n for s in spreads]),
        level=level,
        n_eff=math.fsum([s.n_eff for s in spreads]),
        autocorrelation=correlation.lag1,
        flags=("autocorrelated",) if correlation.lag1 > AUTOCORRELATED_ABOVE else (),
    )


class _Between(NamedTuple):
    """Mean over processes by their blocks, the variance of that, and its degrees of freedom."""

    mean: float
    variance: float
    df: float


def _between(spreads: Sequence[Spread]) -> _Between:
    k, total = len(spreads), sum(s.n for s in spreads)
    mean = math.fsum([s.n * s.mean for s in spreads]) / total
    squares = math.fsum([s.n * (s.mean - mean) ** 2 for s in spreads])
    block = math.fsum([(s.n * s.u) ** 2 for s in spreads]) / total
    shares = math.fsum([(s.n / total) ** 2 for s in spreads])
    # tr A and tr A² of A = diag(n) - n·nᵀ/N.
    trace = total * (1 - shares)
    cubes = sum([s.n**3 for s in spreads]) / total
    trace_of_square = total * total * shares * (1 + shares) - 2 * cubes
    if squares >= (k - 1) * block:
        spread = (squares - (k - 1) * block) / trace
        return _Between(mean, spread * shares + block / total, trace**2 / trace_of_square)
    share = squares / ((k - 1) * block)
    df_within = math.fsum([s.df for s in spreads])
    df = 1 / (share**2 / (k - 1) + (1 - share) ** 2 / df_within)
    return _Between(mean, block / total * (1 + share) / 2, df)


def _blocks_as_units(groups: Sequence[Sequence[float]], level: float) -> Interval:
    joined = [value for group in groups for value in group]
    if len(joined) < 2:
        return without_interval(joined, level)
    # The series is broken between processes, but a level shift between them is correlation too.
    result = _of_spread(spread_of(joined), level)
    return result._replace(flags=(*result.flags, "few_processes"))


def by_process(values: Sequence[float], processes: Sequence[int] | None) -> list[list[float]]:
    """Values split by their process, each in its order; one group where none is given."""
    if processes is None:
        return [list(values)]
    groups: dict[int, list[float]] = {}
    for value, process in zip(values, processes, strict=True):
        groups.setdefault(process, []).append(value)
    return list(groups.values())


# ---------------------------------------------------------------------------------------------
# Ratios and quantiles


def ratio_interval(
    numerators: Sequence[float],
    denominators: Sequence[float],
    processes: Sequence[int] | None = None,
    level: float = DEFAULT_LEVEL,
) -> Interval:
    """Interval of the ratio of sums (joules per token), by the delta method.

    The blocks' residuals y - R·x carry the uncertainty, over the mean of x, so correlation and
    processes are treated as in a mean. The ratio itself is Σy/Σx whatever the processes are. Of
    blocks of unequal work it is biased by R·(c_xx - c_xy)/n, with the squared coefficient of
    variation of x and that of x with y (Cochran 1977, section 6.8); that much is added to its
    uncertainty, with the flag ``unequal_work`` where it is a tenth of it or more.
    """
    n = len(numerators)
    total = math.fsum(denominators)
    if n == 0 or total == 0:
        return without_interval((), level)
    ratio = math.fsum(numerators) / total
    if n == 1:
        return without_interval((ratio,), level)
    scale = total / n
    residuals = [(y - ratio * x) / scale for y, x in zip(numerators, denominators, strict=True)]
    spread = (
        mean_interval(residuals, level)
        if processes is None
        else process_interval(by_process(residuals, processes), level)
    )
    if spread.half_width is None or spread.u is None:
        return spread._replace(mean=ratio)
    centred = spread._replace(mean=ratio, low=ratio - spread.half_width, high=ratio + spread.half_width)
    bias = _bias_of_ratio(residuals, denominators)
    return widened(centred, bias, flag="unequal_work" if bias > _NOTED_BIAS * spread.u else "")


def _bias_of_ratio(residuals: Sequence[float], denominators: Sequence[float]) -> float:
    """|R·(c_xx - c_xy)|/n, from residuals (y - R·x)/x̄: their covariance with x over x̄·n."""
    n = len(residuals)
    mean = math.fsum(denominators) / n
    covariance = math.fsum([r * (x - mean) for r, x in zip(residuals, denominators, strict=True)]) / (n - 1)
    return abs(covariance / mean) / n


def cell_interval(
    values: Sequence[float],
    work: Sequence[float],
    processes: Sequence[int],
    common_u: float = 0.0,
    scale_relative_u: float | None = None,
    level: float = DEFAULT_LEVEL,
) -> Interval:
    """Interval of Σ values / Σ work of a cell, as reports state it.

    ``common_u`` is the standard uncertainty that all blocks share, summed over them (of idle energy
    taken off), ``scale_relative_u`` that of the sensor's scale: no repetition makes either smaller. Of
    values that are never negative the bounds are on the log scale.
    """
    interval = widened(ratio_interval(values, work, processes, level), common_u / math.fsum(work))
    if scale_relative_u is not None:
        interval = with_systematic(interval, scale_relative_u)
    return positive(interval) if all(value >= 0 for value in values) else interval


def quantile(values: Sequence[float], probability: float) -> float | None:
    """Quantile by linear interpolation between order statistics (Hyndman and Fan's type 7)."""
    if not values:
        return None
    ordered = sorted(values)
    place = probability * (len(ordered) - 1)
    index = min(int(place), len(ordered) - 2) if len(ordered) > 1 else 0
    if len(ordered) == 1:
        return ordered[0]
    return ordered[index] + (place - index) * (ordered[index + 1] - ordered[index])


# ---------------------------------------------------------------------------------------------
# Further sources of uncertainty


def positive(interval: Interval) -> Interval:
    """The interval of a quantity that cannot be negative: the same on the scale of its logarithm.

    By the delta method the logarithm's uncertainty is u/mean, so the ends are mean·exp(±h/mean).
    """
    if interval.mean is None or interval.half_width is None or interval.mean <= 0:
        return interval
    factor = math.exp(min(interval.half_width / interval.mean, _LARGEST_EXPONENT))
    return interval._replace(low=interval.mean / factor, high=interval.mean * factor)


def widened(interval: Interval, u: float, df: float = math.inf, flag: str = "") -> Interval:
    """The interval with an independent standard uncertainty ``u`` of ``df`` degrees added.

    Degrees of freedom are Satterthwaite's (GUM G.4.1). It never becomes narrower.
    """
    if interval.u is None or interval.mean is None or interval.df is None or u == 0:
        return interval
    own, other = interval.u**2, u**2
    parts = own**2 / interval.df + (0.0 if math.isinf(df) else other**2 / df)
    combined = (own + other) ** 2 / parts if parts > 0 else 1e15
    wider = interval_around(interval.mean, math.sqrt(own + other), combined, n=interval.n, level=interval.level)
    half = max(wider.half_width or 0.0, interval.half_width or 0.0)
    return interval._replace(
        low=interval.mean - half,
        high=interval.mean + half,
        half_width=half,
        u=wider.u,
        df=combined,
        flags=(*interval.flags, flag) if flag else interval.flags,
    )


def with_systematic(interval: Interval, relative_u: float) -> Interval:
    """The interval with the scale's relative uncertainty, which no repetition makes smaller."""
    if interval.mean is None:
        return interval
    return widened(interval, relative_u * abs(interval.mean), flag="systematic")
