"""All figures of one cell, for its folded part of the HTML page."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from joulebench_reports.html.markup import Child, Element, h
from joulebench_reports.values.agreement import detail_pairs
from joulebench_reports.values.figures import CellSummary, Figure
from joulebench_reports.words.text import UNKNOWN, data_size, number, plain, seconds

_Table = Callable[[Sequence[Child], Sequence[Sequence[Child]]], Element]
_Badge = Callable[[str | None], Element | None]


def cell_details(cell: CellSummary, table: _Table, badge: _Badge) -> list[Child]:
    """Identity, energy by provenance, speed, memory, quality and evidence of one cell."""
    identity = (
        f"{cell.model} · {cell.technique} · {cell.backend} on {cell.device} · {cell.workload}; "
        f"{cell.blocks} blocks, {cell.processes} processes, {cell.requests} requests"
    )
    parts: list[Child] = [h("p", plain(identity), class_="facts")]
    if cell.simulation_s is not None:
        took = f"Simulated hardware. The simulation took {seconds(cell.simulation_s)} on this machine."
        parts.append(h("p", took, class_="facts"))
    header = ("figure", "value", "unit", "n", "provenance", "method, flags, or why it is unknown")
    parts.append(table(header, [_row(name, f, badge) for name, f in _figures(cell)]))
    sizes = [
        (name.removesuffix("_bytes").replace("_", " "), data_size(value))
        for name in cell.memory.__dataclass_fields__
        if (value := getattr(cell.memory, name)) is not None
    ]
    if sizes:
        parts += [h("h4", "Memory"), table(("what", "size"), sizes)]
    for title, pairs in (
        ("Quality", _quality(cell)),
        ("Agreement with the reference", list(detail_pairs(cell.agreement))),
        ("Evidence of the technique", [(k, _text(v)) for k, v in cell.evidence.items()]),
        ("What the session used", [(k, _text(v)) for k, v in cell.facts.items()]),
    ):
        if pairs:
            parts += [h("h4", title), table(("what", "value"), pairs)]
    return parts


def _figures(cell: CellSummary) -> list[tuple[str, Figure]]:
    found: list[tuple[str, Figure]] = []
    for each in cell.energy:
        found += [
            ("energy, gross", each.gross),
            ("energy, gross, with the scale's uncertainty", each.gross_with_scale),
            ("energy, net of idle", each.net),
            ("energy, the worker's share", each.attributed),
            ("energy, mean of ratios", each.mean_of_ratios),
            ("energy without disturbed blocks", each.without_flagged),
            ("mean power", each.power_w),
            *((f"energy of {phase}, per token of it", f) for phase, f in each.phases if f.value is not None),
        ]
    if not cell.energy:
        found.append(("energy, gross", cell.headline))
    speed = cell.speed
    found += [
        ("decode speed", speed.decode_tok_s),
        ("prefill speed", speed.prefill_tok_s),
        ("work per second", speed.units_s),
        ("time to first token, median", speed.ttft_median_s),
        ("time to first token, 95 % quantile", speed.ttft_p95_s),
        ("time per output token", speed.tpot_s),
        ("time per block", speed.block_s),
        ("share of memory bandwidth (MBU)", cell.mbu),
        ("share of the matrix product's rate (MFU)", cell.mfu),
    ]
    return found


def _row(name: str, figure: Figure, badge: _Badge) -> Sequence[Child]:
    about = [figure.method, *figure.flags] if figure.value is not None else [figure.reason_if_null]
    return (
        name,
        figure.text,
        figure.unit,
        figure.n,
        badge(figure.provenance),
        "; ".join(text for text in about if text),
    )


def _quality(cell: CellSummary) -> list[tuple[str, str]]:
    quality = cell.quality
    pairs = [
        ("perplexity", None if quality.perplexity is None else number(quality.perplexity, 5)),
        (
            "negative log-likelihood, nats/token",
            None if quality.nll_nats_per_token is None else number(quality.nll_nats_per_token, 5),
        ),
        ("tokens scored", None if quality.tokens is None else f"{quality.tokens:,}"),
        ("text", quality.text),
        *((name, _text(value)) for name, value in quality.others),
    ]
    return [(name, value) for name, value in pairs if value is not None]


def _text(value: object) -> str:
    return UNKNOWN if value is None else str(value)
