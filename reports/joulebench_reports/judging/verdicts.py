"""Which cells of a session need less energy than their baseline, by the core's comparison."""

from __future__ import annotations

from collections.abc import Sequence

from joulebench.api import PROVENANCES, Provenance
from joulebench.meter.comparison import CellComparison
from joulebench.meter.multiplicity import corrected_for_many
from joulebench_reports.judging.ratios import CellRatios
from joulebench_reports.judging.workgroups import SessionWork, WorkGroup
from joulebench_reports.reading.simulated import RANGES
from joulebench_reports.values.figures import CellSummary, EnergySummary
from joulebench_reports.values.verdicts import Verdict, VerdictTable
from joulebench_reports.words.flags import explain


def verdict_tables(
    work: SessionWork, shown: Sequence[CellSummary], baseline: str | None = None
) -> tuple[VerdictTable, ...]:
    """A table for each model and workload that has two cells or more."""
    groups = work.groups(shown, baseline)
    return tuple(_table(work.ratios, group) for group in groups if len(group.cells) > 1)


def _table(ratios: CellRatios, group: WorkGroup) -> VerdictTable:
    base = group.baseline
    pairs = [(cell, *energy_comparison(ratios, cell, base, group.cells)) for cell in group.others]
    return VerdictTable(
        group.model,
        group.workload,
        base.id,
        base.label,
        tuple(
            Verdict(cell.id, cell.label, provenance, comparison, reason)
            for cell, provenance, comparison, reason in corrected(pairs)
        ),
    )


JudgedPair = tuple[CellSummary, Provenance | None, CellComparison | None, str | None]


def corrected(pairs: Sequence[JudgedPair]) -> list[JudgedPair]:
    """The pairs, judged together as far as they could be compared."""
    results = iter(corrected_for_many([c for _, _, c, _ in pairs if c is not None]))
    return [(cell, p, None if c is None else next(results), why) for cell, p, c, why in pairs]


def energy_comparison(
    ratios: CellRatios, cell: CellSummary, base: CellSummary, anchors: Sequence[CellSummary]
) -> tuple[Provenance | None, CellComparison | None, str | None]:
    """Provenance, comparison, and the reason where there is none."""
    provenance, reason = common_provenance(cell, base)
    if provenance is None:
        return None, None, reason
    if cell.simulated and base.simulated:
        return provenance, None, RANGES
    comparison = ratios.energy(cell, base, provenance, anchors)
    return provenance, comparison, "no energy" if comparison is None else None


def common_provenance(cell: CellSummary, base: CellSummary) -> tuple[Provenance | None, str | None]:
    """The most trusted provenance in which both have a figure, else why there is none."""
    ours, theirs = _with_figure(cell), _with_figure(base)
    for provenance in PROVENANCES:
        if provenance in ours and provenance in theirs:
            return provenance, None
    if ours and theirs:
        return None, f"{'/'.join(ours)} against {'/'.join(theirs)} energy"
    lacking = base if not theirs else cell
    whose = "the baseline" if lacking is base else "the cell"
    return None, _lacking(lacking, whose)


def _with_figure(cell: CellSummary) -> list[Provenance]:
    return [summary.provenance for summary in cell.energy if summary.gross.value is not None]


def _lacking(cell: CellSummary, whose: str) -> str:
    """Why a cell has no energy at all; of several sensors the most trusted one's reason."""
    best: EnergySummary | None = next(iter(cell.energy), None)
    if best is not None and "insufficient_resolution" in best.gross.flags:
        return "too short for this sensor"
    flags = best.gross.flags if best is not None else ()
    why = explain(flags[0]) if flags else cell.headline.reason_if_null or "no energy"
    return f"{whose} has no energy: {why}"
