"""Which combination to deploy on the machine of a session, under limits, and how sure that is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from joulebench.api import PROVENANCES, Provenance
from joulebench.meter.clusters import paired_windows
from joulebench.meter.comparison import CellComparison
from joulebench.meter.multiplicity import corrected_for_many
from joulebench_reports.judging.constraints import Constraint, energy_of, rate_of
from joulebench_reports.judging.ratios import CellRatios, decode_time
from joulebench_reports.judging.trust import distrust_of_energy, distrust_of_times
from joulebench_reports.judging.workgroups import SessionWork, WorkGroup
from joulebench_reports.reading.simulated import ELSEWHERE
from joulebench_reports.values.answers import TrustReason
from joulebench_reports.values.figure import Figure
from joulebench_reports.values.figures import CellSummary
from joulebench_reports.values.pareto import Candidate, Front, Objective, pareto_front
from joulebench_reports.values.verdicts import Verdict

#: Cells are as good where no difference is shown and one of so much would have been.
AS_GOOD: Final = 0.10
#: No machine drifts by half: cells that took no turns are told apart by this factor.
_BEYOND_DRIFT: Final = 1.5
#: Peaks of memory differ by so much from start to start.
_MEMORY_LEEWAY: Final = 1.01
#: What the best is sought by.
Aim = Literal["energy", "time", "memory"]
Standing = Literal["first", "as good", "behind", "undecided"]
AIMS: Final[tuple[Aim, ...]] = ("energy", "time", "memory")


@dataclass(frozen=True, slots=True)
class RankedCell:
    """A cell that keeps the limits, with its figures (J and s a unit, bytes, relative loss).

    ``verdict`` compares it with the best (``None`` for that one, and where memory is the aim).
    ``standing`` is what that says of deploying it; ``doubts`` are limits that its interval reaches
    beyond.
    """

    cell_id: str
    label: str
    unit: str
    energy: float | None
    rate: float | None
    rate_unit: str
    memory_bytes: float | None
    loss: float | None
    verdict: Verdict | None
    standing: Standing
    doubts: tuple[str, ...]

    @property
    def comparison(self) -> CellComparison | None:
        """Of the verdict."""
        return None if self.verdict is None else self.verdict.comparison


@dataclass(frozen=True, slots=True)
class Advice:
    """The advice for one model and workload.

    ``provenance`` is that of all energies in it. ``ranked`` has the best first. ``refused`` are
    cells that do not keep a limit, or cannot be ranked, with the reason.
    """

    model: str
    workload: str
    aim: Aim
    provenance: Provenance | None
    reference: str | None
    max_loss: float | None
    ranked: tuple[RankedCell, ...]
    refused: tuple[tuple[str, str], ...]
    front: Front
    #: Why figures of the aim are not to be used at all; ``None`` where they are.
    distrust: TrustReason | None = None

    @property
    def best(self) -> RankedCell | None:
        """What to deploy; ``None`` where a cell is left of which that cannot be said, or nothing can be trusted."""
        return self.ranked[0] if self.ranked and not self.undecided and self.distrust is None else None

    @property
    def as_good(self) -> tuple[RankedCell, ...]:
        """Those of which no difference from the first is shown, though one of 10 % would have been."""
        return tuple(cell for cell in self.ranked[1:] if cell.standing == "as good")

    @property
    def undecided(self) -> tuple[RankedCell, ...]:
        """Those that may be better than the first, or worse: too little is shown of them."""
        return tuple(cell for cell in self.ranked[1:] if cell.standing == "undecided")

    @property
    def cure(self) -> str | None:
        """What another run needs to decide."""
        if self.distrust is not None:
            return self.distrust.cure
        flags = {flag for cell in self.undecided if cell.comparison is not None for flag in cell.comparison.flags}
        if not self.undecided:
            return None
        if {"model_error", "time_derived"} & flags:
            return "an energy sensor: the estimates differ by less than their model errs"
        if {"single_process", "few_processes"} & flags:
            return "--set protocol.processes=3"
        if "not_interleaved" in flags:
            return "these cells alone (--cell), so that they take turns"
        return "more blocks (--set protocol.min_blocks=160)"


def advise(
    work: SessionWork,
    shown: Sequence[CellSummary],
    aim: Aim,
    limits: Sequence[Constraint],
    max_loss: float | None,
    objectives: Sequence[Objective],
) -> list[Advice]:
    """Advice for each model and workload of a session; kernels and parts of models are left out."""
    groups = work.groups(work.of_models(shown))
    return [Adviser(work.ratios, group, limits, max_loss).advice(aim, objectives) for group in groups]


class Adviser:
    """One model and workload, in energies of one provenance."""

    def __init__(
        self, ratios: CellRatios, group: WorkGroup, limits: Sequence[Constraint], max_loss: float | None
    ) -> None:
        self._ratios = ratios
        self._group = group
        self._limits = limits
        self._max_loss = max_loss
        self._cells = {cell.id: cell for cell in group.cells}
        #: Of all energies in the advice.
        self.provenance = next(
            (p for p in PROVENANCES if any(energy_of(c, p).value is not None for c in group.cells)), None
        )
        self._reference = _reference(group)

    def energy(self, cell: CellSummary) -> Figure:
        """Gross energy of a unit of work, of the provenance that the advice is in."""
        return energy_of(cell, self.provenance)

    def rate(self, cell: CellSummary) -> Figure:
        """Tokens, or units of work, a second."""
        return rate_of(cell)

    def loss(self, cell: CellSummary) -> float | None:
        """Relative growth of perplexity over the uncompressed model; ``None`` where unknown."""
        return _loss(cell, self._reference)

    def loses(self, cell: CellSummary) -> bool:
        """Whether it is known to lose more quality than is allowed."""
        loss = self.loss(cell)
        return loss is not None and self._max_loss is not None and loss > self._max_loss

    def against_baseline(self, aim: Aim) -> dict[str, Verdict]:
        """Each other cell's energy or time against the group's baseline's, judged together; of memory there is none."""
        others = () if aim == "memory" else self._group.others
        pairs = [(cell, self._compare(cell.id, self._group.baseline.id, aim)) for cell in others]
        results = iter(corrected_for_many([comparison for _, comparison in pairs if comparison is not None]))
        provenance = self.provenance if aim == "energy" else None
        return {
            cell.id: Verdict(cell.id, cell.label, provenance, None if comparison is None else next(results))
            for cell, comparison in pairs
        }

    def advice(self, aim: Aim, objectives: Sequence[Objective]) -> Advice:
        """The cells that keep the limits, the best by ``aim`` first, and their Pareto front."""
        faults = {cell.id: self._fault(cell, aim) for cell in self._group.cells}
        return Advice(
            self._group.model,
            self._group.workload,
            aim,
            self.provenance,
            None if self._reference is None else self._reference.label,
            self._max_loss,
            self._ranked(self._kept(aim), aim),
            tuple((cell.label, fault) for cell in self._group.cells if (fault := faults[cell.id]) is not None),
            self.front(aim, objectives),
            self._distrust(aim),
        )

    def _distrust(self, aim: Aim) -> TrustReason | None:
        """Of the cells that the advice is taken from; peaks of memory need no trust in blocks."""
        kept = self._kept(aim)
        if not kept or aim == "memory":
            return None
        return distrust_of_energy(kept) if aim == "energy" else distrust_of_times(kept)

    def front(self, aim: Aim, objectives: Sequence[Objective]) -> Front:
        """The Pareto front of the cells that keep the limits, from the best by ``aim`` on."""
        candidates = [
            Candidate(cell.id, cell.label, {objective: self._value(cell, objective) for objective in objectives})
            for cell in self._kept(aim)
        ]
        return pareto_front(candidates, objectives, self._surely_less)

    def _kept(self, aim: Aim) -> list[CellSummary]:
        """The cells that can be advised, the best first."""
        kept = [cell for cell in self._group.cells if self._fault(cell, aim) is None]
        return sorted(kept, key=lambda cell: self._value(cell, aim) or 0.0)

    def _fault(self, cell: CellSummary, aim: Aim) -> str | None:
        """Why a cell cannot be advised."""
        if cell.simulated:
            return ELSEWHERE
        for limit in self._limits:
            fault = limit.fault(cell, self.provenance)
            if fault is not None:
                return fault
        if self._max_loss is not None:
            loss = self._value(cell, "loss")
            if loss is None and cell.technique == "none":
                loss = 0.0  # the uncompressed model itself
            if loss is None:
                return "loss of perplexity unknown: " + self._no_loss(cell)
            if loss > self._max_loss:
                return f"perplexity {100 * loss:+.1f} %, more than the limit of {100 * self._max_loss:+g} %"
        if self._value(cell, aim) is None:
            return self._no_value(cell, aim)
        return None

    def _no_value(self, cell: CellSummary, aim: Aim) -> str:
        if aim != "energy":
            return f"no figure of {aim}"
        others = [e.provenance for e in cell.energy if e.gross.value is not None]
        if others:
            return f"{'/'.join(others)} energy only, which is not ranked with {self.provenance}"
        return cell.headline.reason_if_null or "no energy"

    def _no_loss(self, cell: CellSummary) -> str:
        if cell.quality.perplexity is None:
            return "it was not measured for the cell"
        if self._reference is None:
            return "it was not measured for an uncompressed cell"
        return "measured on another text than the reference's"

    def _value(self, cell: CellSummary, objective: Objective) -> float | None:
        if objective == "energy":
            return energy_of(cell, self.provenance).value
        if objective == "time":
            rate = rate_of(cell).value
            return None if not rate else 1 / rate
        if objective == "memory":
            peak = cell.memory.rss_peak_bytes
            return None if peak is None else float(peak)
        return _loss(cell, self._reference)

    # -- comparing ---------------------------------------------------------------------------

    def _compare(self, one: str, other: str, objective: Objective) -> CellComparison | None:
        cells = self._cells[one], self._cells[other]
        if objective != "energy":
            return self._ratios.of(*cells, decode_time, self._group.cells)
        return None if self.provenance is None else self._ratios.energy(*cells, self.provenance, self._group.cells)

    def _surely_less(self, one: str, other: str, objective: Objective) -> bool | None:
        if objective == "loss":
            ours, theirs = (self._cells[cell].quality.windows for cell in (one, other))
            change = paired_windows(ours, theirs)
            return None if change is None or change.high is None else change.high < 1
        comparison = self._compare(one, other, objective)
        return comparison is not None and comparison.verdict == "lower"

    def _ranked(self, kept: Sequence[CellSummary], aim: Aim) -> tuple[RankedCell, ...]:
        verdicts: list[Verdict | None] = [None] * len(kept)
        if aim != "memory" and kept:
            raw = [self._compare(cell.id, kept[0].id, aim) for cell in kept[1:]]
            corrected = iter(corrected_for_many([comparison for comparison in raw if comparison is not None]))
            provenance = self.provenance if aim == "energy" else None
            verdicts[1:] = [
                Verdict(cell.id, cell.label, provenance, None if comparison is None else next(corrected))
                for cell, comparison in zip(kept[1:], raw, strict=True)
            ]
        standings = [self._standing(cell, kept[0], verdict, aim) for cell, verdict in zip(kept, verdicts, strict=True)]
        return tuple(map(self._choice, kept, verdicts, standings))

    def _standing(self, cell: CellSummary, first: CellSummary, verdict: Verdict | None, aim: Aim) -> Standing:
        if cell is first:
            return "first"
        if aim == "memory":
            least, own = self._value(first, aim) or 0.0, self._value(cell, aim) or 0.0
            return "as good" if own <= _MEMORY_LEEWAY * least else "behind"
        comparison = None if verdict is None else verdict.comparison
        if comparison is None:
            return "undecided"
        if comparison.verdict == "higher" or (not comparison.paired and (comparison.low or 0.0) > _BEYOND_DRIFT):
            return "behind"
        seen = comparison.smallest_detectable
        shown = comparison.verdict == "no_difference" and not comparison.hidden and seen is not None and seen <= AS_GOOD
        return "as good" if shown and comparison.paired else "undecided"

    def _choice(self, cell: CellSummary, verdict: Verdict | None, standing: Standing) -> RankedCell:
        doubts = (limit.doubt(cell, self.provenance) for limit in self._limits)
        rate = rate_of(cell)
        return RankedCell(
            cell.id,
            cell.label,
            energy_of(cell, self.provenance).unit,
            self._value(cell, "energy"),
            rate.value,
            rate.unit,
            self._value(cell, "memory"),
            self._value(cell, "loss"),
            verdict,
            standing,
            tuple(doubt for doubt in doubts if doubt is not None),
        )


def _reference(group: WorkGroup) -> CellSummary | None:
    """The uncompressed cell by whose perplexity losses are told, the group's baseline first."""
    for cell in (group.baseline, *group.cells):
        if cell.technique == "none" and cell.quality.perplexity:
            return cell
    return None


def _loss(cell: CellSummary, reference: CellSummary | None) -> float | None:
    """Relative growth of perplexity on the same text."""
    if reference is None or cell.quality.perplexity is None or not reference.quality.perplexity:
        return None
    scored = (cell.quality.text, cell.quality.tokens)
    if scored != (reference.quality.text, reference.quality.tokens):
        return None
    return cell.quality.perplexity / reference.quality.perplexity - 1
