"""A session's compressed cells against the uncompressed model on their own backend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from joulebench.api import Provenance, Scalar
from joulebench.meter.clusters import paired_windows
from joulebench.meter.comparison import CellComparison
from joulebench.meter.multiplicity import corrected_for_many
from joulebench_reports.judging.advice import Adviser
from joulebench_reports.judging.claims import judge_claims
from joulebench_reports.judging.constraints import rate_of
from joulebench_reports.judging.ratios import Quantity, decode_time, processor_time
from joulebench_reports.judging.verdicts import corrected, energy_comparison
from joulebench_reports.judging.workgroups import SessionWork, WorkGroup
from joulebench_reports.values.agreement import agreed_share, bounds_of
from joulebench_reports.values.figures import CellSummary, QualityFigures
from joulebench_reports.values.pareto import Front
from joulebench_reports.values.techniques import (
    BackendCosts,
    Bounded,
    CostTable,
    Relative,
    TechniqueCost,
    UncompressedCell,
)
from joulebench_reports.words.text import number

_UNCOMPRESSED = "none"
_NO_BASELINE = "the uncompressed model was not measured on this backend"
#: Of the same backend: what has to be equal.
_Where = tuple[str, str, str]


def cost_tables(work: SessionWork, shown: Sequence[CellSummary]) -> tuple[CostTable, ...]:
    """A table for each model and workload of which a compressed cell has figures."""
    working = [cell for cell in shown if cell.kernel is None]
    return tuple(
        _Costing(work, group).table()
        for group in work.groups(working)
        if any(cell.technique != _UNCOMPRESSED for cell in group.cells)
    )


class _Costing:
    """One model and workload."""

    def __init__(self, work: SessionWork, group: WorkGroup) -> None:
        self._group = group
        self._ratios = work.ratios

    def table(self) -> CostTable:
        by_backend: dict[_Where, list[CellSummary]] = {}
        for cell in self._group.cells:
            by_backend.setdefault(_where(cell), []).append(cell)
        pairs = [
            (cell, base)
            for cells in by_backend.values()
            if (base := _baseline(cells)) is not None
            for cell in cells
            if cell is not base
        ]
        energies = self._energies(pairs)
        rates = self._relatives(pairs, decode_time, inverse=True)
        # What an accelerator computes is no CPU time of the worker.
        on_host = [pair for pair in pairs if not any(cell.memory.device_peak_bytes for cell in pair)]
        processors = self._relatives(on_host, processor_time, inverse=False)
        backends = tuple(
            BackendCosts(
                _title(cells, by_backend),
                None if (base := _baseline(cells)) is None else _figures(base),
                tuple(
                    _cost(cell, base, energies.get(cell.id), rates.get(cell.id), processors.get(cell.id))
                    for cell in cells
                    if cell.technique != _UNCOMPRESSED
                ),
            )
            for cells in by_backend.values()
            if any(cell.technique != _UNCOMPRESSED for cell in cells)
        )
        costs = [cost for backend in backends for cost in backend.costs]
        return CostTable(self._group.model, self._group.workload, backends, self._fronts(), judge_claims(costs))

    def _fronts(self) -> tuple[Front, ...]:
        """Quality against energy, and against memory."""
        adviser = Adviser(self._ratios, self._group, (), None)
        return adviser.front("energy", ("loss", "energy")), adviser.front("memory", ("loss", "memory"))

    # -- comparing ---------------------------------------------------------------------------

    def _energies(
        self, pairs: Sequence[tuple[CellSummary, CellSummary]]
    ) -> dict[str, tuple[Provenance | None, Relative]]:
        judged = corrected(
            [(cell, *energy_comparison(self._ratios, cell, base, self._group.cells)) for cell, base in pairs]
        )
        return {cell.id: (provenance, _relative(comparison, why)) for cell, provenance, comparison, why in judged}

    def _relatives(
        self, pairs: Sequence[tuple[CellSummary, CellSummary]], quantity: Quantity, *, inverse: bool
    ) -> dict[str, Relative]:
        raw = {cell.id: self._ratios.of(cell, base, quantity, self._group.cells) for cell, base in pairs}
        judged = iter(corrected_for_many([comparison for comparison in raw.values() if comparison is not None]))
        relatives = {
            id_: _relative(None if comparison is None else next(judged), None) for id_, comparison in raw.items()
        }
        return {id_: _inverse(relative) if inverse else relative for id_, relative in relatives.items()}


def _where(cell: CellSummary) -> _Where:
    return cell.backend, cell.device, cell.backend_settings


def _baseline(cells: Sequence[CellSummary]) -> CellSummary | None:
    return next((cell for cell in cells if cell.technique == _UNCOMPRESSED), None)


def _title(cells: Sequence[CellSummary], all_backends: Mapping[_Where, object]) -> str:
    """The backend, with device and number type where one of its name is not the only one."""
    first = cells[0]
    alike = [where for where in all_backends if where[0] == first.backend]
    if len(alike) == 1:
        return first.backend
    base = _baseline(cells) or first
    threads = None if base.threads is None else f"threads={base.threads}"
    return " ".join(filter(None, (first.backend, first.device, base.dtype, threads)))


def _relative(comparison: CellComparison | None, reason: str | None) -> Relative:
    if comparison is None or comparison.ratio is None:
        return Relative(reason=reason or "too little was measured")
    return Relative(comparison.ratio, comparison.low, comparison.high, reason, comparison.paired)


def _inverse(relative: Relative) -> Relative:
    if not relative.value:
        return relative
    return Relative(
        1 / relative.value,
        None if not relative.high else 1 / relative.high,
        None if not relative.low else 1 / relative.low,
        relative.reason,
        relative.in_turns,
    )


# -- one cell ---------------------------------------------------------------------------------


def _figures(cell: CellSummary) -> UncompressedCell:
    rate = rate_of(cell)
    kl, top1, greedy = _against_reference(cell)
    return UncompressedCell(
        cell.id,
        cell.label,
        cell.memory.artifact_bytes,
        cell.headline.value,
        cell.headline.unit,
        cell.headline.provenance,
        rate.value,
        rate.unit,
        cell.memory.rss_peak_bytes,
        cell.quality.perplexity,
        kl,
        top1,
        greedy,
    )


def _cost(
    cell: CellSummary,
    base: CellSummary | None,
    energy: tuple[Provenance | None, Relative] | None,
    rate: Relative | None,
    processor: Relative | None,
) -> TechniqueCost:
    nothing = Relative(reason=_NO_BASELINE)
    provenance, joules = energy or (None, nothing)
    kl, top1, greedy = _against_reference(cell)
    size = _single("artifact_bytes", cell, base)
    return TechniqueCost(
        cell.id,
        cell.label,
        cell.technique,
        families(cell.evidence, cell.facts),
        evidence_words(cell.evidence, cell.facts, size.value),
        size,
        joules,
        provenance,
        rate or nothing,
        processor or nothing,
        _single("rss_peak_bytes", cell, base),
        nothing if base is None else _quality_change(cell.quality, base.quality),
        kl,
        top1,
        greedy,
    )


def _single(name: str, cell: CellSummary, base: CellSummary | None) -> Relative:
    """A reading of memory that is taken once."""
    if base is None:
        return Relative(reason=_NO_BASELINE)
    own, other = getattr(cell.memory, name), getattr(base.memory, name)
    if own is None or not other:
        return Relative(reason="no reading")
    return Relative(own / other)


def _quality_change(own: QualityFigures, base: QualityFigures) -> Relative:
    if own.perplexity is None or not base.perplexity:
        return Relative(reason="perplexity was not measured")
    if (own.text, own.tokens) != (base.text, base.tokens):
        return Relative(reason="scored on another text than the baseline")
    change = paired_windows(own.windows, base.windows)
    if change is None:
        return Relative(own.perplexity / base.perplexity, reason="no windows in the record")
    return Relative(change.value, change.low, change.high)


def _against_reference(cell: CellSummary) -> tuple[Bounded, Bounded, Bounded]:
    agreement = cell.agreement
    if agreement is None:
        return Bounded(), Bounded(), Bounded()
    return (
        Bounded(agreement.kl_nats_mean, *bounds_of(agreement, "kl_nats_mean")),
        Bounded(agreement.top1_share, *bounds_of(agreement, "top1_share")),
        Bounded(agreed_share(agreement), *bounds_of(agreement, "agreed_share")),
    )


# -- what was done ------------------------------------------------------------------------------

#: A share of zeros or a difference of bits below this is no compression.
_NOTICED = 0.01
#: Number types of so many bits or more are no quantization.
_HALF_BITS = 16.0
_MOST_FACTS = 3


def _steps(evidence: Mapping[str, Scalar]) -> dict[str, dict[str, float]]:
    """Numbers of the evidence by the technique that gave them."""
    by_step: dict[str, dict[str, float]] = {}
    for key, value in evidence.items():
        technique, _, name = key.rpartition(".")
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            by_step.setdefault(technique, {})[name] = float(value)
    return by_step


def _zeros(step: Mapping[str, float]) -> float | None:
    """The share of zeros that a step made; rounding makes some as well, which is no pruning."""
    zeros = step.get("zero_fraction")
    if zeros is None or "bits_per_weight" in step:
        return None
    return zeros if zeros - step.get("zero_fraction_before", 0.0) > _NOTICED else None


def _fewer(step: Mapping[str, float]) -> float | None:
    before, after = step.get("parameters_before"), step.get("parameters_after")
    fewer = 1 - after / before if before and after is not None else 0.0
    return fewer if fewer > _NOTICED else None


def _bits(step: Mapping[str, float]) -> float | None:
    """Bits of a weight, where they are those of integers and fewer than before."""
    bits, before = step.get("bits_per_weight"), step.get("bits_per_weight_before")
    if bits is None or bits > _HALF_BITS - _NOTICED:
        return None
    return bits if before is None or before - bits > _NOTICED else None


def _runs_dense(facts: Mapping[str, Scalar]) -> bool:
    """Whether the session says that it holds whole floating-point numbers all the same."""
    bits = facts.get("bits_per_weight")
    return isinstance(bits, (int, float)) and bits > _HALF_BITS - _NOTICED


def families(evidence: Mapping[str, Scalar], facts: Mapping[str, Scalar]) -> tuple[str, ...]:
    """``pruned``, ``quantized`` and ``rounded``, by what was observed and not by a name.

    Weights that were rounded, and are held and multiplied as floating-point numbers, are not
    quantized: nothing about them is smaller or faster, but quality was lost.
    """
    steps = _steps(evidence).values()
    pruned = any(_zeros(step) is not None or _fewer(step) is not None for step in steps)
    names = ["pruned"] if pruned else []
    if any(_bits(step) is not None for step in steps):
        names.append("rounded" if _runs_dense(facts) else "quantized")
    return tuple(names)


def evidence_words(evidence: Mapping[str, Scalar], facts: Mapping[str, Scalar], size: float | None) -> str:
    """``50 % zeros, stored densely``; ``34 % fewer parameters``; ``4.5 bits a weight, was 16``."""
    words: list[str] = []
    for step in _steps(evidence).values():
        zeros, fewer, bits = _zeros(step), _fewer(step), _bits(step)
        if fewer is not None:
            words.append(f"{100 * fewer:.0f} % fewer parameters")
        elif zeros is not None:
            dense = size is not None and size > 1 - _NOTICED
            words.append(f"{100 * zeros:.0f} % zeros" + (", stored densely" if dense else ""))
        if bits is not None:
            before = step.get("bits_per_weight_before")
            words.append(
                f"{bits:.3g} bits a weight"
                + ("" if before is None else f", was {before:.3g}")
                + (", run densely" if _runs_dense(facts) else "")
            )
    return "; ".join(words) or "; ".join(_first_facts(evidence))


def _first_facts(evidence: Mapping[str, Scalar]) -> list[str]:
    """Of what has no words here, the first facts as they were recorded."""
    facts = [(key.rpartition(".")[2], value) for key, value in evidence.items() if value is not None]
    return [f"{name.replace('_', ' ')} {_fact(value)}" for name, value in facts[:_MOST_FACTS]]


def _fact(value: Scalar) -> str:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number(float(value), 4) if is_number else str(value)  # type: ignore[arg-type]
