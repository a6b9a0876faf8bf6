"""The sections of the HTML page on the machine's limits and on a model's operators."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from joulebench_reports.charts.roofline import NOTE, roofline_chart
from joulebench_reports.charts.specification import Chart, bars
from joulebench_reports.html import sections
from joulebench_reports.html.markup import Child, Element, h
from joulebench_reports.reading.limits import limit_notes, place_of
from joulebench_reports.sections import operators
from joulebench_reports.sections.columns import energy_text
from joulebench_reports.values.figures import CellSummary
from joulebench_reports.words.text import UNKNOWN, data_size, plain, with_interval

_HEADER = ("limit", "rate", "energy", "where", "number type", "size of an array", "cell")


def charts(cells: Sequence[CellSummary]) -> list[Chart]:
    """The roofline, where there is one, and the operators' bars."""
    roofline = roofline_chart(cells)
    found = [] if roofline is None else [roofline]
    for table in operators.operator_tables(cells):
        found += _operator_charts(table)
    return found


def _operator_charts(table: operators.OperatorTable) -> list[Chart]:
    """Time of a token by operator, and its energy where all of it is of one provenance."""
    ordered = sorted(table.lines, key=lambda line: -(line.token_s.value or 0.0))
    times = [(line.name, line.token_s.times(1e3, "ms")) for line in ordered]
    if not times:  # the whole token in one call, no operator alone
        return []
    found = [bars(f"Time of a token by operator, ms – {table.title}", "ms", times, None)]
    if table.sum_j.value is not None:
        energies = [(line.name, line.token_j.times(1e3, "mJ")) for line in ordered]
        provenance = table.sum_j.provenance
        title = f"Energy of a token by operator, mJ – {table.title} – {provenance}"
        found.append(bars(title, "mJ", energies, provenance))
    return found


def parts(
    cells: Sequence[CellSummary], drawn: bool, figure: Callable[[Chart, bool], Element]
) -> list[tuple[str, str, list[Child]]]:
    """Identifier, heading and content of each section that has something to say."""
    found: list[tuple[str, str, list[Child]]] = []
    limits = [cell for cell in cells if cell.kernel is not None and not cell.kernel.per_token]
    roofline = roofline_chart(cells)
    if limits or roofline is not None:
        body: list[Child] = []
        if roofline is not None:
            body.append(figure(roofline, drawn))
            body.append(h("p", NOTE, class_="facts"))
        if limits:
            body += [h("h3", "Measured limits"), _limits(limits)]
            doubts = limit_notes(cells)
            body += [h("p", f"{plain(term)}: {plain(text)}.", class_="facts") for term, text in doubts]
        found.append(("limits", "The machine's limits and the cells below them", body))
    tables = operators.operator_tables(cells)
    if tables:
        content: list[Child] = [h("p", operators.NOTE, class_="facts")]
        for each in tables:
            content += [h("h3", operators.caption(each)), _operators(each)]
            content += [figure(chart, drawn) for chart in _operator_charts(each)]
        found.append(("operators", "Where a token's time and energy go", content))
    return found


def _limits(cells: Sequence[CellSummary]) -> Element:
    rows = [
        (
            h("b", cell.kernel.name),
            f"{with_interval(cell.rate.value, cell.rate.low, cell.rate.high)} {cell.rate.unit}",
            energy_text(cell.headline, ""),
            str(place_of(cell) or cell.device),
            (cell.dtype or UNKNOWN) if cell.unit == "TFLOP" else "",
            data_size(cell.kernel.array_bytes) if cell.kernel.array_bytes is not None else "",
            plain(cell.label),
        )
        for cell in cells
        if cell.kernel is not None
    ]
    return sections.table(_HEADER, rows)


def _operators(table: operators.OperatorTable) -> Element:
    rows: list[Sequence[Child]] = [
        (h("b", row[0]), *row[1:]) if place >= len(table.lines) else row
        for place, row in enumerate(operators.rows(table))
    ]
    return sections.table(operators.HEADER, rows, numeric_from=1)
