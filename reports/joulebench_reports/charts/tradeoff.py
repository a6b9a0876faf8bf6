"""The chart of quality against cost, with the cells that no other beats in both.

One chart for each session, model, workload, scored text, unit and provenance: perplexities of
different texts have no common scale, and provenances never share an axis.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

from joulebench_reports.charts.labels import Mark, placed_names
from joulebench_reports.charts.specification import Chart, axis_title, chart_id, figure_row, look, tooltip
from joulebench_reports.charts.template import Json, filled
from joulebench_reports.values.figure import Figure
from joulebench_reports.values.figures import CellSummary
from joulebench_reports.values.pareto import Candidate, Front, Objective, pareto_front
from joulebench_reports.words.text import number, plain

NOTE: Final = (
    "Left is cheaper, down is better. Filled marks are on the front: no other cell is shown to be "
    "better in one and no worse in the other (intervals of energy that do not meet; perplexity has "
    "none)."
)
_HEIGHT_PX: Final = 340
#: Cells of the front that are named in words, and in the picture where there is room.
_MOST_NAMED: Final = 10
#: Of no more cells than this, those off the front are named too.
_ALL_NAMED: Final = 12
#: The least height of the perplexity's axis, as a share: differences of rounding must look small.
_LEAST_SPREAD: Final = 0.02
#: Perplexities that differ by less are the same model's, rounded otherwise.
_SAME: Final = 0.001
#: What is free around the marks, as a share of what they span.
_FREE: Final = 0.06
#: Costs that lie further apart (as a ratio) are drawn on an axis of logarithms.
_WIDE: Final = 8.0
#: With more cells than this, intervals of the front alone are drawn.
_MOST_INTERVALS: Final = 60
_HEADER: Final = ("cell", "energy", "perplexity", "provenance", "on the front")

_Group = tuple[str, str, str, str, str, str]


def tradeoff_charts(cells: Sequence[CellSummary]) -> list[Chart]:
    """A chart for each group of two cells or more that have both figures.

    None where all compute the same: between equal qualities there is nothing to trade off.
    """
    groups: dict[_Group, list[CellSummary]] = {}
    for cell in cells:
        head, quality = cell.headline, cell.quality
        if head.value is not None and quality.perplexity and head.provenance is not None:
            text = f"{quality.text or ''} {quality.tokens}"
            key = (cell.session, cell.model, cell.workload, text, head.unit, head.provenance)
            groups.setdefault(key, []).append(cell)
    return [_chart(key, group) for key, group in groups.items() if _differ(group)]


def _differ(cells: Sequence[CellSummary]) -> bool:
    perplexities = [cell.quality.perplexity for cell in cells if cell.quality.perplexity]
    return max(perplexities) > (1 + _SAME) * min(perplexities)


def front_of(cells: Sequence[CellSummary]) -> Front:
    """The Pareto front over energy and perplexity, by the cells' own figures."""
    best = min(cell.quality.perplexity or 0.0 for cell in cells)
    figures = {cell.id: cell.headline for cell in cells}

    def surely_less(one: str, other: str, objective: Objective) -> bool | None:
        return _below(figures[one], figures[other]) if objective == "energy" else None

    candidates = [
        Candidate(
            cell.id, cell.id, {"energy": cell.headline.value, "loss": (cell.quality.perplexity or 0.0) / best - 1}
        )
        for cell in cells
    ]
    return pareto_front(candidates, ("energy", "loss"), surely_less)


def _below(one: Figure, other: Figure) -> bool:
    """Whether one interval ends before the other begins."""
    return one.high is not None and other.low is not None and one.high < other.low


def _chart(key: _Group, cells: Sequence[CellSummary]) -> Chart:
    session, model, workload, text, unit, provenance = key
    about = ", ".join(plain(part) for part in (session, model, workload) if part)
    title = f"Quality against cost, {about} – {provenance}"
    front = set(front_of(cells).on)
    named = [cell for cell in cells if cell.id in front]
    front_words = ", ".join(plain(cell.label) for cell in named[:_MOST_NAMED])
    more = f" and {len(named) - _MOST_NAMED} more" if len(named) > _MOST_NAMED else ""
    return Chart(
        chart_id(f"{title} {unit} {text}"),
        title,
        provenance,
        f"{title}: perplexity against {unit} of {len(cells)} cells; on the front: {front_words}{more}. "
        "Every value is in the table below the chart",
        _spec(title, unit, provenance, cells, front),
        _HEADER,
        tuple(
            (
                cell.label,
                f"{cell.headline.text} {unit}",
                number(cell.quality.perplexity, 4),
                provenance,
                "yes" if cell.id in front else "no",
            )
            for cell in cells
        ),
    )


def _spec(title: str, unit: str, provenance: str, cells: Sequence[CellSummary], front: set[str]) -> Json:
    ordered = sorted((c for c in cells if c.id in front), key=lambda c: c.headline.value or 0.0)
    others = [cell for cell in cells if cell.id not in front]
    rows = [_row(cell, on_front=cell.id in front) for cell in cells]
    scales = _Scales.of(cells)
    named = [*ordered, *others] if len(cells) <= _ALL_NAMED else ordered
    return filled(
        "tradeoff",
        title=title,
        height=_HEIGHT_PX,
        rows=rows,
        front_rows=[_row(cell, on_front=True) for cell in ordered],
        interval_rows=[row for row in rows if row["front"] or len(cells) <= _MOST_INTERVALS],
        named_rows=_named_rows(scales, named[:_MOST_NAMED], [cell for cell in cells if cell not in named]),
        cost_scale=scales.cost.spec,
        perplexity_scale=scales.perplexity.spec,
        tooltip=tooltip(cell="cell", text=unit, perplexity_text="perplexity"),
        axis=axis_title(unit, provenance),
        **look(provenance),
    )


@dataclass(frozen=True, slots=True)
class _Scale:
    """An axis from ``low`` to ``high``, so that where a mark stands is known here too."""

    low: float
    high: float
    logarithmic: bool = False

    @property
    def spec(self) -> Json:
        """For Vega-Lite."""
        kind = {"type": "log"} if self.logarithmic else {"zero": False}
        return {**kind, "domain": [self.low, self.high], "nice": False}

    def share(self, value: float) -> float:
        """How far along the axis a value is, from 0 to 1."""
        if self.logarithmic:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def at(self, share: float) -> float:
        """The value so far along an axis that is not logarithmic."""
        return self.low + share * (self.high - self.low)


@dataclass(frozen=True, slots=True)
class _Scales:
    cost: _Scale
    perplexity: _Scale

    @classmethod
    def of(cls, cells: Sequence[CellSummary]) -> Self:
        costs = [cell.headline.value or 0.0 for cell in cells]
        return cls(_cost_scale(min(costs), max(costs)), _perplexity_scale(cells))

    def mark(self, cell: CellSummary) -> Mark:
        x = self.cost.share(cell.headline.value or 0.0)
        return Mark(x, 1 - self.perplexity.share(cell.quality.perplexity or 0.0), plain(cell.label))


def _cost_scale(low: float, high: float) -> _Scale:
    if low > 0 and high / low >= _WIDE:
        factor = (high / low) ** _FREE
        return _Scale(low / factor, high * factor, logarithmic=True)
    free = _FREE * (high - low) or 0.5 * abs(high) or 0.5
    return _Scale(max(0.0, low - free), high + free)


def _perplexity_scale(cells: Sequence[CellSummary]) -> _Scale:
    known = [cell.quality.perplexity or 0.0 for cell in cells]
    middle, half = (min(known) + max(known)) / 2, (max(known) - min(known)) / 2
    half = max(half, _LEAST_SPREAD * min(known) / 2) * (1 + 2 * _FREE)
    return _Scale(middle - half, middle + half)


def _named_rows(scales: _Scales, named: Sequence[CellSummary], others: Sequence[CellSummary]) -> list[Json]:
    """The names that find room, each with the height at which it stands."""
    names = placed_names([scales.mark(cell) for cell in named], [scales.mark(cell) for cell in others])
    return [
        {
            "cell": plain(named[name.index].label),
            "value": named[name.index].headline.value,
            "perplexity": named[name.index].quality.perplexity,
            "name_at": scales.perplexity.at(1 - name.y),
            "side": name.side,
            "joined": name.joined,
        }
        for name in names
    ]


def _row(cell: CellSummary, *, on_front: bool) -> Json:
    return {
        **figure_row(cell.label, cell.headline),
        "perplexity": cell.quality.perplexity,
        "front": on_front,
        "perplexity_text": number(cell.quality.perplexity, 4),
    }
