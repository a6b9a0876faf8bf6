"""Whole models by some of their layers: never measured, and labelled so wherever they are shown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from joulebench_reports.sections.material import Material
from joulebench_reports.sections.report import Column, Heading, Item, Paragraph, Report, Row, Section, Table, TableCell
from joulebench_reports.values.extrapolations import ExtrapolatedQuantity, Extrapolation
from joulebench_reports.values.figure import Figure
from joulebench_reports.words.text import MARKS, UNKNOWN

_COLUMNS = (
    Column("quantity", rank=0),
    Column("whole, extrapolated", numeric=True, rank=0, badges=True),
    Column("a layer", numeric=True, rank=2),
    Column("without layers", numeric=True, rank=3),
    Column("whole, measured", numeric=True, rank=1),
    Column("error", numeric=True, rank=1),
)
_NEEDED = (
    "Two finished cells of one shape, backend and workload with different numbers of layers, both fewer than the "
    'whole has. In a profile: [model.it] with source = "shape:NAME" and layers = [8, 16].'
)


def extrapolation_section(material: Material) -> Iterator[Section]:
    """The section of a session that has cells of some layers of a shape."""
    items = tuple(extrapolation_items(material.summary.extrapolations))
    if items:
        yield Section("extrapolated", "Whole models, extrapolated from some of their layers", items, "Extrapolated")


def extrapolation_report(extrapolations: Sequence[Extrapolation], session_id: str) -> Report:
    """The section as a report of its own."""
    items = tuple(extrapolation_items(extrapolations))
    section = Section("extrapolated", "Extrapolated, not measured", items)
    if not items:
        section = Section("extrapolated", "What it takes", (Paragraph(_NEEDED),))
    return Report(
        title="Whole models, extrapolated from some of their layers" if items else "Nothing to extrapolate",
        sections=(section,),
        facts=(session_id,),
        footer="joulebench extrapolate",
    )


def extrapolation_items(extrapolations: Sequence[Extrapolation]) -> Iterator[Item]:
    """A table for each shape, backend and workload, and once how it was computed."""
    for made in extrapolations:
        few, more = made.depths
        yield Heading(f"{made.shape}, {made.layers} layers from {few} and {more}: {made.label}")
        yield Table(_COLUMNS, tuple(map(_row, made.quantities)))
    wholes = [quantity.whole for made in extrapolations for quantity in made.quantities]
    notes = [f"Extrapolated: {whole.method}." for whole in wholes if whole.value is not None]
    notes += [f"Not extrapolated: {whole.reason_if_null}." for whole in wholes if whole.value is None]
    yield from map(Paragraph, dict.fromkeys(notes))


def _row(quantity: ExtrapolatedQuantity) -> Row:
    return (
        TableCell(f"{quantity.name}, {quantity.whole.unit}", strong=True),
        _figure(quantity.whole),
        _figure(quantity.layer),
        _figure(quantity.fixed),
        TableCell(UNKNOWN) if quantity.measured is None else _figure(quantity.measured),
        TableCell(_error(quantity), value=quantity.error),
    )


def _figure(figure: Figure) -> TableCell:
    """The figure with its interval, without which it says little where it was extrapolated."""
    mark = MARKS.get(figure.provenance or "measured", "")
    return TableCell(f"{figure.text} {mark}".strip(), value=figure.value, provenance=figure.provenance)


def _error(quantity: ExtrapolatedQuantity) -> str:
    """What the extrapolated is more or less than the measured, and whether its interval holds that."""
    if quantity.error is None:
        return UNKNOWN
    held = {True: ", in the interval", False: ", outside the interval", None: ""}[quantity.holds]
    return f"{quantity.error:+.1%}{held}"
