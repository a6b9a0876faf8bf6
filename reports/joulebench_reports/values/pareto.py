"""The Pareto front of a group of cells: those to which no other is preferable in every way.

A cell is off the front only where that is shown: another one is no worse in any objective by its
estimate, and better in one for sure. For energy and time that is the verdict of the comparison
(95 % each, in turns); for perplexity the interval over the windows of the text, paired. Memory, and
perplexity without windows, have no interval, and have to differ by more than they do from start to
start.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import le
from typing import Final, Literal, NamedTuple

Objective = Literal["energy", "time", "memory", "loss"]
OBJECTIVES: Final[tuple[Objective, ...]] = ("energy", "loss", "memory", "time")
DEFAULT_OBJECTIVES: Final[tuple[Objective, ...]] = ("energy", "loss", "memory")

#: Relative difference of two peaks of memory that one start and the next may have as well.
_MEMORY_LEEWAY: Final = 0.01
#: Difference of two relative losses that is a matter of rounding in kernels.
_LOSS_LEEWAY: Final = 0.001

#: Whether the first cell has less than the second in an objective that has an interval, for sure;
#: ``None`` where there is no interval to tell by.
SurelyLess = Callable[[str, str, Objective], bool | None]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A cell with its values, less being better: J or s a unit, bytes, relative loss."""

    cell_id: str
    label: str
    values: Mapping[Objective, float | None]


@dataclass(frozen=True, slots=True)
class Front:
    """Cells on the front, those off it with the one that is preferable, and those unplaced.

    ``left_out`` are objectives that no cell has.
    """

    objectives: tuple[Objective, ...]
    left_out: tuple[Objective, ...]
    on: tuple[str, ...]
    off: tuple[tuple[str, str], ...]
    unplaced: tuple[tuple[str, str], ...]


def pareto_front(candidates: Sequence[Candidate], objectives: Sequence[Objective], surely_less: SurelyLess) -> Front:
    """Place the candidates."""
    used = tuple(o for o in objectives if any(c.values.get(o) is not None for c in candidates))
    placed = [own for cell in candidates if (own := _placed(cell, used)) is not None] if used else []
    on: list[str] = []
    off: list[tuple[str, str]] = []
    for own in placed:
        better = next(_dominating(own, placed, used, surely_less), None)
        if better is None:
            on.append(own.cell.label)
        else:
            off.append((own.cell.label, better.cell.label))
    unknown = [(c.label, ", ".join(o for o in used if c.values.get(o) is None)) for c in candidates]
    return Front(
        used,
        tuple(o for o in objectives if o not in used),
        tuple(on),
        tuple(off),
        tuple((label, names) for label, names in unknown if names),
    )


class _Placed(NamedTuple):
    """A candidate with its values in the order of the objectives."""

    cell: Candidate
    values: tuple[float, ...]


def _placed(cell: Candidate, objectives: Sequence[Objective]) -> _Placed | None:
    values = [value for objective in objectives if (value := cell.values.get(objective)) is not None]
    return _Placed(cell, tuple(values)) if len(values) == len(objectives) else None


def _dominating(
    own: _Placed, others: Sequence[_Placed], objectives: Sequence[Objective], surely_less: SurelyLess
) -> Iterator[_Placed]:
    bounds = [value + _leeway(objective, value) for objective, value in zip(objectives, own.values, strict=True)]
    for other in others:
        if all(map(le, other.values, bounds)) and other.cell.cell_id != own.cell.cell_id:
            pairs = zip(objectives, other.values, own.values, strict=True)
            if any(a < b and _is_less(other.cell, own.cell, o, (a, b), surely_less) for o, a, b in pairs):
                yield other


def _is_less(
    other: Candidate, cell: Candidate, objective: Objective, values: tuple[float, float], surely_less: SurelyLess
) -> bool:
    certain = None if objective == "memory" else surely_less(other.cell_id, cell.cell_id, objective)
    if certain is None and objective in ("memory", "loss"):
        return values[0] < values[1] - _leeway(objective, values[1])
    return bool(certain)


def _leeway(objective: Objective, value: float) -> float:
    if objective == "memory":
        return _MEMORY_LEEWAY * value
    return _LOSS_LEEWAY if objective == "loss" else 0.0
