"""What a cell saves or costs against a baseline cell, as a value and in words."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal

from joulebench.api import Provenance
from joulebench.meter.comparison import ASSUMED_START_U, CellComparison
from joulebench_reports.words.text import MARKS, percent, plain, with_interval

Outcome = Literal["saves", "costs more", "no difference shown", "cannot tell"]

#: In front of why nothing can be said.
CANNOT_TELL: Final = "cannot tell"
HEADER: Final = ("cell", "energy against the baseline")


@dataclass(frozen=True, slots=True)
class Verdict:
    """One cell against the baseline; ``reason`` says why one cannot tell."""

    cell_id: str
    label: str
    provenance: Provenance | None
    comparison: CellComparison | None
    reason: str | None = None
    #: Kept, so that a JSON report has them too.
    outcome: Outcome = field(init=False)
    text: str = field(init=False)

    def __post_init__(self) -> None:
        outcome, text = _words(self.comparison, self.reason)
        marks = [MARKS.get(self.provenance or "measured", "")]
        if self.comparison is not None and "time_derived" in self.comparison.flags:
            marks.append("time-derived")
        marked = outcome != CANNOT_TELL and any(marks)
        object.__setattr__(self, "outcome", outcome)
        object.__setattr__(self, "text", f"{text} ({', '.join(filter(None, marks))})" if marked else text)


@dataclass(frozen=True, slots=True)
class VerdictTable:
    """All cells of one model and workload against one of them."""

    model: str
    workload: str
    baseline_id: str
    baseline: str
    verdicts: tuple[Verdict, ...]

    @property
    def caption(self) -> str:
        """What is compared."""
        return f"Energy against {plain(self.baseline)} ({plain(self.workload)})"

    @property
    def short_note(self) -> str:
        """How it was compared, in a line."""
        count = sum(verdict.comparison is not None for verdict in self.verdicts)
        together = f", for all {count} cells together" if count > 1 else ""
        return f"95 % intervals over common rounds{together}; --verbose says what is in them."

    @property
    def note(self) -> str:
        """How it was compared, and what the verdicts do not cover."""
        comparisons = [verdict.comparison for verdict in self.verdicts if verdict.comparison is not None]
        flags = {flag for comparison in comparisons for flag in comparison.flags}
        parts = [
            "In the rounds in which both cells took turns, with 95 % intervals. A difference is significant where "
            "the interval excludes zero."
        ]
        if len(comparisons) > 1:
            parts.append(
                f"The intervals hold for all {len(comparisons)} cells together (Bonferroni; decisions by Holm's "
                "rule): otherwise some of many cells would differ by chance."
            )
        parts += [text for flag, text in _NOTES.items() if flag in flags]
        if comparisons and "run_to_run" not in flags:
            parts.append("The spread from run to run was not measured on this machine and is not included.")
        return " ".join(parts)

    def rows(self) -> list[tuple[str, str]]:
        """Texts in the order of :data:`HEADER`."""
        return [(plain(verdict.label), plain(verdict.text)) for verdict in self.verdicts]


#: Flag of a comparison → what the table's note says of it.
_NOTES: Final = {
    "start_spread_assumed": f"Cells with fewer than three processes: process starts are assumed to differ by "
    f"{percent(ASSUMED_START_U)} (1 σ), which is included in the interval.",
    "model_error": "Estimated energies: the error of their model, 20 % (1 σ) or more, is included in the interval.",
    "time_derived": "Time-derived: at equal estimated power the ratio of energies only repeats that of times; "
    "the error of the model is included in the interval.",
    "run_to_run": "The spread from run to run, measured on this machine, is included in the interval.",
    "through_anchor": "Cells of different groups are compared through one that took turns with both.",
}


def _words(comparison: CellComparison | None, reason: str | None) -> tuple[Outcome, str]:
    if comparison is None or reason is not None:
        return CANNOT_TELL, f"{CANNOT_TELL}: {reason or 'no energy'}"
    if comparison.verdict == "lower":
        return "saves", f"saves {_share(comparison, -1)}"
    if comparison.verdict == "higher":
        return "costs more", f"costs {_share(comparison, 1)} more"
    if comparison.verdict == "no_difference" and not comparison.hidden:
        seen = comparison.smallest_detectable
        apart = "" if comparison.paired else "; not measured in turns"
        visible = seen is not None and seen < 1
        detected = f"would have detected ≥ {percent(seen)}{apart}"
        text = f"no significant difference ({detected})" if visible else f"inconclusive: too noisy{apart}"
        return "no difference shown", text
    return CANNOT_TELL, f"{CANNOT_TELL}: {_why(comparison)}"


def _share(comparison: CellComparison, sign: int) -> str:
    """The saving or the additional cost in per cent, with its interval."""
    ratios = (comparison.ratio, comparison.low, comparison.high)
    value, low, high = (None if r is None else sign * (r - 1) * 100 for r in ratios)
    bounds = sorted(bound for bound in (low, high) if bound is not None)
    return f"{with_interval(value, *bounds)} %" if len(bounds) == 2 else f"{value} %"


def _why(comparison: CellComparison) -> str:
    flags = comparison.flags
    if "too_few_blocks" in flags:
        return "too few blocks"
    if "no_positive_mean" in flags:
        return "the energy is not above zero"
    if not comparison.blocks_u_log:
        return "the blocks do not scatter at all"
    change = percent(abs((comparison.ratio or 1) - 1))
    change += " less" if (comparison.ratio or 1) < 1 else " more"
    if "too_few_rounds" in flags:
        return f"one common round is too few ({change}, if nothing drifted)"
    if "not_interleaved" in flags:
        return f"the cells did not take turns ({change}, if nothing drifted)"
    if "model_error" in flags or "time_derived" in flags:
        return f"{change} is within the error of the estimate's model"
    if "single_process" in flags:
        return f"one process each ({change}, if process starts do not differ)"
    if "few_processes" in flags:
        return f"two processes each ({change}, if process starts do not differ)"
    return f"{change} is within the spread from run to run"
