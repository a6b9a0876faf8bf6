"""What each technique cost and brought on each backend: plain values, and the words for reports.

Every figure is relative to the uncompressed model on the same backend with the same settings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from joulebench.api import Provenance
from joulebench_reports.values.claims import Claim
from joulebench_reports.values.figure import FigureProvenance
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
_APART_NOTE: Final = f"{_APART} The two cells did not take turns: drift between them is not included."


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
    """A figure compared with the agreement check's reference, with its interval."""

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
    provenance: FigureProvenance | None
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


def change_words(relative: Relative) -> str:
    """``-48.2 ± 1.3 %``: how much more or less than the baseline."""
    if relative.value is None:
        return UNKNOWN
    mark = "" if relative.in_turns else _APART
    if relative.low is None or relative.high is None:
        return f"{percent_change(relative.value)}{mark}"
    if not 0 < relative.high <= _WIDEST * max(relative.low, 0.0):
        return f"{percent_change(relative.value)}, too noisy{mark}"
    low, high = (100 * (bound - 1) for bound in (relative.low, relative.high))
    text = with_interval(100 * (relative.value - 1), low, high)
    sign = "" if text.startswith("-") or text == "0" else "+"
    return f"{sign}{text} %{mark}"


def percent_change(ratio: float) -> str:
    """``-48.2 %``; what rounds to nothing is ``0 %``."""
    change = 100 * (ratio - 1)
    if abs(change) < _UNSEEN_PERCENT:
        return "0 %"
    return f"{'+' if change > 0 else ''}{number(change)} %"


def share_words(share: Bounded) -> str:
    """A share in per cent with its bounds, which are not symmetric."""
    if share.value is None:
        return UNKNOWN
    text = f"{number(100 * share.value, 4)} %"
    if share.low is None or share.high is None:
        return text
    return f"{text} [{number(100 * share.low, 3)}, {number(100 * share.high, 3)}]"


def _plain_figure(bounded: Bounded) -> str:
    return with_interval(bounded.value, bounded.low, bounded.high)


def rows(backend: BackendCosts) -> list[tuple[str, ...]]:
    """Texts in the order of :data:`HEADER`; the baseline's figures first."""
    table_rows = [] if backend.baseline is None else [_baseline_row(backend.baseline)]
    return table_rows + [_row(cost) for cost in backend.costs]


def _baseline_row(cell: UncompressedCell) -> tuple[str, ...]:
    mark = MARKS.get(cell.provenance or "measured", "")
    energy = UNKNOWN if cell.energy is None else f"{number(cell.energy)} {cell.energy_unit}"
    return (
        "none",
        data_size(cell.size_bytes),
        f"{energy} {mark}".strip(),
        UNKNOWN if cell.rate is None else f"{number(cell.rate)} {cell.rate_unit}",
        data_size(cell.memory_bytes),
        number(cell.perplexity, 4),
        _plain_figure(cell.kl),
        share_words(cell.top1),
        share_words(cell.greedy),
        "the model as it is",
    )


def _row(cost: TechniqueCost) -> tuple[str, ...]:
    mark = MARKS.get(cost.provenance or "measured", "") if cost.energy.value else ""
    return (
        plain(cost.technique),
        change_words(cost.size),
        f"{change_words(cost.energy)} {mark}".strip(),
        change_words(cost.rate),
        change_words(cost.memory),
        change_words(cost.perplexity),
        _plain_figure(cost.kl),
        share_words(cost.top1),
        share_words(cost.greedy),
        plain(cost.evidence) or UNKNOWN,
    )


def missing(table: CostTable) -> list[tuple[str, str]]:
    """(what, why) of the figures that a row does not have, each reason once."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for cost in table.costs:
        for name in ("size", "energy", "rate", "memory", "perplexity"):
            figure: Relative = getattr(cost, name)
            if figure.value is None and figure.reason:
                reasons.setdefault((name, figure.reason), []).append(cost.label)
    return [(f"{name} of {_cells(labels)}", plain(reason)) for (name, reason), labels in reasons.items()]


def _cells(labels: Sequence[str]) -> str:
    return ", ".join(map(plain, labels)) if len(labels) <= 3 else f"{len(labels)} cells"


def front_lines(table: CostTable) -> list[tuple[str, str]]:
    """A line for each trade-off: its objectives, and the Pareto-optimal cells."""
    lines: list[tuple[str, str]] = []
    for front in table.fronts:
        if len(front.objectives) < 2:
            continue
        off = "".join(f"; {plain(label)} is dominated by {plain(to)}" for label, to in front.off)
        named = " against ".join(_OBJECTIVES.get(objective, objective) for objective in front.objectives)
        lines.append((named, ", ".join(map(plain, front.on)) + off))
    return lines


_OBJECTIVES: Final = {"loss": "loss of quality", "energy": "energy", "memory": "peak memory"}
