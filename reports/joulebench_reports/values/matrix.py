"""Models by backends: on which runtimes each model ran, whether it said the same there, and why not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from joulebench_reports.values.agreement import AgreementFigures, agrees_text
from joulebench_reports.values.figures import CellSummary
from joulebench_reports.words.text import UNKNOWN

#: ``ran``: there was nothing to compare, or nothing that a compressed model is held to.
MatrixOutcome = Literal["agrees", "disagrees", "ran", "failed", "skipped", "not measured"]


@dataclass(frozen=True, slots=True)
class MatrixEntry:
    """A model on a backend: its uncompressed cells, or where there are none, all of them.

    ``text`` is a short form of the outcome; ``reason`` is why cells of it have no figures.
    """

    backend: str
    outcome: MatrixOutcome
    cells: int
    ran: int
    text: str
    reason: str | None


@dataclass(frozen=True, slots=True)
class MatrixRow:
    """A model on each backend that it was planned for."""

    model: str
    entries: tuple[MatrixEntry, ...]

    def on(self, backend: str) -> MatrixEntry | None:
        """The entry of a backend."""
        return next((entry for entry in self.entries if entry.backend == backend), None)


def model_matrix(cells: Sequence[CellSummary]) -> tuple[MatrixRow, ...]:
    """A row for each model, in the order of the plan."""
    models: dict[str, dict[str, list[CellSummary]]] = {}
    for cell in cells:
        if cell.kernel is None:
            models.setdefault(cell.model, {}).setdefault(cell.backend, []).append(cell)
    return tuple(
        MatrixRow(model, tuple(_entry(backend, own) for backend, own in backends.items()))
        for model, backends in models.items()
    )


def _entry(backend: str, cells: Sequence[CellSummary]) -> MatrixEntry:
    own = [cell for cell in cells if cell.technique == "none"] or list(cells)
    ran = [cell for cell in own if cell.has_figures]
    missing = [cell for cell in own if not cell.has_figures]
    reason = next((cell.cause or cell.status for cell in missing), None)
    if not ran:
        outcome = _missing(missing)
        return MatrixEntry(backend, outcome, len(own), 0, outcome, reason)
    outcome, text = _agreement([cell.agreement for cell in ran if cell.agreement is not None])
    if missing:
        text = f"{text}, {len(ran)} of {len(own)} cells"
    return MatrixEntry(backend, outcome, len(own), len(ran), text, reason)


def _missing(cells: Sequence[CellSummary]) -> MatrixOutcome:
    """A failure says more than a skipped cell, and that more than one whose turn has not come."""
    statuses = {cell.status for cell in cells}
    if "failed" in statuses:
        return "failed"
    return "skipped" if "skipped" in statuses else "not measured"


def _agreement(known: Sequence[AgreementFigures]) -> tuple[MatrixOutcome, str]:
    """The worst of several comparisons with the reference."""
    for agreement in known:
        if agreement.disagrees:
            return "disagrees", agrees_text(agreement)
    compared = [agreement for agreement in known if agreement.compared]
    if compared and all(agreement.held for agreement in compared):
        return "agrees", "agrees"
    shares = dict.fromkeys(text for agreement in compared if (text := agrees_text(agreement)) != UNKNOWN)
    return "ran", f"ran, {next(iter(shares))}" if len(shares) == 1 else "ran"
