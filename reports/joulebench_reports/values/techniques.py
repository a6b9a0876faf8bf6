"""What each technique cost and brought on each backend: plain values, and the words for reports.

Every figure is relative to the uncompressed model on the same backend with the same settings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from joulebench.api import Provenance
from joulebench_reports.values.claims import Claim
from joulebench_reports.values.pareto import Front
from joulebench_reports.words.text import MARKS, UNKNOWN, data_size, number, plain, with_interval

#: An interval whose ends are further apart (as a ratio) tells nothing but that.
_WIDEST: Final = 16.0
#: A few bytes of a configuration file are no change of a model's size.
_UNSEEN_PERCENT: Final = 0.01

#: Beside a ratio of cells that did not take turns: what drifted between them is in no interval.
_APART: Final = "†"

HEADER: Final = (
    "technique",
    "size on disk",
    "energy",
    "speed",
    "peak mem",
    "perplexity",
    "KL nats",
    "top-1",
    "same tokens",
    "what was done",
)
#: Above the tables, in every report that has them.
NOTE: Final = (
    "Against the uncompressed model on the same backend with the same settings (its row has the "
    "figures themselves). ± is the 95 % interval: of energy and speed over the rounds in which "
    "both cells took turns, for all cells together (Holm's correction); of perplexity over the "
    "windows of one text, paired. KL divergence, the share of equal most likely tokens and of "
    "equal greedy tokens are against the reference of the agreement check, over its prompts. "
    "Size and peak memory are single readings."
)
_APART_NOTE: Final = f"{_APART} The two cells did not take turns: what drifted between them is in no interval."


@dataclass(frozen=True, slots=True)
class Relative:
    """A figure over that of the baseline, with its interval where it has one.

    ``reason`` says why there is none. ``in_turns`` is false where drift may be in it.
    """

    value: float | None = None
    low: float | None = None
    high: float | None = None
    reason: str | None = None
    in_turns: bool = True


@dataclass(frozen=True, slots=True)
class Bounded:
    """A figure against the agreement check's reference, with its interval."""

    value: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class UncompressedCell:
    """The uncompressed model on a backend; every figure as it is."""

    cell_id: str
    label: str
    size_bytes: int | None
    energy: float | None
    energy_unit: str
    provenance: Provenance | None
    rate: float | None
    rate_unit: str
    memory_bytes: int | None
    perplexity: float | None
    kl: Bounded
    top1: Bounded
    greedy: Bounded


@dataclass(frozen=True, slots=True)
class TechniqueCost:
    """A compressed cell against its baseline.

    ``families`` are by what was observed (see ``costing.families``). ``processor`` is the CPU
    time of a unit of work. Energies are of one ``provenance``.
    """

    cell_id: str
    label: str
    technique: str
    families: tuple[str, ...]
    evidence: str
    size: Relative
    energy: Relative
    provenance: Provenance | None
    rate: Relative
    processor: Relative
    memory: Relative
    perplexity: Relative
    kl: Bounded
    top1: Bounded
    greedy: Bounded


@dataclass(frozen=True, slots=True)
class BackendCosts:
    """The techniques on one backend with one set of settings. Without baseline, with the reason."""

    backend: str
    baseline: UncompressedCell | None
    costs: tuple[TechniqueCost, ...]


@dataclass(frozen=True, slots=True)
class CostTable:
    """All techniques of one model and workload."""

    model: str
    workload: str
    backends: tuple[BackendCosts, ...]
    fronts: tuple[Front, ...]
    claims: tuple[Claim, ...]

    @property
    def costs(self) -> tuple[TechniqueCost, ...]:
        """Every compressed cell."""
        return tuple(cost for backend in self.backends for cost in backend.costs)

    @property
    def caption(self) -> str:
        """What is compared."""
        return f"Techniques: {plain(self.model)}, {plain(self.workload)}"

    @property
    def notes(self) -> tuple[str, ...]:
        """How to read it."""
        apart = any(not cost.energy.in_turns or not cost.rate.in_turns for cost in self.costs)
        return (NOTE, *([_APART_NOTE] if apart else []))


# -- words ----------------------------------------------------------------------------------------


def change_words(found: Relative) -> str:
    """``-48.2 ± 1.3 %``: how much more or less than the baseline."""
    if found.value is None:
        return UNKNOWN
    mark = "" if found.in_turns else _APART
    if found.low is None or found.high is None:
        return f"{percent_change(found.value)}{mark}"
    if not 0 < found.high <= _WIDEST * max(found.low, 0.0):
        return f"{percent_change(found.value)}, too noisy{mark}"
    low, high = (100 * (each - 1) for each in (found.low, found.high))
    text = with_interval(100 * (found.value - 1), low, high)
    sign = "" if text.startswith("-") or text == "0" else "+"
    return f"{sign}{text} %{mark}"


def percent_change(ratio: float) -> str:
    """``-48.2 %``; what rounds to nothing is ``0 %``."""
    change = 100 * (ratio - 1)
    if abs(change) < _UNSEEN_PERCENT:
        return "0 %"
    return f"{'+' if change > 0 else ''}{number(change)} %"


def share_words(found: Bounded) -> str:
    """A share in per cent with its bounds, which are not symmetric."""
    if found.value is None:
        return UNKNOWN
    text = f"{number(100 * found.value, 4)} %"
    if found.low is None or found.high is None:
        return text
    return f"{text} [{number(100 * found.low, 3)}, {number(100 * found.high, 3)}]"


def _plain_figure(found: Bounded) -> str:
    return with_interval(found.value, found.low, found.high)


def rows(backend: BackendCosts) -> list[tuple[str, ...]]:
    """Texts in the order of :data:`HEADER`; the baseline's figures first."""
    found = [] if backend.baseline is None else [_baseline_row(backend.baseline)]
    return found + [_row(cost) for cost in backend.costs]


def _baseline_row(found: UncompressedCell) -> tuple[str, ...]:
    mark = MARKS.get(found.provenance or "measured", "")
    energy = UNKNOWN if found.energy is None else f"{number(found.energy)} {found.energy_unit}"
    return (
        "none",
        data_size(found.size_bytes),
        f"{energy} {mark}".strip(),
        UNKNOWN if found.rate is None else f"{number(found.rate)} {found.rate_unit}",
        data_size(found.memory_bytes),
        number(found.perplexity, 4),
        _plain_figure(found.kl),
        share_words(found.top1),
        share_words(found.greedy),
        "the model as it is",
    )


def _row(found: TechniqueCost) -> tuple[str, ...]:
    mark = MARKS.get(found.provenance or "measured", "") if found.energy.value else ""
    return (
        plain(found.technique),
        change_words(found.size),
        f"{change_words(found.energy)} {mark}".strip(),
        change_words(found.rate),
        change_words(found.memory),
        change_words(found.perplexity),
        _plain_figure(found.kl),
        share_words(found.top1),
        share_words(found.greedy),
        plain(found.evidence) or UNKNOWN,
    )


def missing(table: CostTable) -> list[tuple[str, str]]:
    """(what, why) of the figures that a row does not have, each reason once."""
    found: dict[tuple[str, str], list[str]] = {}
    for cost in table.costs:
        for name in ("size", "energy", "rate", "memory", "perplexity"):
            figure: Relative = getattr(cost, name)
            if figure.value is None and figure.reason:
                found.setdefault((name, figure.reason), []).append(cost.label)
    return [(f"{name} of {_cells(labels)}", plain(reason)) for (name, reason), labels in found.items()]


def _cells(labels: Sequence[str]) -> str:
    return ", ".join(map(plain, labels)) if len(labels) <= 3 else f"{len(labels)} cells"


def front_lines(table: CostTable) -> list[tuple[str, str]]:
    """A line for each Pareto front: what is weighed, and which cells nothing beats."""
    found: list[tuple[str, str]] = []
    for front in table.fronts:
        if len(front.objectives) < 2:
            continue
        off = "".join(f"; {plain(label)} loses to {plain(to)}" for label, to in front.off)
        named = " against ".join(_OBJECTIVES.get(objective, objective) for objective in front.objectives)
        found.append((named, ", ".join(map(plain, front.on)) + off))
    return found


_OBJECTIVES: Final = {"loss": "loss of quality", "energy": "energy", "memory": "peak memory"}
