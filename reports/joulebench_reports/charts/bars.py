"""Charts that set cells side by side: energy per unit of work, speed.

Of many cells a picture of bars has the first by rank alone; a strip shows where all of them lie,
group by group.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from joulebench.api import PROVENANCES
from joulebench_reports.charts.specification import (
    Chart,
    axis_title,
    bars,
    chart_id,
    figure_header,
    figure_row,
    figure_rows,
    look,
    tooltip,
)
from joulebench_reports.charts.template import filled
from joulebench_reports.values.figure import Figure
from joulebench_reports.values.figures import CellSummary
from joulebench_reports.words.text import plain

#: Cells that are all drawn as bars; of more, so many of the best.
MOST_BARS: Final = 40
TOP: Final = 24
#: Groups of a strip: fewer say nothing, more cannot be read.
_MOST_GROUPS: Final = 24
_STRIP_ROW_PX: Final = 26
_STRIP_AXIS_PX: Final = 46
#: What cells may be grouped by, the finest first.
_AXES: Final = (
    ("session", "workload", "backend", "technique"),
    ("workload", "backend", "technique"),
    ("backend", "technique"),
    ("workload", "technique"),
    ("workload", "backend"),
    ("technique",),
    ("backend",),
    ("workload",),
    ("model",),
    ("session",),
)

Entry = tuple[CellSummary, Figure]


def comparison_charts(cells: Sequence[CellSummary]) -> list[Chart]:
    """Energy per unit of work, by unit and provenance; then speed."""
    return [*energy_charts(cells), *rate_charts(cells)]


def _comparable(cells: Sequence[CellSummary]) -> list[CellSummary]:
    """A model's operators have charts of their own: a call of one is no unit of another."""
    return [cell for cell in cells if cell.kernel is None or not cell.kernel.per_token]


def energy_charts(cells: Sequence[CellSummary]) -> list[Chart]:
    """Energy per unit of work (of a workload whose unit is a second: power), by unit and provenance."""
    charts: list[Chart] = []
    cells = _comparable(cells)
    for provenance in PROVENANCES:
        by_unit: dict[str, list[Entry]] = {}
        for cell in cells:
            for energy in cell.energy:
                if energy.provenance == provenance and energy.gross.value is not None:
                    by_unit.setdefault(energy.gross.unit, []).append((cell, energy.gross))
        for unit, entries in by_unit.items():
            what = "Idle power" if unit == "W" else "Energy per unit of work"
            title = f"{what}, {unit} – {provenance}"
            charts += ranked(title, unit, entries, provenance, lowest=True)
    return charts


def rate_charts(cells: Sequence[CellSummary]) -> list[Chart]:
    """Speed of decoding and of prefill."""
    charts: list[Chart] = []
    cells = _comparable(cells)
    for what, pick in _RATES:
        for simulated in (False, True):
            rates = [
                (cell, pick(cell)) for cell in cells if cell.simulated == simulated and pick(cell).value is not None
            ]
            # A simulated device's seconds are none of this machine's.
            kind = "simulated" if simulated else None
            title = f"{what}, tok/s – {kind}" if kind else f"{what}, tok/s"
            charts += ranked(title, "tok/s", rates, kind, lowest=False) if rates else []
    return charts


def _decode_rate(cell: CellSummary) -> Figure:
    return cell.speed.decode_tok_s


def _prefill_rate(cell: CellSummary) -> Figure:
    return cell.speed.prefill_tok_s


_RATES: Final[tuple[tuple[str, Callable[[CellSummary], Figure]], ...]] = (
    ("Decode speed", _decode_rate),
    ("Prefill speed", _prefill_rate),
)


def ranked(title: str, unit: str, entries: Sequence[Entry], provenance: str | None, *, lowest: bool) -> list[Chart]:
    """All as bars, the best first, where they are few; else a strip of all and bars of the best."""
    ordered = sorted(entries, key=lambda entry: entry[1].value or 0.0, reverse=not lowest)
    if len(entries) <= MOST_BARS:
        return [bars(title, unit, _labelled(ordered), provenance)]
    word = "lowest" if lowest else "highest"
    best = ordered[:TOP]
    top = f"{title}: the {TOP} {word} of {len(entries)}"
    return [
        strip(f"{title}: all {len(entries)} cells", unit, entries, provenance),
        bars(top, unit, _labelled(best), provenance),
    ]


def _labelled(entries: Sequence[Entry]) -> list[tuple[str, Figure]]:
    return [(cell.label, figure) for cell, figure in entries]


def strip(title: str, unit: str, entries: Sequence[Entry], provenance: str | None) -> Chart:
    """A tick for each cell in the row of its group, and a longer one at the group's median."""
    groups = group_names([cell for cell, _ in entries])
    names = sorted(set(groups.values()))
    spec = filled(
        "strip",
        title=title,
        height=_STRIP_ROW_PX * len(names) + _STRIP_AXIS_PX,
        rows=[{**figure_row(cell.label, figure), "group": groups[cell.id]} for cell, figure in entries],
        groups=names,
        tooltip=tooltip(cell="cell", text=unit),
        axis=axis_title(unit, provenance),
        **look(provenance),
    )
    return Chart(
        chart_id(title),
        title,
        provenance,
        f"{title}: a mark for each cell in {len(names)} groups, a longer one at each group's "
        "median; every value is in the table below the chart",
        spec,
        figure_header(unit),
        figure_rows(_labelled(entries)),
    )


def group_names(cells: Sequence[CellSummary]) -> dict[str, str]:
    """The group of each cell by its id: by what tells them apart in a number that can be read."""
    for axes in _AXES:
        telling = [axis for axis in axes if len({getattr(cell, axis) for cell in cells}) > 1]
        names = {cell.id: " · ".join(plain(getattr(cell, axis)) for axis in telling) for cell in cells}
        if 1 < len(set(names.values())) <= _MOST_GROUPS:
            return names
    return {cell.id: "all" for cell in cells}
