"""The grade of trust in a group of cells. docs/answer.md has the rule in words.

Each reason holds the grade down to its own; the worst decides.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from joulebench_reports.values.answers import Grade, Trust, TrustReason
from joulebench_reports.values.figures import CellSummary
from joulebench_reports.words.flags import FLAGS
from joulebench_reports.words.text import counted, percent

#: Share of disturbed blocks from which on the grade is no better.
DISTURBED_SHARES: Final[tuple[tuple[float, Grade], ...]] = ((0.30, "D"), (0.10, "C"), (0.02, "B"))
#: Relative half width of the 95 % interval from which on the grade is no better.
WIDTHS: Final[tuple[tuple[float, Grade], ...]] = ((0.50, "D"), (0.20, "C"), (0.05, "B"))
_ORDER: Final = "ABCD"


def trust_of(cells: Sequence[CellSummary]) -> Trust:
    """The grade of a group: that of its least trusted cell, reasons of the same words once."""
    reasons = dict.fromkeys(reason for part in (_energy(cells), _blocks(cells), _flags(cells)) for reason in part)
    ordered = tuple(sorted(reasons, key=lambda reason: _ORDER.index(reason.grade), reverse=True))
    return Trust(ordered[0].grade if ordered else "A", ordered)


def distrust_of_energy(cells: Sequence[CellSummary]) -> TrustReason | None:
    """Why the energies of a group are not to be used at all; ``None`` where they are."""
    return next((reason for reason in trust_of(cells).reasons if reason.grade == "D"), None)


def distrust_of_times(cells: Sequence[CellSummary]) -> TrustReason | None:
    """The same of its times, which need no energy."""
    return next((reason for reason in _blocks(cells) if reason.grade == "D"), None)


def _energy(cells: Sequence[CellSummary]) -> Iterator[TrustReason]:
    provenances = {cell.headline.provenance for cell in cells if cell.headline.value is not None}
    without = [cell for cell in cells if cell.headline.value is None]
    if len(without) == len(cells):
        yield TrustReason("D", "no cell has an energy", "joulebench doctor")
    elif without:
        yield TrustReason("B", f"{counted(len(without), 'cell')} of {len(cells)} without an energy", "")
    if "estimated" in provenances:
        scales = [e.scale_relative_uncertainty for cell in cells for e in cell.energy if e.provenance == "estimated"]
        known = [scale for scale in scales if scale is not None]
        wide = f" (±{percent(max(known))} in scale, 1 σ)" if known else ""
        yield TrustReason("C", f"energy is estimated, not measured{wide}", "an energy sensor: joulebench doctor")
    if "simulated" in provenances:
        yield TrustReason("C", "energy is simulated", "the board itself")
    widths = [width for cell in cells if (width := _relative_width(cell)) is not None]
    widest = max(widths, default=0.0)
    for limit, grade in WIDTHS:
        if widest > limit:
            yield TrustReason(grade, f"the widest interval is ± {percent(widest)}", "more blocks, a quieter machine")
            return


def _relative_width(cell: CellSummary) -> float | None:
    figure = cell.headline
    if figure.is_range or figure.half_width is None or not figure.value:
        return None
    return figure.half_width / abs(figure.value)


def _blocks(cells: Sequence[CellSummary]) -> Iterator[TrustReason]:
    blocks = sum(cell.blocks for cell in cells)
    disturbed = sum(cell.disturbed_blocks for cell in cells)
    for limit, grade in DISTURBED_SHARES:
        if blocks and disturbed / blocks > limit:
            text = f"{disturbed} of {blocks} blocks were disturbed by other processes or a lowered clock"
            yield TrustReason(grade, text, "a quiet machine: joulebench run --until-quiet")
            return


def _flags(cells: Sequence[CellSummary]) -> Iterator[TrustReason]:
    present = {flag.flag for cell in cells for flag in cell.flags}
    for flag, meaning in FLAGS.items():
        if flag in present and meaning.grade is not None:
            yield TrustReason(meaning.grade, meaning.reason, meaning.cure)
