"""MELODI's findings, each tested on a session's own data.

A quantity that alone explains more than half of the variance of the energy (r² > 0.5) is called a
predictor; one that explains less than a tenth hardly is one. A finding holds, or does not, where
the whole interval lies on one side; else the data cannot tell.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Final, Literal

from joulebench.meter.student import t_quantile
from joulebench_reports.melodi import bootstrap
from joulebench_reports.melodi.bootstrap import Resampler, fisher_interval
from joulebench_reports.melodi.points import PromptGroup
from joulebench_reports.values.figure import Figure

Verdict = Literal["holds", "does not hold", "cannot tell"]

PREDICTS: Final = 0.5
HARDLY: Final = 0.1
#: Devices whose J/token differ by less than this are called alike.
_ALIKE: Final = 0.05
_FEWEST: Final = 10
_NORMAL: Final = 1e15


@dataclass(frozen=True, slots=True)
class ColumnCorrelation:
    """Pearson's r of the energy with a column; ``beyond`` is r among answers of equal length."""

    column: str
    r: Figure
    beyond: Figure


@dataclass(frozen=True, slots=True)
class Finding:
    """A claim, whether it holds here, the figure that it rests on, and why in words."""

    claim: str
    verdict: Verdict
    figure: Figure | None
    why: str


def group_findings(
    group: PromptGroup,
    quantities: Sequence[ColumnCorrelation],
    features: Sequence[ColumnCorrelation],
    resampler: Resampler,
) -> tuple[Finding, ...]:
    """The findings that one group can be asked for."""
    by_name = {quantity.column: quantity for quantity in quantities}
    barred = _barred(group, resampler)
    return (
        _length(by_name["response_token_length"], barred),
        _by_choice(group, _prompt_length(by_name["prompt_token_length"], barred)),
        _by_choice(group, _complexity(features, barred)),
        _gpu_share(group, resampler),
    )


def _barred(group: PromptGroup, resampler: Resampler) -> str | None:
    """Why nothing can be concluded from a group's correlations."""
    if group.provenance == "estimated" and "model" in group.methods:
        return "the energy is a model of CPU time, so it follows the work by construction"
    if resampler.prompts < _FEWEST:
        return f"{resampler.prompts} prompts are fewer than {_FEWEST}"
    return None


def _by_choice(group: PromptGroup, finding: Finding) -> Finding:
    """Where a profile sets the answers' lengths, it sets how much is left for the prompt too."""
    if group.set_lengths is None or finding.verdict == "cannot tell":
        return finding
    why = "the profile set the answers' lengths, and so how much the prompt can explain"
    return replace(finding, verdict="cannot tell", why=f"{why}; {finding.why}")


def _shares(low: float, high: float) -> tuple[float, float]:
    """The interval of r² of an interval of r."""
    squares = sorted((low * low, high * high))
    return (0.0 if low < 0 < high else squares[0]), squares[1]


def _judged(figure: Figure, *, predicts: bool) -> Verdict:
    if figure.low is None or figure.high is None:
        return "cannot tell"
    low, high = _shares(figure.low, figure.high)
    if predicts:
        return "holds" if low > PREDICTS else "does not hold" if high < PREDICTS else "cannot tell"
    return "holds" if high < HARDLY else "does not hold" if low > HARDLY else "cannot tell"


def _share_text(figure: Figure) -> str:
    if figure.low is None or figure.high is None or figure.value is None:
        return figure.reason_if_null or "there is no interval"
    low, high = _shares(figure.low, figure.high)
    return (
        f"alone it explains {figure.value**2 * 100:.1f} % [{low * 100:.1f}, {high * 100:.1f}] of "
        "the variance of the energy"
    )


def _length(length: ColumnCorrelation, barred: str | None) -> Finding:
    claim = "the length of the answer predicts the energy"
    if barred is not None:
        return Finding(claim, "cannot tell", length.r, barred)
    return Finding(claim, _judged(length.r, predicts=True), length.r, _share_text(length.r))


def _prompt_length(length: ColumnCorrelation, barred: str | None) -> Finding:
    claim = "the length of the prompt hardly predicts it"
    if barred is not None:
        return Finding(claim, "cannot tell", length.r, barred)
    why = _share_text(length.r) + _beyond_text(length)
    return Finding(claim, _judged(length.r, predicts=False), length.r, why)


def _beyond_text(column: ColumnCorrelation) -> str:
    beyond = column.beyond
    if beyond.value is None or beyond.low is None or beyond.high is None:
        return ""
    return f"; among answers of equal length r = {beyond.value:.3f} [{beyond.low:.3f}, {beyond.high:.3f}]"


def _complexity(features: Sequence[ColumnCorrelation], barred: str | None) -> Finding:
    claim = "the complexity of the prompt hardly predicts it"
    known = [feature for feature in features if feature.r.value is not None]
    if not known:
        return Finding(claim, "cannot tell", None, "no feature of the prompts is known and varies")
    strongest = max(known, key=lambda column: abs(column.r.value or 0.0))
    if barred is not None:
        return Finding(claim, "cannot tell", strongest.r, barred)
    # So many features are looked at that one looks strong by chance: Bonferroni's correction.
    joint = [_widened(column.r, len(known)) for column in known]
    verdicts = [_judged(figure, predicts=False) for figure in joint]
    verdict: Verdict = "cannot tell"
    if all(verdict == "holds" for verdict in verdicts):
        verdict = "holds"
    elif "does not hold" in verdicts:
        verdict = "does not hold"
    widest = _widened(strongest.r, len(known))
    why = (
        f"strongest of {len(known)} features is {strongest.column}: {_share_text(widest)} "
        f"(interval for all {len(known)} together){_beyond_text(strongest)}"
    )
    return Finding(claim, verdict, widest, why)


def _widened(figure: Figure, tests: int) -> Figure:
    """The figure with Fisher's interval at a level that holds for ``tests`` figures together."""
    if figure.value is None:
        return figure
    z = t_quantile(1 - 0.025 / tests, _NORMAL)
    bounds = fisher_interval(figure.value, figure.n, z)
    if bounds is None or figure.low is None or figure.high is None:
        return Figure(figure.value, figure.unit, n=figure.n, provenance=figure.provenance)
    return Figure(
        figure.value,
        figure.unit,
        min(figure.low, bounds[0]),
        max(figure.high, bounds[1]),
        figure.n,
        figure.provenance,
        "Fisher's z, Bonferroni",
    )


def _gpu_share(group: PromptGroup, resampler: Resampler) -> Finding:
    """GPU against CPU: the GPU's share of both, where both are of one provenance."""
    import numpy as np

    claim = "the GPU takes more than the CPU"
    cpu, gpu = group.parts["cpu"], group.parts["gpu"]
    missing = [name for name, part in (("CPU", cpu), ("GPU", gpu)) if not np.isfinite(part).any()]
    if missing:
        why = (
            f"no {group.provenance} energy of the {' or the '.join(missing)} here; energies of "
            "different provenance are not divided by each other"
        )
        return Finding(claim, "cannot tell", None, why)
    both = np.isfinite(cpu) & np.isfinite(gpu)
    if not both.any():
        return Finding(claim, "cannot tell", None, "no prompt has both energies")
    drawn = resampler if both.all() else group.resampler(0, both)
    share = bootstrap.ratio_of_sums(gpu[both], (cpu + gpu)[both], drawn)
    figure = Figure(
        share.value,
        "1",
        share.low,
        share.high,
        drawn.prompts,
        group.provenance,
        "ratio of sums; bootstrap over prompts",
    )
    verdict: Verdict = "cannot tell"
    if share.low is not None and share.high is not None and drawn.prompts >= _FEWEST:
        verdict = "holds" if share.low > 0.5 else "does not hold" if share.high < 0.5 else "cannot tell"
    return Finding(claim, verdict, figure, "the GPU's share of the energy of GPU and CPU")


def device_finding(groups: Sequence[PromptGroup], seed: int) -> Finding:
    """Whether devices differ in J/token for the same model, technique and provenance."""
    claim = "devices differ"
    known = [group for group in groups if group.device is not None]
    if not known:
        return Finding(claim, "cannot tell", None, "no device type is known")
    pairs = [
        (one, other)
        for one, other in combinations(known, 2)
        if one.device != other.device
        and (one.model, one.technique, one.provenance) == (other.model, other.technique, other.provenance)
    ]
    if not pairs:
        why = "no model was measured on two devices with energies of one provenance"
        return Finding(claim, "cannot tell", None, why)
    compared = [_compared(one, other, seed, len(pairs)) for one, other in pairs]
    verdict: Verdict = "cannot tell"
    if any(figure.low is not None and (figure.low > 1 or (figure.high or 1) < 1) for figure in compared):
        verdict = "holds"
    elif all(
        figure.low is not None and figure.high is not None and figure.low > 1 - _ALIKE and figure.high < 1 + _ALIKE
        for figure in compared
    ):
        verdict = "does not hold"
    largest = max(range(len(pairs)), key=lambda i: abs(math.log(compared[i].value or 1.0)))
    one, other = pairs[largest]
    why = (
        f"largest of {len(pairs)} pairs: J/token of {one.label} on {one.device} over that of "
        f"{other.label} on {other.device}; other prompts, runtimes or settings may be part of it"
    )
    return Finding(claim, verdict, compared[largest], why)


def _compared(one: PromptGroup, other: PromptGroup, seed: int, pairs: int) -> Figure:
    """Ratio of two groups' J/token, its interval holding for all pairs together."""
    z = t_quantile(1 - 0.025 / pairs, _NORMAL)
    logs: list[float] = []
    spreads: list[float] = []
    for place, group in enumerate((one, other)):
        quotient = bootstrap.ratio_of_sums(
            group.energy_j, group.quantities["response_token_length"], group.resampler(seed + place)
        )
        if quotient.value <= 0 or quotient.low is None or quotient.high is None or quotient.low <= 0:
            return Figure(None, "1", provenance=one.provenance, reason_if_null="no interval")
        logs.append(math.log(quotient.value))
        spreads.append((math.log(quotient.high) - math.log(quotient.low)) / (2 * t_quantile(0.975, _NORMAL)))
    ratio, half = logs[0] - logs[1], z * math.hypot(*spreads)
    return Figure(
        math.exp(ratio),
        "1",
        math.exp(ratio - half),
        math.exp(ratio + half),
        min(len(one.energy_j), len(other.energy_j)),
        one.provenance,
        "ratio of J/token; bootstrap over prompts",
    )
