"""E = a + b·n_prefill + c·n_decode over requests: the energy of phases too short for a sensor.

Ordinary least squares by Householder reflections on scaled columns, in plain Python.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from joulebench.meter.uncertainty import DEFAULT_LEVEL, Interval, interval_around

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
) -> EnergyFit:
    """Fit windows of one request each, or of ``requests`` requests each.

    Uses energies *for a fit* (:func:`joulebench.meter.energy.counter_energy_for_fit`): each
    window's edges err independently, which is what the residuals show.
    """
    n = len(energies_j)
    counts = [1.0] * n if requests is None else [float(v) for v in requests]
    columns = [counts, [float(v) for v in prefill_tokens], [float(v) for v in decode_tokens]]
    if any(len(column) != n for column in columns):
        raise ValueError("energies, tokens and requests must be equally many")
    if n <= _PARAMETERS:
        return _nothing(n, f"{n} windows are too few for {_PARAMETERS} parameters")
    norms = [math.sqrt(math.fsum(v * v for v in column)) for column in columns]
    for name, norm in zip(_NAMES, norms, strict=True):
        if norm == 0:
            return _nothing(n, f"there are no {name}")
    scaled = [[v / s for v in column] for column, s in zip(columns, norms, strict=True)]
    target = [float(v) for v in energies_j]
    dependent = _triangularise(scaled, target)
    if dependent is not None:
        return _nothing(n, _why_dependent(columns, dependent))
    inverse = [[v / norm for v in row] for row, norm in zip(_inverse_upper(scaled), norms, strict=True)]
    solution = [math.fsum(v * t for v, t in zip(row, target, strict=False)) for row in inverse]
    residual = math.fsum(v * v for v in target[_PARAMETERS:])
    return _described(energies_j, solution, inverse, residual, level)


def _described(
    energies: Sequence[float],
    solution: Sequence[float],
    inverse: Sequence[Sequence[float]],
    residual: float,
    level: float,
) -> EnergyFit:
    n = len(energies)
    df = n - _PARAMETERS
    variance = residual / df
    covariance = tuple(
        tuple(variance * math.fsum(p * q for p, q in zip(row, other, strict=True)) for other in inverse)
        for row in inverse
    )
    mean = math.fsum(energies) / n
    total = math.fsum((e - mean) ** 2 for e in energies)
    a, b, c = (
        interval_around(solution[i], math.sqrt(max(covariance[i][i], 0.0)), float(df), n=n, level=level)
        for i in range(_PARAMETERS)
    )
    r_squared = 1 - residual / total if total > 0 else None
    return EnergyFit(a, b, c, covariance, math.sqrt(variance), r_squared, n)


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
