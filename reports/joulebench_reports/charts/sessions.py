"""Several sessions in one picture: the same cells side by side, and over time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from joulebench_reports.charts.specification import Chart, axis_title, axis_top, chart_id, figure_row, tooltip
from joulebench_reports.charts.template import filled
from joulebench_reports.values.figures import CellSummary, SessionSummary
from joulebench_reports.words.text import plain

#: As many sessions as there are colours, and as many cells as one can compare.
_MOST_SESSIONS: Final = 8
_MOST_CELLS: Final = 24
#: Fewer sessions make no history.
_FEWEST_IN_TIME: Final = 3
_BAR_PX: Final = 16
_AXIS_PX: Final = 80
_HEADER: Final = ("cell", "session", "energy", "provenance")

#: A cell's own label → the sessions that have it, with the cell there.
_Shared = dict[str, list[tuple[SessionSummary, CellSummary]]]


def session_charts(parts: Sequence[SessionSummary]) -> list[Chart]:
    """For each unit and provenance: cells that several sessions have, side by side; of three on, over time."""
    charts: list[Chart] = []
    for (unit, provenance), shared in _by_scale(parts).items():
        charts += _sides(unit, provenance, shared)
        charts += _history(unit, provenance, shared)
    return charts


def _by_scale(parts: Sequence[SessionSummary]) -> dict[tuple[str, str], _Shared]:
    scales: dict[tuple[str, str], _Shared] = {}
    for part in parts:
        for cell in part.shown:
            head = cell.headline
            if head.value is not None and head.provenance is not None:
                own = cell.label.removeprefix(f"{part.name} · ")
                label = f"{cell.model}: {own}" if len({c.model for p in parts for c in p.shown}) > 1 else own
                scales.setdefault((head.unit, head.provenance), {}).setdefault(label, []).append((part, cell))
    return {
        scale: several
        for scale, shared in scales.items()
        if (several := {label: entries for label, entries in shared.items() if len(entries) > 1})
    }


def _sides(unit: str, provenance: str, shared: _Shared) -> Iterator[Chart]:
    names = list(dict.fromkeys(plain(part.name) for entries in shared.values() for part, _ in entries))
    if len(names) > _MOST_SESSIONS:
        return
    kept = dict(list(shared.items())[:_MOST_CELLS])
    more = f": {_MOST_CELLS} of {len(shared)} cells" if len(shared) > _MOST_CELLS else ""
    title = f"Sessions side by side, {unit} – {provenance}{more}"
    figures = [(label, part, cell.headline) for label, entries in kept.items() for part, cell in entries]
    yield Chart(
        chart_id(title),
        title,
        provenance,
        f"{title}: bars with 95 % intervals for {len(kept)} cells of {len(names)} sessions; every value is in the "
        "table below the chart",
        filled(
            "sides",
            title=title,
            height=_BAR_PX * len(figures) + _AXIS_PX,
            rows=[{**figure_row(label, figure), "session": plain(part.name)} for label, part, figure in figures],
            sessions=names,
            tooltip=tooltip(cell="cell", session="session", text=unit),
            axis=axis_title(unit, provenance),
            top=axis_top([figure for _, _, figure in figures]),
        ),
        _HEADER,
        tuple((label, part.name, f"{figure.text} {unit}", provenance) for label, part, figure in figures),
    )


def _history(unit: str, provenance: str, shared: _Shared) -> Iterator[Chart]:
    """Cells over the times of their sessions, those of one machine and model in a line."""
    dated = {label: [entry for entry in entries if entry[0].created_at] for label, entries in shared.items()}
    long = {
        label: entries
        for label, entries in dated.items()
        if len({part.created_at for part, _ in entries}) >= _FEWEST_IN_TIME
    }
    if not long:
        return
    kept = dict(list(long.items())[:_MOST_SESSIONS])
    title = f"History, {unit} – {provenance}"
    points = [(label, part, cell.headline) for label, entries in kept.items() for part, cell in entries]
    yield Chart(
        chart_id(title),
        title,
        provenance,
        f"{title}: {len(kept)} cells over the times of their sessions; every value is in the table below the chart",
        filled(
            "history",
            title=title,
            rows=[
                {**figure_row(label, figure), "series": plain(label), "at": part.created_at}
                for label, part, figure in points
            ],
            tooltip=tooltip(series="cell", at="measured", text=unit),
            axis=axis_title(unit, provenance),
        ),
        ("cell", "measured", "energy", "provenance"),
        tuple((label, str(part.created_at), f"{figure.text} {unit}", provenance) for label, part, figure in points),
    )
