"""E = a + b·n_prefill + c·n_decode over requests: the energy of phases too short for a sensor.

Ordinary least squares by Householder reflections on scaled columns, in plain Python. Requests of one
block, and of one process, err together, so they are not the units of the uncertainty: see
:func:`fit_energy`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from joulebench.meter.uncertainty import DEFAULT_LEVEL, PROCESSES_AS_UNITS, Interval, interval_around

_PARAMETERS: Final = 3
#: A column whose part outside the others' span is smaller than this share says nothing new.
_RANK_TOLERANCE: Final = 1e-9
_NAMES: Final = ("requests", "prefill tokens", "decode tokens")


@dataclass(frozen=True, slots=True)
class EnergyFit:
    """Joules per request (a), per prefill token (b) and per decode token (c).

    All are ``None`` where the requests cannot tell them apart; ``reason`` says why.
    ``covariance_j2`` is that of (a, b, c), ``residual_sd_j`` the scatter of one window.
    """

    per_request_j: Interval | None
    per_prefill_token_j: Interval | None
    per_decode_token_j: Interval | None
    covariance_j2: tuple[tuple[float, ...], ...] | None
    residual_sd_j: float | None
    r_squared: float | None
    n: int
    reason: str | None = None


def fit_energy(
    energies_j: Sequence[float],
    prefill_tokens: Sequence[float],
    decode_tokens: Sequence[float],
    requests: Sequence[float] | None = None,
    level: float = DEFAULT_LEVEL,
    blocks: Sequence[int] | None = None,
    processes: Sequence[int] | None = None,
) -> EnergyFit:
    """Fit windows of one request each, or of ``requests`` requests each.

    Uses energies *for a fit* (:func:`joulebench.meter.energy.counter_energy_for_fit`): each
    window's edges err independently, which is what the residuals show.

    From three ``processes`` on, each that tells the parameters apart is fitted by itself, and the
    fits are the units: their mean, and Student's t over them (Ibragimov and Müller 2010,
    "t-statistic based correlation and heterogeneity robust inference", J. Bus. Econ. Stat. 28).
    Else the covariance is robust to what the windows of one block share (Liang and Zeger 1986; with
    the factor G/(G - 3) and t of G - 3 degrees for G blocks and three parameters). Without either, windows count as
    independent.
    """
    n = len(energies_j)
    counts = [1.0] * n if requests is None else [float(v) for v in requests]
    columns = [counts, [float(v) for v in prefill_tokens], [float(v) for v in decode_tokens]]
    if any(len(column) != n for column in (*columns, blocks or counts, processes or counts)):
        raise ValueError("energies, tokens, requests, blocks and processes must be equally many")
    fitted = _least_squares(columns, energies_j)
    if isinstance(fitted, str):
        return _nothing(n, fitted)
    groups = _places(processes)
    if len(groups) >= PROCESSES_AS_UNITS:
        own = [
            _least_squares([[column[i] for i in group] for column in columns], [energies_j[i] for i in group])
            for group in groups
        ]
        fits = [fit for fit in own if isinstance(fit, _Fitted)]
        if len(fits) == len(groups):
            return _over_processes(fits, fitted, energies_j, level)
    clusters = _places(blocks)
    flags = ("few_processes",) if processes is not None and len(groups) < PROCESSES_AS_UNITS else ()
    if len(clusters) > _PARAMETERS:
        covariance = _robust_covariance(columns, fitted, clusters)
        return _described(
            fitted, fitted.solution, covariance, float(len(clusters) - _PARAMETERS), energies_j, level, flags
        )
    variance = fitted.squares / (n - _PARAMETERS)
    covariance = [[variance * v for v in row] for row in fitted.precision]
    return _described(fitted, fitted.solution, covariance, float(n - _PARAMETERS), energies_j, level, flags)


@dataclass(frozen=True, slots=True)
class _Fitted:
    """The parameters, (XᵀX)⁻¹, each window's residual and the sum of their squares."""

    solution: Sequence[float]
    precision: Sequence[Sequence[float]]
    residuals: Sequence[float]
    squares: float


def _least_squares(columns: Sequence[Sequence[float]], energies: Sequence[float]) -> _Fitted | str:
    """The fit, or why there is none."""
    n = len(energies)
    if n <= _PARAMETERS:
        return f"{n} windows are too few for {_PARAMETERS} parameters"
    norms = [math.sqrt(math.fsum(v * v for v in column)) for column in columns]
    for name, norm in zip(_NAMES, norms, strict=True):
        if norm == 0:
            return f"there are no {name}"
    scaled = [[v / s for v in column] for column, s in zip(columns, norms, strict=True)]
    target = [float(v) for v in energies]
    dependent = _triangularise(scaled, target)
    if dependent is not None:
        return _why_dependent(columns, dependent)
    inverse = [[v / norm for v in row] for row, norm in zip(_inverse_upper(scaled), norms, strict=True)]
    solution = [math.fsum(v * t for v, t in zip(row, target, strict=False)) for row in inverse]
    precision = [[math.fsum(p * q for p, q in zip(row, other, strict=True)) for other in inverse] for row in inverse]
    residuals = [
        energy - math.fsum(p * v for p, v in zip(solution, row, strict=True))
        for energy, row in zip(energies, zip(*columns, strict=True), strict=True)
    ]
    return _Fitted(solution, precision, residuals, math.fsum(v * v for v in target[_PARAMETERS:]))


def _places(owners: Sequence[int] | None) -> list[list[int]]:
    """The windows of each owner."""
    groups: dict[int, list[int]] = {}
    for place, owner in enumerate(owners or ()):
        groups.setdefault(owner, []).append(place)
    return list(groups.values())


def _over_processes(fits: Sequence[_Fitted], whole: _Fitted, energies: Sequence[float], level: float) -> EnergyFit:
    k = len(fits)
    means = [math.fsum(fit.solution[i] for fit in fits) / k for i in range(_PARAMETERS)]
    deviations = [[value - mean for value, mean in zip(fit.solution, means, strict=True)] for fit in fits]
    covariance = [
        [math.fsum(d[i] * d[j] for d in deviations) / (k - 1) / k for j in range(_PARAMETERS)]
        for i in range(_PARAMETERS)
    ]
    return _described(whole, means, covariance, k - 1.0, energies, level, ())


def _robust_covariance(
    columns: Sequence[Sequence[float]], fitted: _Fitted, clusters: Sequence[Sequence[int]]
) -> list[list[float]]:
    """G/(G - 3)·(XᵀX)⁻¹ Σ sₖsₖᵀ (XᵀX)⁻¹, with the score sₖ of a cluster the sum of x·residual."""
    g = len(clusters)
    scores = [[math.fsum(column[i] * fitted.residuals[i] for i in group) for column in columns] for group in clusters]
    effects = [
        [math.fsum(p * s for p, s in zip(row, score, strict=True)) for row in fitted.precision] for score in scores
    ]
    size = range(_PARAMETERS)
    return [[g / (g - _PARAMETERS) * math.fsum(e[i] * e[j] for e in effects) for j in size] for i in size]


def _described(
    fitted: _Fitted,
    solution: Sequence[float],
    covariance: Sequence[Sequence[float]],
    df: float,
    energies: Sequence[float],
    level: float,
    flags: tuple[str, ...],
) -> EnergyFit:
    n = len(energies)
    mean = math.fsum(energies) / n
    total = math.fsum((e - mean) ** 2 for e in energies)
    a, b, c = (
        interval_around(value, math.sqrt(max(covariance[i][i], 0.0)), df, n=n, level=level, flags=flags)
        for i, value in enumerate(solution)
    )
    r_squared = 1 - fitted.squares / total if total > 0 else None
    spread = math.sqrt(fitted.squares / (n - _PARAMETERS))
    return EnergyFit(a, b, c, tuple(map(tuple, covariance)), spread, r_squared, n)


def _triangularise(columns: list[list[float]], target: list[float]) -> int | None:
    """Householder QR in place: ``columns`` becomes R, ``target`` becomes Qᵀ·target.

    Returns the index of a column that depends on those before it, or ``None``.
    """
    rows = len(target)
    for k in range(len(columns)):
        pivot = columns[k]
        norm = math.sqrt(math.fsum(pivot[i] * pivot[i] for i in range(k, rows)))
        if norm < _RANK_TOLERANCE:
            return k
        head = -norm if pivot[k] > 0 else norm
        mirror = [pivot[i] for i in range(k, rows)]
        mirror[0] -= head
        square = math.fsum(v * v for v in mirror)
        for vector in (*columns[k:], target):
            factor = 2 * math.fsum(v * vector[k + i] for i, v in enumerate(mirror)) / square
            for i, v in enumerate(mirror):
                vector[k + i] -= factor * v
    return None


def _inverse_upper(columns: Sequence[Sequence[float]]) -> list[list[float]]:
    """The inverse of the upper triangle R, stored by columns, as rows."""
    size = len(columns)
    inverse = [[0.0] * size for _ in range(size)]
    for j in range(size):
        inverse[j][j] = 1 / columns[j][j]
        for i in range(j - 1, -1, -1):
            inner = math.fsum(columns[k][i] * inverse[k][j] for k in range(i + 1, j + 1))
            inverse[i][j] = -inner / columns[i][i]
    return inverse


def _why_dependent(columns: Sequence[Sequence[float]], index: int) -> str:
    if index > 0 and len({v / r for v, r in zip(columns[index], columns[0], strict=True) if r}) == 1:
        return f"all requests have the same number of {_NAMES[index]}"
    return f"the number of {_NAMES[index]} follows from the other numbers in every request"


def _nothing(n: int, reason: str) -> EnergyFit:
    return EnergyFit(None, None, None, None, None, None, n, reason)
