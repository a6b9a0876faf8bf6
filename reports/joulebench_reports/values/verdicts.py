"""What a cell saves or costs against a baseline cell, as a value and in words."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal

from joulebench.api import Option, Provenance, Settings
from joulebench.meter.comparison import CellComparison
from joulebench_reports.words.text import MARKS, percent, plain, with_interval

Outcome = Literal["saves", "costs more", "no difference shown", "cannot tell"]

#: In front of why nothing can be said.
CANNOT_TELL: Final = "cannot tell"
HEADER: Final = ("cell", "energy against the baseline")
#: Of every renderer that shows verdicts.
BASELINE: Final = Option("baseline", "str", None, "label or id of the cell that the others are held against")


def baseline_of(settings: Settings) -> str | None:
    """The value of :data:`BASELINE`."""
    return None if settings.get("baseline") is None else str(settings["baseline"])


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
        mark = MARKS.get(self.provenance or "measured", "")
        told = outcome != CANNOT_TELL and mark
        object.__setattr__(self, "outcome", outcome)
        object.__setattr__(self, "text", f"{text} ({mark})" if told else text)


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
    def note(self) -> str:
        """How it was compared, and what the verdicts do not cover."""
        told = [each.comparison for each in self.verdicts if each.comparison is not None]
        text = (
            "In the rounds in which both cells took turns, with 95 % intervals. A difference is "
            "claimed where the interval excludes none."
        )
        if len(told) > 1:
            text += (
                f" The intervals hold for all {len(told)} cells together (Holm's correction): of "
                "many cells some would else differ by chance."
            )
        claims = [c for c in told if c.verdict in ("lower", "higher")]
        if any("single_process" in claim.flags for claim in claims):
            text += (
                " Claims rest on one process of a cell: how processes differ from start to start "
                "is not in the interval."
            )
        return text

    def rows(self) -> list[tuple[str, str]]:
        """Texts in the order of :data:`HEADER`."""
        return [(plain(each.label), plain(each.text)) for each in self.verdicts]


def _words(comparison: CellComparison | None, reason: str | None) -> tuple[Outcome, str]:
    if comparison is None or reason is not None:
        return CANNOT_TELL, f"{CANNOT_TELL}: {reason or 'no energy'}"
    if comparison.verdict == "lower":
        return "saves", f"saves {_share(comparison, -1)}"
    if comparison.verdict == "higher":
        return "costs more", f"costs {_share(comparison, 1)} more"
    if comparison.verdict == "no_difference":
        seen = comparison.smallest_detectable
        apart = "" if comparison.paired else "; not measured in turns"
        visible = seen is not None and seen < 1
        why = f"one of {percent(seen)} would have been" if visible else "too noisy to see any"
        return "no difference shown", f"no difference shown: {why}{apart}"
    return CANNOT_TELL, f"{CANNOT_TELL}: {_why(comparison)}"


def _share(comparison: CellComparison, sign: int) -> str:
    """The saving or the additional cost in per cent, with its interval."""
    ratios = (comparison.ratio, comparison.low, comparison.high)
    value, low, high = (None if r is None else sign * (r - 1) * 100 for r in ratios)
    bounds = sorted(each for each in (low, high) if each is not None)
    return f"{with_interval(value, *bounds)} %" if len(bounds) == 2 else f"{value} %"


def _why(comparison: CellComparison) -> str:
    if "too_few_blocks" in comparison.flags:
        return "too few blocks"
    if "no_positive_mean" in comparison.flags:
        return "the energy is not above zero"
    if not comparison.u_log:
        return "the blocks do not scatter at all"
    change = percent(abs((comparison.ratio or 1) - 1))
    less = "less" if (comparison.ratio or 1) < 1 else "more"
    return f"the cells did not take turns ({change} {less}, if nothing drifted)"
