"""Student's t distribution with fractional degrees of freedom, in plain Python.

The distribution function goes through the regularised incomplete beta function, computed by
its continued fraction (Abramowitz and Stegun 26.5.8, evaluated by the modified Lentz method).
"""

from __future__ import annotations

import math
from functools import lru_cache
from statistics import NormalDist
from typing import Final

_TINY: Final = 1e-300
_TERMS: Final = 10_000
_PRECISION: Final = 1e-15
#: From here on lgamma(a + 1/2) - lgamma(a) loses digits to cancellation; its series does not.
_SERIES_FROM: Final = 60.0
#: Where Hill's approximation is one, and how often it is improved.
_HILL_FROM: Final = 1.0
_HILL_BELOW: Final = 0.45
_HILL_STEPS: Final = 8
#: From so many degrees of freedom on, where the fraction loses digits to cancellation, t is a normal
#: variate by Abramowitz and Stegun 26.7.8, whose error is of the order of 1/df².
_NORMAL_FROM: Final = 1e7


def _log_gamma_half_step(a: float) -> float:
    """ln Γ(a + 1/2) - ln Γ(a), by its asymptotic series where that is the exact way."""
    if a < _SERIES_FROM:
        return math.lgamma(a + 0.5) - math.lgamma(a)
    # Difference of two Stirling series; the next term is below 1e-18 at a = 60.
    return 0.5 * math.log(a) - 1 / (8 * a) + 1 / (192 * a**3) - 1 / (640 * a**5)


def _log_beta(a: float, b: float) -> float:
    if b == 0.5:
        return math.lgamma(0.5) - _log_gamma_half_step(a)
    if a == 0.5:
        return math.lgamma(0.5) - _log_gamma_half_step(b)
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def _continued_fraction(a: float, b: float, x: float) -> float:
    # Written out: thousands of quantiles of a report come through here.
    c = 1.0
    d = 1.0 / (1.0 - (a + b) * x / (a + 1) or _TINY)
    total = d
    for m in range(1, _TERMS):
        place = a + 2 * m
        term = m * (b - m) * x / ((place - 1) * place)
        d = 1.0 / (1.0 + term * d or _TINY)
        c = 1.0 + term / c or _TINY
        total *= c * d
        term = -(a + m) * (a + b + m) * x / (place * (place + 1))
        d = 1.0 / (1.0 + term * d or _TINY)
        c = 1.0 + term / c or _TINY
        change = c * d
        total *= change
        if -_PRECISION < change - 1.0 < _PRECISION:
            break
    return total


def incomplete_beta(a: float, b: float, x: float, complement: float | None = None) -> float:
    """The regularised incomplete beta function I_x(a, b) for a, b > 0 and 0 <= x <= 1.

    ``complement`` is 1 - x where the caller knows it without cancellation.
    """
    y = 1.0 - x if complement is None else complement
    if x <= 0.0:
        return 0.0
    if y <= 0.0:
        return 1.0
    log_x = math.log1p(-y) if y < 0.5 else math.log(x)
    log_y = math.log1p(-x) if x < 0.5 else math.log(y)
    front = math.exp(a * log_x + b * log_y - _log_beta(a, b))
    if x < (a + 1) / (a + b + 2):
        return front * _continued_fraction(a, b, x) / a
    return 1.0 - front * _continued_fraction(b, a, y) / b


def t_tail(t: float, df: float) -> float:
    """P(T > t) for t >= 0 and ``df`` > 0 degrees of freedom."""
    square = t * t
    if df >= _NORMAL_FROM:
        return 0.5 * math.erfc(t * (1 - 0.25 / df) / math.sqrt(2 + square / df))
    return 0.5 * incomplete_beta(df / 2, 0.5, df / (df + square), square / (df + square))


def two_sided_p(t: float, df: float) -> float:
    """P(|T| > |t|): the p-value of a t statistic."""
    return 2.0 * t_tail(abs(t), df)


def _density(t: float, df: float) -> float:
    if df >= _NORMAL_FROM:
        return math.exp(-t * t / 2) / math.sqrt(2 * math.pi)
    log_front = _log_gamma_half_step(df / 2) - 0.5 * math.log(df * math.pi)
    return math.exp(log_front - (df + 1) / 2 * math.log1p(t * t / df))


@lru_cache(maxsize=1 << 16)
def t_quantile(probability: float, df: float) -> float:
    """The t with P(T <= t) = ``probability``, for 0 < probability < 1 and df > 0 (not nec. whole).

    Steps to the second order from Hill's approximation, else Newton's inside a bracket; agrees with
    scipy to better than 1e-8.
    """
    if not (0.0 < probability < 1.0 and df > 0.0):
        raise ValueError("t_quantile needs 0 < probability < 1 and df > 0")
    if probability < 0.5:
        return -t_quantile(1.0 - probability, df)
    tail = 1.0 - probability
    if df >= _HILL_FROM and tail < _HILL_BELOW:
        t = _hill(tail, df)
        for _ in range(_HILL_STEPS):
            step = (t_tail(t, df) - tail) / _density(t, df)
            t += step * (1 + step * t * (df + 1) / (2 * (t * t + df)))
            if abs(step) <= 1e-5 * t:  # the next step would be below 1e-14
                return t
    return _bracketed(tail, df)


def _bracketed(tail: float, df: float) -> float:
    low, high = 0.0, 2.0
    while t_tail(high, df) > tail:
        low, high = high, 2.0 * high
    t = 0.5 * (low + high)
    for _ in range(200):
        excess = t_tail(t, df) - tail
        low, high = (t, high) if excess > 0 else (low, t)
        step = t + excess / _density(t, df)
        following = step if low < step < high else 0.5 * (low + high)
        if abs(following - t) <= 1e-13 * max(1.0, t):
            return following
        t = following
    return t


def _hill(tail: float, df: float) -> float:
    """An approximation to some six digits (G. W. Hill, CACM Algorithm 396, 1970), for df >= 1."""
    p = 2.0 * tail
    a = 1.0 / (df - 0.5)
    b = 48.0 / (a * a)
    c = ((20700.0 * a / b - 98.0) * a - 16.0) * a + 96.36
    d = ((94.5 / (b + c) - 3.0) / b + 1.0) * math.sqrt(a * math.pi / 2) * df
    y = (d * p) ** (2.0 / df)
    if y > 0.05 + a:
        x = _normal_quantile(tail)
        y = x * x
        if df < 5.0:
            c += 0.3 * (df - 4.5) * (x + 0.6)
        c += (((0.05 * d * x - 5.0) * x - 7.0) * x - 2.0) * x + b
        y = (((((0.4 * y + 6.3) * y + 36.0) * y + 94.5) / c - y - 3.0) / b + 1.0) * x
        y = math.expm1(a * y * y)
    else:
        last = (df + 6.0) / (df * y) - 0.089 * d - 0.822
        y = ((1.0 / (last * (df + 2.0) * 3.0) + 0.5 / (df + 4.0)) * y - 1.0) * (df + 1.0) / (df + 2.0) + 1.0 / y
    return math.sqrt(df * y)


@lru_cache(maxsize=64)
def _normal_quantile(tail: float) -> float:
    """Below zero, as Hill's formula has it."""
    return NormalDist().inv_cdf(tail)
