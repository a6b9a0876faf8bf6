"""Every figure of every cell, folded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from joulebench_reports.sections.material import Material
from joulebench_reports.sections.overview import cell_anchor
from joulebench_reports.sections.report import (
    Column,
    Fold,
    Folds,
    Heading,
    Item,
    Paragraph,
    Row,
    Section,
    Table,
    badge,
    table,
)
from joulebench_reports.values.agreement import detail_pairs
from joulebench_reports.values.figure import Figure
from joulebench_reports.values.figures import CellSummary
from joulebench_reports.words.text import UNKNOWN, data_size, number, seconds

_COLUMNS = (
    Column("figure", folds=True),
    Column("value"),
    Column("unit"),
    Column("n"),
    Column("provenance", badges=True),
    Column("method, flags, or why it is unknown", folds=True),
)


def details_section(material: Material) -> Iterator[Section]:
    """A folded part for each cell with figures."""
    parts = tuple(Fold(cell.label, tuple(_items(cell)), cell_anchor(cell)) for cell in material.summary.shown)
    if parts:
        yield Section("details", "Every figure", (Folds("details-data", parts),), "Every figure")


def _items(cell: CellSummary) -> Iterator[Item]:
    """Identity, energy by provenance, speed, memory, quality and evidence of one cell."""
    yield Paragraph(
        f"{cell.model} · {cell.technique} · {cell.backend} on {cell.device} · {cell.workload}; "
        f"{cell.blocks} blocks, {cell.processes} processes, {cell.requests} requests"
    )
    if cell.simulation_s is not None:
        yield Paragraph(f"Simulated hardware. The simulation took {seconds(cell.simulation_s)} on this machine.")
    yield Table(_COLUMNS, tuple(_row(name, figure) for name, figure in _figures(cell)))
    for heading, pairs in (
        ("Memory", _memory(cell)),
        ("Quality", _quality(cell)),
        ("Agreement with the reference", list(detail_pairs(cell.agreement))),
        ("Evidence of the technique", _texts(cell.evidence)),
        ("What the session used", _texts(cell.facts)),
    ):
        if pairs:
            yield Heading(heading, level=4)
            yield table(("what", "value"), pairs)


def _figures(cell: CellSummary) -> Iterator[tuple[str, Figure]]:
    for energy in cell.energy:
        yield "energy, gross", energy.gross
        yield "energy, gross, with the scale's uncertainty", energy.gross_with_scale
        yield "energy, net of idle", energy.net
        yield "energy, the worker's share", energy.attributed
        yield "energy, mean of ratios", energy.mean_of_ratios
        yield "energy without disturbed blocks", energy.without_flagged
        yield "mean power", energy.power_w
        for phase, figure in energy.phases:
            if figure.value is not None:
                yield f"energy of {phase}, per token of it", figure
    if not cell.energy:
        yield "energy, gross", cell.headline
    yield "decode speed", cell.speed.decode_tok_s
    yield "prefill speed", cell.speed.prefill_tok_s
    yield "work per second", cell.speed.units_s
    yield "time to first token, median", cell.speed.ttft_median_s
    yield "time to first token, 95 % quantile", cell.speed.ttft_p95_s
    yield "time per output token", cell.speed.tpot_s
    yield "time per block", cell.speed.block_s
    yield "share of memory bandwidth (MBU)", cell.mbu
    yield "share of the matrix product's rate (MFU)", cell.mfu


def _row(name: str, figure: Figure) -> Row:
    about = [figure.method, *figure.flags] if figure.value is not None else [figure.reason_if_null]
    remarks = "; ".join(text for text in about if text)
    return name, figure.text, figure.unit, str(figure.n), badge(figure.provenance), remarks


def _memory(cell: CellSummary) -> list[tuple[str, str]]:
    sizes = ((name, getattr(cell.memory, name)) for name in cell.memory.__dataclass_fields__)
    return [
        (name.removesuffix("_bytes").replace("_", " "), data_size(size)) for name, size in sizes if size is not None
    ]


def _quality(cell: CellSummary) -> list[tuple[str, str]]:
    quality = cell.quality
    nll = quality.nll_nats_per_token
    pairs = [
        ("perplexity", None if quality.perplexity is None else number(quality.perplexity, 5)),
        ("negative log-likelihood, nats/token", None if nll is None else number(nll, 5)),
        ("tokens scored", None if quality.tokens is None else f"{quality.tokens:,}"),
        ("text", quality.text),
        *_texts(dict(quality.others)),
    ]
    return [(name, value) for name, value in pairs if value is not None]


def _texts(values: Mapping[str, object]) -> list[tuple[str, str]]:
    return [(name, UNKNOWN if value is None else str(value)) for name, value in values.items()]
