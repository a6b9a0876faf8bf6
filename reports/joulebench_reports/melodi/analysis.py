"""What the energy of a prompt goes with: the figures of MELODI's analysis, with intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from joulebench.meter.uncertainty import ratio_interval
from joulebench_reports.melodi import bootstrap
from joulebench_reports.melodi.bootstrap import Array, Resampled, Resampler
from joulebench_reports.melodi.columns import FEATURES
from joulebench_reports.melodi.features import installed_libraries
from joulebench_reports.melodi.findings import ColumnCorrelation, Finding, device_finding, group_findings
from joulebench_reports.melodi.points import QUANTITIES, PromptGroup, groups
from joulebench_reports.melodi.requests import measured_requests
from joulebench_reports.values.figure import Figure
from joulebench_reports.words.flags import explain

if TYPE_CHECKING:
    from joulebench.session import Session

#: With fewer prompts no claim is made.
FEWEST_PROMPTS: Final = 10
LENGTH: Final = "response_token_length"


@dataclass(frozen=True, slots=True)
class Model:
    """A least-squares model of a prompt's energy.

    ``terms`` are its coefficients by name. Residuals are in J: standard deviation, and the values
    below which 5, 50 and 95 % of them lie.
    """

    formula: str
    terms: tuple[tuple[str, Figure], ...]
    r_squared: Figure
    residual_sd: Figure
    residual_quantiles_j: tuple[float, float, float] | None


@dataclass(frozen=True, slots=True)
class GroupAnalysis:
    """The analysis of cells that differ in their workload alone, of one provenance.

    ``ratio_of_sums_in_order`` has an interval that allows for prompts in a row that are alike.
    """

    label: str
    model: str
    device: str | None
    provenance: str
    methods: tuple[str, ...]
    channels: tuple[str, ...]
    requests: int
    points: int
    prompts: int
    resamples: int
    ratio_of_sums: Figure
    ratio_of_sums_in_order: Figure
    mean_of_ratios: Figure
    median_of_ratios: Figure
    correlations: tuple[ColumnCorrelation, ...]
    features: tuple[ColumnCorrelation, ...]
    length_model: Model
    phase_model: Model
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Analysis:
    """Every group of a session, and what can be said only of several."""

    session_id: str
    groups: tuple[GroupAnalysis, ...]
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]
    seed: int


def analyse(session: Session, *, channel: str | None = None, seed: int = 0) -> Analysis:
    """The analysis of a session, of one channel's energy where it is given."""
    libraries = installed_libraries()
    requests = list(measured_requests(session))
    prompt_groups = list(groups(requests, libraries, channel))
    notes: list[str] = []
    if not requests:
        notes.append("the session has no request with tokens")
    elif not prompt_groups:
        notes.append("no request with an answer has an energy, so there is nothing to analyse")
    if any(request.prompt and not set(FEATURES) & set(request.values) for request in requests):
        notes.append(f"features that are not here: {'; '.join(libraries.notes)}")
    return Analysis(
        session_id=session.row.session_id or session.path.name,
        groups=tuple(_analysed(group, seed) for group in prompt_groups),
        findings=(device_finding(prompt_groups, seed),) if prompt_groups else (),
        notes=tuple(notes),
        seed=seed,
    )


def _analysed(group: PromptGroup, seed: int) -> GroupAnalysis:
    tokens = group.quantities[LENGTH]
    resampler = group.resampler(seed)
    maker = _Maker(group, resampler, seed)
    ratios = group.energy_j / tokens
    quantities = tuple(maker.correlation(name, group.quantities[name]) for name in QUANTITIES)
    features = _distinct(group)
    correlations = tuple(maker.correlation(name, values) for name, values in features)
    ranked = tuple(sorted(correlations, key=lambda column: -abs(column.r.value or 0.0)))
    return GroupAnalysis(
        label=group.label,
        model=group.model,
        device=group.device,
        provenance=group.provenance,
        methods=group.methods,
        channels=group.channels,
        requests=group.requests,
        points=len(group.energy_j),
        prompts=resampler.prompts,
        resamples=resampler.resamples,
        ratio_of_sums=maker.figure(bootstrap.ratio_of_sums(group.energy_j, tokens, resampler), "J/token"),
        ratio_of_sums_in_order=maker.in_order(),
        mean_of_ratios=maker.figure(bootstrap.mean(ratios, resampler), "J/token"),
        median_of_ratios=maker.figure(resampler.median(ratios), "J/token"),
        correlations=quantities,
        features=ranked,
        length_model=maker.model("E = a + b·n_response", ("a (a prompt)", "b (a response token)"), [tokens]),
        phase_model=maker.model(
            "E = a + b·n_prefill + c·n_decode",
            ("a (a prompt)", "b (a prefill token)", "c (a decode token)"),
            [group.quantities["prompt_token_length"], tokens - 1],
        ),
        findings=group_findings(group, quantities, ranked, resampler),
        notes=_notes(group, maker.in_order()),
    )


def _distinct(group: PromptGroup) -> list[tuple[str, Array]]:
    """Features that vary, each once: MELODI has some columns twice under two names."""
    import numpy as np

    seen: set[bytes] = set()
    kept: list[tuple[str, Array]] = []
    for name, values in group.features.items():
        known = ~np.isnan(values)
        if known.sum() < FEWEST_PROMPTS or not bootstrap.varies(values[known]):
            continue
        if values.tobytes() not in seen:
            seen.add(values.tobytes())
            kept.append((name, values))
    return kept


class _Maker:
    """Makes figures of one group, with its provenance and count of prompts."""

    def __init__(self, group: PromptGroup, resampler: Resampler, seed: int) -> None:
        self._group = group
        self._resampler = resampler
        self._seed = seed

    def figure(self, resampled: Resampled, unit: str, n: int | None = None) -> Figure:
        return Figure(
            resampled.value,
            unit,
            resampled.low,
            resampled.high,
            self._resampler.prompts if n is None else n,
            self._group.provenance,
            "bootstrap over prompts",
        )

    def in_order(self) -> Figure:
        """ΣE / Σ tokens with the meter's interval of a series of blocks."""
        if not self._group.in_order:
            reason = "repeated prompts, or several cells: 'joulebench report' has it for each cell"
            return self.none("J/token", reason)
        tokens = self._group.quantities[LENGTH]
        interval = ratio_interval(self._group.energy_j.tolist(), tokens.tolist())
        return Figure(
            interval.mean,
            "J/token",
            interval.low,
            interval.high,
            round(interval.n_eff or interval.n),
            self._group.provenance,
            "delta method, widened for correlation",
            interval.flags,
        )

    def none(self, unit: str, reason: str) -> Figure:
        return Figure(None, unit, provenance=self._group.provenance, reason_if_null=reason)

    def correlation(self, name: str, values: Array) -> ColumnCorrelation:
        import numpy as np

        known = ~np.isnan(values)
        if known.sum() < 3:
            count = int(known.sum())
            reason = f"{count} prompts are too few" if count else f"{name} is not known"
            return ColumnCorrelation(name, self.none("1", reason), self.none("1", reason))
        whole = bool(known.all())
        resampler = self._resampler if whole else self._group.resampler(self._seed, known)
        length = None if name == LENGTH else self._group.quantities[LENGTH][known]
        estimate = bootstrap.correlation(values[known], self._group.energy_j[known], resampler, length)
        if estimate is None:
            same = f"{name} is the same in every prompt ({values[known][0]:g})"
            return ColumnCorrelation(name, self.none("1", same), self.none("1", same))
        n = resampler.prompts
        nothing = "it is the length" if name == LENGTH else "the length leaves nothing to explain"
        beyond = self.none("1", nothing) if estimate.beyond is None else self.figure(estimate.beyond, "1", n)
        return ColumnCorrelation(name, self.figure(estimate.r, "1", n), beyond)

    def model(self, formula: str, names: Sequence[str], columns: Sequence[Array]) -> Model:
        import numpy as np

        units = ("J", *["J/token"] * len(columns))
        known = np.logical_and.reduce([~np.isnan(column) for column in columns])
        kept = [column[known] for column in columns]
        resampler = self._resampler if known.all() else self._group.resampler(self._seed, known)
        fit = None
        if known.sum() > len(names):
            fit = bootstrap.linear_model(self._group.energy_j[known], kept, resampler)
        if fit is None:
            reason = _why_no_model(names, kept)
            nothing = tuple((name, self.none(unit, reason)) for name, unit in zip(names, units, strict=True))
            return Model(formula, nothing, self.none("1", reason), self.none("J", reason), None)
        n = resampler.prompts
        terms = tuple(
            (name, self.figure(value, unit, n))
            for name, unit, value in zip(names, units, fit.coefficients, strict=True)
        )
        sd = Figure(fit.residual_sd, "J", n=n, provenance=self._group.provenance)
        low, middle, high = (float(quantile) for quantile in np.percentile(fit.residuals, (5, 50, 95)))
        return Model(formula, terms, self.figure(fit.r_squared, "1", n), sd, (low, middle, high))


def _why_no_model(names: Sequence[str], columns: Sequence[Array]) -> str:
    if not columns or len(columns[0]) <= len(names):
        return f"{len(columns[0]) if columns else 0} prompts are too few for {len(names)} terms"
    for name, column in zip(names[1:], columns, strict=True):
        if not bootstrap.varies(column):
            return f"every prompt has the same number for {name}: {column[0]:g}"
    return "the numbers of tokens follow from each other, or the energy does not vary"


def _notes(group: PromptGroup, in_order: Figure) -> tuple[str, ...]:
    notes: list[str] = []
    if group.provenance == "estimated" and "model" in group.methods:
        notes.append(
            "the energy is a model of CPU time: that it goes with durations and lengths is so by "
            "construction and proves nothing of the machine"
        )
    if group.provenance == "simulated":
        notes.append("the energy is simulated: what holds here holds of the simulator")
    if "autocorrelated" in in_order.flags:
        notes.append(
            f"prompts in a row resemble each other: for J/token the {len(group.energy_j)} prompts "
            f"tell as much as {in_order.n} independent ones would; quote the interval that allows "
            "for it, the others of J/token take prompts for independent"
        )
    if group.set_lengths is not None:
        lengths = ", ".join(str(set_length) for set_length in group.set_lengths)
        notes.append(
            f"the profile set the lengths of the answers ({lengths} tokens): J/token, r and R² "
            "depend on that choice, the slopes of the models do not"
        )
    for flag, blocks in sorted(group.block_flags.items()):
        notes.append(f"{flag} in {blocks} of {group.blocks} blocks: {explain(flag)}")
    if group.short:
        notes.append(
            f"{group.short} of {group.requests} windows are too short for the sensor; they are in "
            "sums and fits, where the edges' errors cancel, and weaken correlations"
        )
    if group.dropped:
        why = ", ".join(f"{flag} ({count})" for flag, count in sorted(group.dropped.items()))
        notes.append(f"requests without an energy are left out: {why}")
    if len(group.energy_j) < group.requests:
        notes.append(
            f"{group.requests} requests are {len(group.energy_j)} points: repetitions of a prompt "
            "in a cell are averaged"
        )
    if not math.isfinite(float(group.energy_j.sum())):
        notes.append("some energies are not finite")
    return (*notes, *(f"published table: {fault}" for fault in group.faults))
