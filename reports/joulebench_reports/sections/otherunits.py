"""The same energies in the units that other people ask for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from joulebench_reports.notes.trust import mark
from joulebench_reports.sections.material import Material
from joulebench_reports.sections.report import Column, Paragraph, Section, Table, TableCell
from joulebench_reports.sections.view import Prices
from joulebench_reports.values.figure import Figure
from joulebench_reports.values.figures import CellSummary
from joulebench_reports.words.text import UNKNOWN, number, percent

_J_PER_WH: Final = 3600.0
_ANSWERS: Final = 1000


def other_units_section(material: Material) -> Iterator[Section]:
    """Tokens per joule, mean power, energy of a thousand answers, and their share of a battery and cost."""
    cells = [cell for cell in material.view.ordered(material.summary.shown) if _rate(cell).value is not None]
    if not cells:
        return
    prices = material.prices
    columns = [Column("cell", folds=True), *(Column(name, numeric=True) for name in ("per joule", "mean power"))]
    columns.append(Column(f"{_ANSWERS:,} answers", numeric=True))
    columns += [Column("of the battery", numeric=True)] if prices.battery_wh else []
    columns += [Column(f"cost of {_ANSWERS:,}", numeric=True)] if prices.per_kwh else []
    rows = tuple(_row(cell, prices) for cell in cells)
    note = "Gross energy, with the marks of its provenance. An answer is a request of the workload."
    if not (prices.battery_wh and prices.per_kwh):
        note += " --option battery_wh=50 and price_per_kwh=0.30 add columns."
    yield Section("units", "In other units", (Table(tuple(columns), rows), Paragraph(note)), "Other units")


def _row(cell: CellSummary, prices: Prices) -> tuple[TableCell | str, ...]:
    answers_wh = _answers_wh(cell)
    note = mark(cell.headline)
    row = [
        TableCell(cell.label),
        _marked(f"{number(_rate(cell).value)} {cell.unit}/J", note),
        _marked(f"{number(_power_w(cell))} W", note) if _power_w(cell) is not None else TableCell(UNKNOWN),
        _marked(f"{number(answers_wh)} Wh", note) if answers_wh is not None else TableCell(UNKNOWN),
    ]
    if prices.battery_wh:
        share = None if answers_wh is None else answers_wh / prices.battery_wh
        row.append(_marked(percent(share), note) if share is not None else TableCell(UNKNOWN))
    if prices.per_kwh:
        cost = None if answers_wh is None else answers_wh / 1000 * prices.per_kwh
        row.append(_marked(number(cost), note) if cost is not None else TableCell(UNKNOWN))
    return tuple(row)


def _marked(text: str, note: str) -> TableCell:
    return TableCell(f"{text} {note}".strip())


def _rate(cell: CellSummary) -> Figure:
    """Units of work a joule, of cells whose energy is in joules for one unit."""
    figure = cell.headline
    if figure.value is None or figure.value <= 0 or figure.unit != f"J/{cell.unit}":
        return Figure(None, f"{cell.unit}/J")
    return Figure(1 / figure.value, f"{cell.unit}/J")


def _power_w(cell: CellSummary) -> float | None:
    return next((e.power_w.value for e in cell.energy if e.provenance == cell.headline.provenance), None)


def _answers_wh(cell: CellSummary) -> float | None:
    if cell.units_per_request is None or cell.headline.value is None:
        return None
    return _ANSWERS * cell.headline.value * cell.units_per_request / _J_PER_WH
