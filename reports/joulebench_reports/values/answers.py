"""The answer of a session in one glance: what does best, by how much, at what quality, how sure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from joulebench.api import Provenance
from joulebench_reports.values.figure import Figure
from joulebench_reports.values.verdicts import Verdict

Goal = Literal["least energy", "fastest", "smallest"]
Grade = Literal["A", "B", "C", "D"]


@dataclass(frozen=True, slots=True)
class Pick:
    """The cell that does best by one goal among those that keep their quality.

    ``shown`` is whether it is shown to be best; otherwise ``undecided`` may be better, and
    ``figure`` is the lowest (or, of a rate, highest) estimate. ``against`` compares it with the
    baseline: ``None`` for the baseline itself and for memory, whose ``saving`` alone is known.
    """

    goal: Goal
    cell_id: str
    label: str
    figure: Figure
    against: Verdict | None
    saving: str
    shown: bool
    as_good: tuple[str, ...]
    undecided: tuple[str, ...]
    #: What another run needs to decide; ``None`` where it is decided.
    cure: str | None


@dataclass(frozen=True, slots=True)
class TrustReason:
    """Why the trust is no higher than ``grade``, and what would raise it (empty: nothing known)."""

    grade: Grade
    text: str
    cure: str


@dataclass(frozen=True, slots=True)
class Trust:
    """How far the ranking can be trusted: A as good as it gets, D not to be used.

    ``reasons`` begin with those that decide; of grade A there are none.
    """

    grade: Grade
    reasons: tuple[TrustReason, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer for one model and workload.

    ``left_out`` are cells that are out of the question, such as for their loss of quality, each with why.
    """

    model: str
    workload: str
    cells: int
    baseline: str
    provenance: Provenance | None
    picks: tuple[Pick, ...]
    quality: str
    left_out: tuple[tuple[str, str], ...]
    trust: Trust
    #: Why there is no pick.
    reason: str | None = None
