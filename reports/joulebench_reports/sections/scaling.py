"""How costs grow with a number of the profile."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from joulebench_reports.sections.material import Material
from joulebench_reports.sections.report import Column, Paragraph, Row, Section, Table, TableCell
from joulebench_reports.values.figure import Figure
from joulebench_reports.values.scalings import ScaledQuantity, Scaling
from joulebench_reports.words.text import MARKS, UNKNOWN, number, plain


def scaling_section(material: Material) -> Iterator[Section]:
    """A table of exponents, where the session has a series over a number."""
    made = material.summary.scalings
    if made:
        yield Section("scaling", "How costs grow", tuple(_items(made)), "Scaling")


def _items(made: Sequence[Scaling]) -> Iterator[Table | Paragraph]:
    names = list(dict.fromkeys((quantity.name, quantity.unit) for one in made for quantity in one.quantities))
    columns = (
        Column("series", rank=0),
        Column("over", rank=1),
        *(
            Column(f"{name}, {unit}", numeric=True, rank=0 if not place else 2)
            for place, (name, unit) in enumerate(names)
        ),
        *(
            Column(f"{name} at the end", numeric=True, rank=1 if not place else 3)
            for place, (name, _) in enumerate(names)
        ),
    )
    yield Table(columns, tuple(_row(one, names) for one in made))
    yield Paragraph(
        "Exponents p of a cost that grows as the axis to the power p, with 95 % intervals; at the end: between the two "
        "highest values, which a sum of a linear and a quadratic part tends to. For a token of a text, 0 is a "
        "cost that is linear in the text's length and 1 one that is quadratic."
    )


def _row(one: Scaling, names: Sequence[tuple[str, str]]) -> Row:
    own = {(quantity.name, quantity.unit): quantity for quantity in one.quantities}
    title = " ".join(part for part in (one.session, one.model, one.series, one.workload) if part)
    return (
        TableCell(plain(title), strong=True),
        TableCell(f"{plain(one.axis)} {number(one.values[0])} – {number(one.values[-1])}"),
        *(_cell(own.get(name), lambda quantity: quantity.exponent) for name in names),
        *(_cell(own.get(name), lambda quantity: quantity.at_end) for name in names),
    )


def _cell(quantity: ScaledQuantity | None, of: Callable[[ScaledQuantity], Figure]) -> TableCell:
    if quantity is None:
        return TableCell(UNKNOWN)
    figure = of(quantity)
    mark = MARKS.get(figure.provenance or "measured", "")
    return TableCell(f"{figure.text} {mark}".strip(), number(figure.value, 2), figure.value, figure.provenance)
