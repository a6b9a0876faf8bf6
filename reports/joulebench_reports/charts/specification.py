"""A chart: its specification, and the table that says the same in text.

Measured, estimated and simulated figures never share a chart. Energies, times and rates are
positive: no axis and no interval reaches below zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from joulebench_reports.charts.template import Json, filled
from joulebench_reports.values.figure import Figure
from joulebench_reports.words.text import number, plain

_SHAPES: Final = {"measured": "circle", "estimated": "triangle-up", "simulated": "square"}
_ROW_PX: Final = 34
_AXIS_PX: Final = 46
#: An interval whose ends are further apart (as a ratio) is drawn no further than the axis reaches.
_WIDEST: Final = 16.0
#: The axis reaches so many times the largest value, however wide an interval.
_MOST_BEYOND: Final = 2.0
#: Beyond the axis there is room for the texts of the bars: pixels of a letter, and of what is beside the text.
_LETTER_PX: Final = 7.2
_BESIDE_PX: Final = 18


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart: title, provenance of its figures, what it shows in words, and its data as rows."""

    id: str
    title: str
    provenance: str | None
    description: str
    spec: Json
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    #: Whether the reader needs the rows beside the picture.
    unfolded: bool = False


def bars(
    title: str, unit: str, figures: Sequence[tuple[str, Figure]], provenance: str | None, reference: float | None = None
) -> Chart:
    """A bar with its interval for each label; all figures are of one unit and provenance.

    ``reference`` is a value that a line is drawn at.
    """
    top = axis_top([figure for _, figure in figures])
    rows = [
        {**figure_row(label, figure), "end": min(top, max(figure.value or 0.0, figure.high or 0.0))}
        for label, figure in figures
    ]
    room = _BESIDE_PX + _LETTER_PX * max(len(row["text"]) for row in rows)
    spec = filled(
        "bars",
        title=title,
        height=_ROW_PX * len(figures) + _AXIS_PX,
        rows=rows,
        tooltip=tooltip(cell="cell", text=unit),
        axis=axis_title(unit, provenance),
        top=top,
        range=[0, {"expr": f"max(width - {room:.0f}, 40)"}],
        reference=reference,
        **look(provenance),
    )
    words = f"{title}: bars with 95 % intervals for {len(figures)} cells; every value is in the table below the chart"
    return Chart(chart_id(title), title, provenance, words, spec, figure_header(unit), figure_rows(figures))


def look(provenance: str | None) -> Json:
    """Colour and shape of figures of a provenance; what was not measured is not filled."""
    return {
        "colour": f"var:--{provenance or 'accent'}",
        "shape": _SHAPES.get(provenance or "", "circle"),
        "filled": provenance in (None, "measured"),
    }


def axis_title(unit: str, provenance: str | None) -> str:
    """``J/token (estimated)``."""
    return f"{unit} ({provenance})" if provenance else unit


def axis_top(figures: Sequence[Figure]) -> float:
    """Where an axis ends that begins at zero: past every value, and past intervals that are not too wide."""
    largest = max((figure.value or 0.0 for figure in figures), default=0.0)
    ends = (figure.high or 0.0 for figure in figures)
    return min(max(largest, *ends, 0.0), _MOST_BEYOND * largest) or 1.0


def tooltip(**titles: str) -> list[Json]:
    """What a mark says when it is pointed at: field → title."""
    return [{"field": field, "type": "nominal", "title": title} for field, title in titles.items()]


def figure_text(figure: Figure) -> str:
    """The figure beside its mark; of an interval that says nothing only that."""
    bounded = not figure.is_range and figure.low is not None and figure.high is not None
    if bounded and (figure.high or 0.0) > _WIDEST * max(figure.low or 0.0, 0.0):
        return f"{number(figure.value)}, too noisy"
    return figure.text


def figure_row(label: str, figure: Figure) -> Json:
    """The data of a mark with its interval, which no picture shows below zero."""
    row = {"cell": plain(label), "value": figure.value, "text": figure_text(figure)}
    if figure.low is None or figure.high is None:
        return row
    return {**row, "low": max(0.0, figure.low), "high": figure.high}


def chart_id(title: str) -> str:
    """An element's id made of a title."""
    return "chart-" + "".join(c if c.isalnum() else "-" for c in title.lower())


def figure_header(unit: str) -> tuple[str, ...]:
    """Of :func:`figure_rows`."""
    return ("cell", unit, "n", "provenance", "method")


def figure_rows(figures: Sequence[tuple[str, Figure]]) -> tuple[tuple[str, ...], ...]:
    """A chart's figures as texts."""
    return tuple(
        (label, figure.text, str(figure.n), figure.provenance or "", figure.method) for label, figure in figures
    )
