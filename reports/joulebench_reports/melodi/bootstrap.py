"""Statistics over prompts with intervals by resampling the prompts (Efron and Tibshirani 1993).

A prompt that was answered several times is one prompt: its answers are drawn together. Correlation,
lines and ratios are functions of weighted sums, so one matrix product gives all resamples at once.
Arrays are numpy's: ``y`` and its like have shape (n,), one value a row. All intervals are at 95 %.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

#: numpy's arrays; the library is imported when it is needed.
Array = Any

RESAMPLES: Final = 10_000
#: Cells of one matrix of weights: bounds the memory (16 MB), not the result.
_CHUNK: Final = 2_000_000
#: Weights of so many cells are kept (two bytes each) for the next statistic; of very many prompts
#: there are fewer resamples, so that they fit, but never fewer than the second number.
_KEPT: Final = 100_000_000
_FEWEST_RESAMPLES: Final = 1_000
#: Fewer prompts say nothing of the scatter between prompts, so there are no intervals.
FEWEST_PROMPTS: Final = 5
#: 0.975 quantile of the normal distribution.
_Z: Final = 1.959963984540054
_TAILS: Final = (2.5, 97.5)


@dataclass(frozen=True, slots=True)
class Resampled:
    """A figure with its 95 % interval; bounds are ``None`` where the data do not allow one."""

    value: float
    low: float | None
    high: float | None


class Resampler:
    """Draws prompts with replacement, always the same draws for the same seed and prompts.

    ``clusters`` numbers each row's prompt, from 0. ``resamples`` is how often it draws.
    """

    def __init__(self, clusters: Sequence[int], seed: int, resamples: int = RESAMPLES) -> None:
        import numpy as np

        self._clusters = np.asarray(clusters, dtype=np.intp)
        self.prompts = int(self._clusters.max()) + 1 if len(clusters) else 0
        self._seed = seed
        fitting = max(_FEWEST_RESAMPLES, _KEPT // max(1, self.prompts))
        self.resamples = min(resamples, fitting)
        self._kept: list[Array] | None = None

    def sums(self, columns: Array) -> Array:
        """Σ weight · column of each resample: shape (resamples, columns) from (n, columns)."""
        import numpy as np

        if self.prompts < FEWEST_PROMPTS:
            return np.full((0, columns.shape[1]), np.nan)
        # Sums by prompt first: rows of one prompt always have the same weight.
        by_prompt = np.zeros((self.prompts, columns.shape[1]))
        np.add.at(by_prompt, self._clusters, columns)
        return np.concatenate([weights.astype(float) @ by_prompt for weights in self._weights()])

    def _weights(self) -> Iterator[Array]:
        """Matrices of how often each prompt was drawn, some resamples at a time."""
        if self._kept is not None:
            yield from self._kept
        elif self.prompts * self.resamples <= _KEPT:
            self._kept = list(self._drawn())
            yield from self._kept
        else:
            yield from self._drawn()

    def _drawn(self) -> Iterator[Array]:
        import numpy as np

        source = np.random.default_rng(self._seed)
        at_once = max(1, _CHUNK // self.prompts)
        for done in range(0, self.resamples, at_once):
            count = min(at_once, self.resamples - done)
            drawn = source.integers(0, self.prompts, size=(count, self.prompts))
            places = drawn + np.arange(count)[:, None] * self.prompts
            counts = np.bincount(places.ravel(), minlength=count * self.prompts)
            yield counts.reshape(count, self.prompts).astype(np.uint16)

    def median(self, values: Array) -> Resampled:
        """The median with the interval of the resampled medians."""
        import numpy as np

        order = np.argsort(values, kind="stable")
        ordered, prompt_of = values[order], self._clusters[order]
        medians: list[Array] = []
        for weights in self._weights() if self.prompts >= FEWEST_PROMPTS else ():
            passed = np.cumsum(weights[:, prompt_of], axis=1)
            place = (passed < passed[:, -1:] / 2).sum(axis=1)
            medians.append(ordered[place])
        drawn = np.concatenate(medians) if medians else np.zeros(0)
        return interval(float(np.median(values)), drawn)


def interval(value: float, drawn: Array) -> Resampled:
    """``value`` with the percentile interval of what the resamples gave."""
    import numpy as np

    kept = drawn[np.isfinite(drawn)]
    # Where many resamples have no figure (all drawn answers equally long), neither have we bounds.
    if len(kept) < max(2, 0.99 * len(drawn)):
        return Resampled(value, None, None)
    low, high = np.percentile(kept, _TAILS)
    return Resampled(value, float(low), float(high))


def ratio_of_sums(y: Array, x: Array, resampler: Resampler) -> Resampled:
    """Σy / Σx."""
    import numpy as np

    sums = resampler.sums(np.column_stack([y, x]))
    return interval(float(y.sum() / x.sum()), sums[:, 0] / sums[:, 1])


def mean(values: Array, resampler: Resampler) -> Resampled:
    """The plain mean."""
    import numpy as np

    sums = resampler.sums(np.column_stack([values, np.ones(len(values))]))
    return interval(float(values.mean()), sums[:, 0] / sums[:, 1])


def _standard(values: Array) -> Array:
    """The values with mean 0 and variance 1: sums of their squares then keep their digits."""
    return (values - values.mean()) / values.std()


def varies(values: Array) -> bool:
    """Whether there is any scatter that floating point can tell from none."""
    import numpy as np

    return bool(len(values) > 2 and np.ptp(values) > 1e-12 * max(1e-300, np.abs(values).max()))


@dataclass(frozen=True, slots=True)
class Correlated:
    """Pearson's r of a quantity with the energy.

    ``beyond`` is the partial correlation given the answer's length: what the quantity still tells
    of the energy among answers of equal length; ``None`` where it is the length, or collinear.
    """

    r: Resampled
    beyond: Resampled | None


def correlation(x: Array, y: Array, resampler: Resampler, control: Array | None = None) -> Correlated | None:
    """Pearson's r of ``x`` and ``y``, and the partial one given ``given``; ``None`` if constant.

    The interval is the wider one of the bootstrap's and Fisher's z (Fisher 1921; for a partial
    correlation with one degree of freedom less): the first knows what the scatter looks like, the
    second does not get too narrow with few prompts.
    """
    import numpy as np

    if not (varies(x) and varies(y)):
        return None
    a, b = _standard(x), _standard(y)
    columns = [np.ones(len(a)), a, b, a * a, b * b, a * b]
    partial = control is not None and varies(control)
    if partial:
        c = _standard(control)
        columns += [c, c * c, a * c, b * c]
    whole = np.column_stack(columns)
    drawn = resampler.sums(whole)
    of_all = whole.sum(axis=0, keepdims=True)
    n = resampler.prompts
    r = _estimate_r(_pearson, of_all, drawn, n)
    # Nothing is left to explain where the length follows from x, or the energy from the length.
    if not partial or max(_of_length(of_all)) > 1 - 1e-9:
        return Correlated(r, None)
    return Correlated(r, _estimate_r(_partial, of_all, drawn, n - 1))


def _estimate_r(statistic: Callable[[Array], Array], of_all: Array, drawn: Array, n: int) -> Resampled:
    import numpy as np

    with np.errstate(divide="ignore", invalid="ignore"):
        value = float(np.clip(statistic(of_all)[0], -1, 1))
        estimate = interval(value, statistic(drawn))
    fisher = fisher_interval(value, n)
    if estimate.low is None or estimate.high is None or fisher is None:
        return Resampled(value, None, None)
    return Resampled(value, min(estimate.low, fisher[0]), max(estimate.high, fisher[1]))


def fisher_interval(r: float, n: int, z: float = _Z) -> tuple[float, float] | None:
    """Fisher's interval of a correlation over ``n`` prompts; ``None`` where they are too few."""
    if n < FEWEST_PROMPTS:
        return None
    if abs(r) >= 1:
        return r, r
    middle, half = math.atanh(r), z / math.sqrt(n - 3)
    return math.tanh(middle - half), math.tanh(middle + half)


def _cov(s: Array, i: int, j: int, product: int) -> Array:
    return s[:, product] / s[:, 0] - s[:, i] * s[:, j] / s[:, 0] ** 2


def _pearson(s: Array) -> Array:
    return _cov(s, 1, 2, 5) / (_cov(s, 1, 1, 3) * _cov(s, 2, 2, 4)) ** 0.5


def _of_length(s: Array) -> tuple[float, float]:
    """|r| of the length with x and with y."""
    x, y, z = _cov(s, 1, 1, 3), _cov(s, 2, 2, 4), _cov(s, 6, 6, 7)
    r_x, r_y = _cov(s, 1, 6, 8) / (x * z) ** 0.5, _cov(s, 2, 6, 9) / (y * z) ** 0.5
    return abs(float(r_x[0])), abs(float(r_y[0]))


def _partial(s: Array) -> Array:
    """r(x, y | z) = (r_xy - r_xz r_yz) / sqrt((1 - r_xz²)(1 - r_yz²))."""
    x, y, z = _cov(s, 1, 1, 3), _cov(s, 2, 2, 4), _cov(s, 6, 6, 7)
    xy, xz, yz = (
        _cov(s, 1, 2, 5) / (x * y) ** 0.5,
        _cov(s, 1, 6, 8) / (x * z) ** 0.5,
        _cov(s, 2, 6, 9) / (y * z) ** 0.5,
    )
    return (xy - xz * yz) / ((1 - xz**2) * (1 - yz**2)) ** 0.5


@dataclass(frozen=True, slots=True)
class LinearModel:
    """y = coefficients · columns by least squares; the residuals in the order of the rows."""

    coefficients: tuple[Resampled, ...]
    r_squared: Resampled
    residual_sd: float
    residuals: Array


def linear_model(y: Array, columns: Sequence[Array], resampler: Resampler) -> LinearModel | None:
    """Least squares with a constant term first; ``None`` where the columns are collinear.

    Intervals come from resampled prompts, so scatter that grows with the answer is no matter.
    """
    import numpy as np

    n, k = len(y), len(columns) + 1
    if n <= k or not varies(y) or not all(varies(column) for column in columns):
        return None
    centre = [float(column.mean()) for column in columns]
    scale = [float(column.std()) for column in columns]
    z = np.column_stack([np.ones(n), *((c - m) / s for c, m, s in zip(columns, centre, scale, strict=True))])
    if np.linalg.matrix_rank(z, tol=1e-9 * math.sqrt(n)) < k:
        return None
    t = _standard(y)
    pairs = [z[:, i] * z[:, j] for i in range(k) for j in range(k)]
    whole = np.column_stack([*pairs, *(z[:, i] * t for i in range(k)), t * t])
    drawn = _solve(resampler.sums(whole), k)
    own = _solve(whole.sum(axis=0, keepdims=True), k)
    spread, level = float(y.std()), float(y.mean())

    def in_units(beta: Array) -> list[Array]:
        slopes = [beta[:, i + 1] * spread / scale[i] for i in range(k - 1)]
        shift = sum((s * m for s, m in zip(slopes, centre, strict=True)), np.zeros(len(beta)))
        return [level + spread * beta[:, 0] - shift, *slopes]

    fitted = in_units(own[0])
    resampled = in_units(drawn[0])
    values = [float(model[0]) for model in fitted]
    terms = zip(values[1:], columns, strict=True)
    residuals = y - values[0] - sum(slope * column for slope, column in terms)
    return LinearModel(
        tuple(interval(v, d) for v, d in zip(values, resampled, strict=True)),
        interval(float(own[1][0]), drawn[1]),
        float(np.sqrt((residuals**2).sum() / (n - k))),
        residuals,
    )


def _solve(sums: Array, k: int) -> tuple[Array, Array]:
    """Coefficients and R² of each row of sums: k·k products, k with the target, target squared."""
    import numpy as np

    rows = len(sums)
    normal = sums[:, : k * k].reshape(rows, k, k)
    target = sums[:, k * k : k * k + k]
    # A resample whose prompts are all alike has no line; it must not spoil the others.
    good = np.abs(np.linalg.det(normal / sums[:, :1, None])) > 1e-9
    beta = np.full((rows, k), np.nan)
    if good.any():
        beta[good] = np.linalg.solve(normal[good], target[good][:, :, None])[:, :, 0]
    explained = (beta * target).sum(axis=1) - target[:, 0] ** 2 / sums[:, 0]
    total = sums[:, -1] - target[:, 0] ** 2 / sums[:, 0]
    with np.errstate(divide="ignore", invalid="ignore"):
        return beta, explained / total
