"""Where a token's time and energy go, operator by operator."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from joulebench_reports.charts.specification import Chart, bars
from joulebench_reports.notes.trust import mark
from joulebench_reports.reading.operators import OperatorLine, OperatorTable, operator_tables
from joulebench_reports.sections.material import Material, parts_of
from joulebench_reports.sections.report import Column, Heading, Item, Paragraph, Row, Section, Table, TableCell
from joulebench_reports.values.figure import Figure
from joulebench_reports.words.text import UNKNOWN, number, percent, seconds

_COLUMNS: Final = (
    Column("operator", folds=True),
    Column("a call", numeric=True, rank=2),
    Column("per token", numeric=True, rank=3),
    Column("of a token", numeric=True),
    Column("share", numeric=True),
    Column("J per token", numeric=True),
    Column("GB/s", numeric=True, rank=1),
    Column("of bandwidth", numeric=True, rank=1),
)
_NOTE: Final = (
    "Each operator alone, at the shapes of one decode step, going through the layers in turn. "
    "“share” is of the whole token, or of the sum where the session has no decode cell for it; "
    "“of bandwidth” is against the session's own reading of memory. * marks operators whose "
    "weights of all layers together fit into the last-level cache, which a whole token's do not: "
    "run alone they are served from it, so their time and energy are lower bounds."
)
_SHORT_NOTE: Final = "* fits into the last-level cache when run alone: a lower bound"


def operators_section(material: Material) -> Iterator[Section]:
    """The operators of each model and setting, with their sum; of each session apart."""
    for part in parts_of(material.summary):
        tables = operator_tables(part.cells)
        items = [item for operators in tables for item in _items(operators)]
        if items:
            flattered = any(line.flattered for operators in tables for line in operators.lines)
            note = Paragraph(_NOTE, short=_SHORT_NOTE if flattered else "")
            heading = part.heading("Where a token's time and energy go")
            yield Section(part.id("operators"), heading, (*items, note), part.heading("Operators"))


def _items(operators: OperatorTable) -> Iterator[Item]:
    yield Heading(_caption(operators))
    yield Table(_COLUMNS, tuple(operator_rows(operators)))
    yield from _charts(operators)


def _charts(operators: OperatorTable) -> Iterator[Chart]:
    """Time of a token by operator, and its energy where all of it is of one provenance."""
    ordered = _costliest_first(operators)
    if not ordered:  # the whole token in one call, no operator alone
        return
    times = [(line.name, line.token_s.times(1e3, "ms")) for line in ordered]
    yield bars(f"Time of a token by operator, ms – {operators.title}", "ms", times, None)
    if operators.sum_j.value is not None:
        energies = [(line.name, line.token_j.times(1e3, "mJ")) for line in ordered]
        provenance = operators.sum_j.provenance
        yield bars(f"Energy of a token by operator, mJ – {operators.title} – {provenance}", "mJ", energies, provenance)


def _caption(operators: OperatorTable) -> str:
    """What the table is of, and how much of the token its sum explains."""
    text = f"{operators.title}, {operators.context} positions before the token"
    if operators.whole_s is not None and operators.sum_s.value is not None and operators.whole_s.value:
        share = percent(operators.sum_s.value / operators.whole_s.value, 3)
        text += f"; the sum is {share} of the whole token's time"
        if operators.whole_context is not None:
            text += f" (at {operators.whole_context:,.0f} positions on average)"
    return text


def operator_rows(operators: OperatorTable) -> list[Row]:
    """The operators, costliest first, then their sum and the whole token."""
    whole = operators.sum_s if operators.whole_s is None else operators.whole_s
    rows = [_row(line.name + (" *" if line.flattered else ""), line, whole) for line in _costliest_first(operators)]
    if operators.lines:
        rows.append((_strong("sum"), "", "", *_costs(operators.sum_s, operators.sum_j, whole)))
    if operators.together is not None:
        rows.append(_row(_strong("all in one call"), operators.together, whole))
    if operators.whole_s is not None:
        name = _strong(f"whole token: {operators.whole_label or ''}")
        rows.append((name, "", "", *_costs(operators.whole_s, operators.whole_j, whole)))
    return [(*row, *[""] * (len(_COLUMNS) - len(row))) for row in rows]


def _costliest_first(operators: OperatorTable) -> list[OperatorLine]:
    return sorted(operators.lines, key=lambda line: -(line.token_s.value or 0.0))


def _strong(text: str) -> TableCell:
    return TableCell(text, strong=True)


def _row(name: TableCell | str, line: OperatorLine, whole: Figure) -> Row:
    return (
        name,
        seconds(line.call_s.value),
        f"× {line.per_token}",
        *_costs(line.token_s, line.token_j, whole),
        number(line.bandwidth_gb_s),
        percent(line.bandwidth_share),
    )


def _costs(time: Figure, energy: Figure | None, whole: Figure) -> Row:
    """Time of a token, its share of ``whole``, and joules of a token."""
    known = time.value is not None and whole.value
    share = percent((time.value or 0.0) / (whole.value or 1.0)) if known else UNKNOWN
    return _figure(time.times(1e3, "ms"), " ms"), share, UNKNOWN if energy is None else _figure(energy, "")


def _figure(figure: Figure, unit: str) -> TableCell:
    """With the relative half-width of its interval where there is room."""
    if figure.value is None:
        return TableCell(UNKNOWN, hint=figure.reason_if_null)
    text = number(figure.value) + unit
    relative = f" ± {percent(figure.half_width / figure.value)}" if figure.half_width and figure.value else ""
    return TableCell(f"{text}{relative} {mark(figure)}".strip(), f"{text} {mark(figure)}".strip())
