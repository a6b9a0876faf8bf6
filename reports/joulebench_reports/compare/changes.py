"""Two runs against each other: which figures became worse, and how sure that is.

A figure became **worse** where its change for the worse is larger than the threshold *and* the
interval of the change excludes "no change". Both are needed: the first keeps what is real but
does not matter from failing anybody's build, the second what may be chance. The intervals hold
at 95 % for all figures of the comparison together, since a build that looks at fifty figures would
else fail by chance every other time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from joulebench.meter.comparison import CellComparison, LogMean, compare_apart, widened_by
from joulebench.meter.multiplicity import corrected_for_many
from joulebench_reports.compare.differences import Difference, differences, same_sensor_scale
from joulebench_reports.compare.matching import match
from joulebench_reports.compare.side import METRIC_GROUPS, METRICS, Estimate, MetricGroup, Side, SideCell
from joulebench_reports.judging.ratios import MODEL_U, RUN_TO_RUN, as_spread

Verdict = Literal["worse", "better", "small", "no_change", "cannot_tell", "not_compared"]

#: Change for the worse that is a regression if nothing else is asked for.
DEFAULT_THRESHOLD: Final = 0.05
#: Verdicts of figures that could be compared.
COMPARED: Final = ("worse", "better", "small", "no_change")


@dataclass(frozen=True, slots=True)
class Change:
    """One figure of one cell on both sides.

    ``change`` is relative (0.1: ten per cent more), ``low`` and ``high`` bound its interval at
    ``level``; they are ``None`` for a figure that has no scatter, which the threshold alone
    judges. ``reason`` says why there is no verdict, or what limits it.
    """

    cell: str
    metric: str
    unit: str
    provenance: str | None
    before: Estimate | None
    after: Estimate | None
    threshold: float
    verdict: Verdict
    change: float | None = None
    low: float | None = None
    high: float | None = None
    level: float | None = None
    p_value: float | None = None
    smallest_detectable: float | None = None
    reason: str | None = None

    @property
    def blind(self) -> bool:
        """Whether a change as large as the threshold would have been missed by chance."""
        detectable = self.smallest_detectable
        return detectable is not None and detectable > self.threshold

    @property
    def title(self) -> str:
        """``J/token (measured)`` or the metric's name."""
        if self.metric == "energy":
            return f"{self.unit} ({self.provenance})" if self.provenance else self.unit
        return self.unit if self.metric == "rate" else METRICS[self.metric].title


@dataclass(frozen=True, slots=True)
class RunComparison:
    """Two runs: what changed, in what they differ, and what one of them alone has."""

    baseline: Side
    current: Side
    thresholds: Mapping[MetricGroup, float]
    changes: tuple[Change, ...]
    differences: tuple[Difference, ...]
    only_baseline: tuple[tuple[SideCell, str], ...]
    only_current: tuple[tuple[SideCell, str], ...]
    #: Whether a figure that cannot be decided is a failure.
    strict: bool = False

    @property
    def same_session(self) -> bool:
        """Whether both sides are one session, or copies of it."""
        return self.baseline.identity == self.current.identity

    def with_verdict(self, *verdicts: Verdict) -> list[Change]:
        """The changes that have one of these verdicts."""
        return [change for change in self.changes if change.verdict in verdicts]

    @property
    def undecided(self) -> list[Change]:
        """Figures of which nothing is shown: no verdict, or one that would have missed the threshold."""
        blind = [change for change in self.with_verdict("no_change") if change.blind]
        return [*self.with_verdict("cannot_tell"), *blind]

    @property
    def exit_code(self) -> int:
        """3: a regression; 4: a figure is undecided, if that counts; 1: nothing could be compared; otherwise 0."""
        if self.with_verdict("worse"):
            return 3
        if not self.with_verdict(*COMPARED):
            return 1
        return 4 if self.strict and self.undecided else 0


def compare_sides(
    baseline: Side,
    current: Side,
    groups: Sequence[MetricGroup] = METRIC_GROUPS,
    thresholds: Mapping[MetricGroup, float] | None = None,
    ignored: Sequence[str] = (),
) -> RunComparison:
    """Compare the cells that both sides have.

    ``ignored`` names parts of a cell's identity (``backend.threads``) that may differ. Raises
    :class:`~joulebench.errors.JoulebenchError` where that leaves several cells that are alike.
    """
    limits = {group: (thresholds or {}).get(group, DEFAULT_THRESHOLD) for group in METRIC_GROUPS}
    matched = match(baseline, current, ignored)
    differing = differences(baseline, current, matched.pairs)
    spreads = [as_spread(side.state.get(RUN_TO_RUN)) for side in (baseline, current)]
    beyond = _Beyond(same_sensor_scale(differing), max((u for u in spreads if u is not None), default=None))
    raw = [change for before, after in matched.pairs for change in _changes(before, after, groups, limits, beyond)]
    return RunComparison(
        baseline, current, limits, _judged(raw), differing, matched.only_baseline, matched.only_current
    )


_Raw = tuple[Change, CellComparison | None]


@dataclass(frozen=True, slots=True)
class _Beyond:
    """What no block sees: whether both sensors share their scale, and the spread from run to run."""

    same_scale: bool
    run_to_run_u: float | None


def _changes(
    before: SideCell,
    after: SideCell,
    groups: Sequence[MetricGroup],
    limits: Mapping[MetricGroup, float],
    beyond: _Beyond,
) -> list[_Raw]:
    changes: list[_Raw] = []
    for name, metric in METRICS.items():
        if metric.group not in groups:
            continue
        ours = {estimate.provenance: estimate for estimate in after.estimates if estimate.metric == name}
        theirs = {estimate.provenance: estimate for estimate in before.estimates if estimate.metric == name}
        if not ours and not theirs:
            continue
        common = [key for key in theirs if key in ours]
        for key in dict.fromkeys([*theirs, *ours]):
            empty = Change(
                after.label,
                name,
                (ours.get(key) or theirs[key]).unit,
                key,
                theirs.get(key),
                ours.get(key),
                limits[metric.group],
                "not_compared",
            )
            if key in common:
                changes.append(_pair(empty, theirs[key], ours[key], beyond))
            elif not common and theirs and ours:
                other = "/".join(str(key_of_side) for key_of_side in (ours if key in theirs else theirs))
                text = f"{key} against {other}: energies of different provenance have no ratio"
                changes.append((replace(empty, reason=text), None))
            else:
                side, cell = ("current", after) if key in theirs else ("baseline", before)
                why = cell.absent.get(name) or f"no {key} energy"
                changes.append((replace(empty, reason=f"not in {side}: {why}"), None))
    return changes


def _pair(empty: Change, before: Estimate, after: Estimate, beyond: _Beyond) -> _Raw:
    if before.unit != after.unit:
        return replace(empty, reason=f"{before.unit} against {after.unit}"), None
    if before.metric == "perplexity" and before.basis != after.basis:
        return replace(empty, reason=f"scored on {before.basis} against {after.basis}"), None
    change = after.value / before.value - 1
    if not METRICS[empty.metric].scatters:
        return replace(empty, change=change), None
    comparison = compare_apart(_log(after), _log(before))
    if beyond.run_to_run_u is not None:
        comparison = widened_by(comparison, beyond.run_to_run_u, "run_to_run")
    if before.provenance == "estimated":
        comparison = widened_by(comparison, MODEL_U, "model_error")
    if not beyond.same_scale or before.basis != after.basis:
        # On another machine or sensor the scales' own uncertainties do not cancel in the ratio.
        scale = math.hypot(before.scale_u or 0.0, after.scale_u or 0.0)
        comparison = widened_by(comparison, scale, "systematic")
    return replace(empty, change=change), comparison


def _log(estimate: Estimate) -> LogMean:
    return LogMean(math.log(estimate.value), estimate.u, estimate.df, estimate.n, estimate.processes)


def _judged(raw: Sequence[_Raw]) -> tuple[Change, ...]:
    """The changes with their intervals at the corrected level, and their verdicts."""
    places = [i for i, (_, comparison) in enumerate(raw) if comparison is not None]
    corrected = dict(zip(places, corrected_for_many([c for _, c in raw if c is not None]), strict=True))
    return tuple(_verdict(change, corrected.get(i)) for i, (change, _) in enumerate(raw))


def _verdict(change: Change, comparison: CellComparison | None) -> Change:
    if change.change is None:
        return change
    metric = METRICS[change.metric]
    worse = -change.change if metric.higher_is_better else change.change
    beyond: Verdict = "worse" if worse > 0 else "better"
    large = abs(change.change) > change.threshold
    if comparison is None:
        verdict: Verdict = beyond if large else ("small" if change.change else "no_change")
        return replace(change, verdict=verdict)
    if comparison.low is None or comparison.high is None or not comparison.blocks_u_log:
        if comparison.blocks_u_log == 0 and change.change == 0:
            return replace(change, verdict="no_change", reason="no scatter, and no change")
        why = "no scatter at all" if comparison.blocks_u_log == 0 else "too few blocks for an interval"
        return replace(change, verdict="cannot_tell", reason=why)
    seen = replace(
        change,
        low=comparison.low - 1,
        high=comparison.high - 1,
        level=comparison.level,
        p_value=comparison.p_value,
        smallest_detectable=comparison.smallest_detectable,
    )
    if comparison.low <= 1 <= comparison.high:
        return replace(seen, verdict="no_change", reason=_blindness(seen))
    return replace(seen, verdict=beyond if large else "small")


def _blindness(change: Change) -> str | None:
    """Said where a regression of the threshold's size would not have been seen either."""
    if not change.blind or change.smallest_detectable is None:
        return None
    if change.smallest_detectable > 1:
        return "too noisy"
    return f"would have detected ≥ {100 * change.smallest_detectable:.1f} %"
