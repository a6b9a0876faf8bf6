"""What sections are made from."""

from __future__ import annotations

from dataclasses import dataclass

from joulebench_reports.sections.view import DEFAULT_VIEW, NO_PRICES, Prices, View
from joulebench_reports.summary.joining import Sources
from joulebench_reports.values.figures import CellSummary, SessionSummary
from joulebench_reports.values.options import MOST_TIMELINES


@dataclass(frozen=True, slots=True)
class Material:
    """A summary and, where readings and requests are shown too, the sessions that have them.

    ``timelines`` is the number of cells whose readings over time are shown, ``view`` the reader's choice
    of the table of cells, ``prices`` what energies are turned into.
    """

    summary: SessionSummary
    sources: Sources | None = None
    timelines: int = MOST_TIMELINES
    view: View = DEFAULT_VIEW
    prices: Prices = NO_PRICES


@dataclass(frozen=True, slots=True)
class MachinePart:
    """The cells of one session of a report: limits of one machine are none of another's."""

    cells: tuple[CellSummary, ...]
    name: str
    place: int

    def id(self, subject: str) -> str:
        """The section's id, with the session's number where there are several."""
        return f"{subject}-{self.place}" if self.name else subject

    def heading(self, text: str) -> str:
        """The section's heading, with the session's name where there are several."""
        return f"{text}: {self.name}" if self.name else text


def parts_of(summary: SessionSummary) -> list[MachinePart]:
    """The cells with figures, session by session."""
    parts = summary.parts or (summary,)
    return [MachinePart(part.shown, part.name, place) for place, part in enumerate(parts, start=1)]
