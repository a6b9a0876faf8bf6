"""A survey's claims about compression, with the verdict of this session's cells: values and words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from joulebench_reports.words.text import plain

ClaimVerdict = Literal["confirmed here", "refuted here", "not testable here"]
CaseOutcome = Literal["does", "does not", "open"]

HEADER: Final = ("claim", "verdict", "by these figures")
#: Cells of each outcome whose figures the claim's text has; the table has all.
_MOST_SHOWN: Final = 3


@dataclass(frozen=True, slots=True)
class Case:
    """One cell held against a claim, with its figures in words."""

    label: str
    outcome: CaseOutcome
    figures: str


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim, how it was read, and what the cells say of it."""

    text: str
    reading: str
    verdict: ClaimVerdict
    cases: tuple[Case, ...]

    @property
    def why(self) -> str:
        """The verdict's ground: how many cells did it, and the figures of each kind."""
        if not self.cases:
            return f"no such cell in this session. {self.reading}"
        counts = ", ".join(
            f"{words} {sum(case.outcome == outcome for case in self.cases)}"
            for outcome, words in (("does", "holds for"), ("does not", "fails for"), ("open", "open for"))
        )
        figures = "; ".join(f"{plain(case.label)}: {case.figures}" for case in _first_of_each(self.cases))
        return f"{counts} of {len(self.cases)}. {figures}. {self.reading}"


def _first_of_each(cases: Sequence[Case]) -> list[Case]:
    return [
        case
        for outcome in ("does", "does not", "open")
        for case in [case for case in cases if case.outcome == outcome][:_MOST_SHOWN]
    ]
