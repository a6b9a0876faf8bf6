"""The columns of the overview table, shared by the terminal, Markdown and HTML reports."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from joulebench_reports.notes.trust import flag_words, mark
from joulebench_reports.values.agreement import agreed_share, agrees_text, change_text
from joulebench_reports.values.figures import CellSummary, Figure
from joulebench_reports.words.text import MARKS, UNKNOWN, data_size, number, plain, seconds, with_interval


@dataclass(frozen=True, slots=True)
class Column:
    """One column: header, text of a cell, its number for sorting, and how easily it is dropped.

    Columns of a higher ``rank`` go first when the width does not suffice; rank 0 always stays.
    ``apart``: its figures are ranked within their provenance alone.
    """

    header: str
    text: Callable[[CellSummary], str]
    sort_key: Callable[[CellSummary], float | None] | None = None
    rank: int = 0
    apart: bool = False


def energy_text(figure: Figure, header: str) -> str:
    """``0.512 ± 0.006 J/token est.``, less what the column's header says for all cells."""
    text = figure.text
    said = header.replace("(", " ").replace(")", " ").split()
    parts = [text] if figure.value is None else [text, figure.unit, mark(figure)]
    return " ".join(part for part in parts if part and part not in said)


def marked(text: str, figure: Figure) -> str:
    """The text with the mark of a figure that was not measured."""
    return f"{text} {mark(figure)}".strip()


def _rate_text(cell: CellSummary) -> str:
    rate = cell.speed.decode_tok_s
    return marked(rate.text, rate)


def _peak_bytes(cell: CellSummary) -> int | None:
    """Of the process that runs the model; of simulated hardware, what it would hold."""
    memory = cell.memory
    return memory.device_peak_bytes if cell.simulated else memory.rss_peak_bytes


def _peak_text(cell: CellSummary) -> str:
    size = _peak_bytes(cell)
    text = data_size(size)
    return f"{text} {MARKS['simulated']}" if cell.simulated and size is not None else text


def _net_text(cell: CellSummary) -> str:
    """The net energy; its unit is that of the gross beside it, its provenance where it differs."""
    net = cell.headline_net
    text = with_interval(net.value, net.low, net.high)
    differs = net.provenance != cell.headline.provenance
    return f"{text} {mark(net)}".strip() if differs else text


def share_text(figure: Figure) -> str:
    """A share of a limit in per cent, with its interval."""
    if figure.value is None:
        return UNKNOWN
    share = figure.times(100.0, "%")
    return f"{with_interval(share.value, share.low, share.high)} %"


def _work_rate_text(cell: CellSummary) -> str:
    """What a cell that repeats a kernel reaches; tokens have columns of their own."""
    if cell.kernel is None or cell.rate.value is None:
        return UNKNOWN
    return f"{with_interval(cell.rate.value, cell.rate.low, cell.rate.high)} {cell.rate.unit}"


def common_unit(cells: Sequence[CellSummary]) -> str | None:
    """The unit that all energies of the table share, or ``None``."""
    units = {cell.headline.unit for cell in cells}
    return units.pop() if len(units) == 1 else None


def energy_header(cells: Sequence[CellSummary]) -> str:
    """``J/token (est.)`` where unit and provenance are the same for all, else ``energy``."""
    unit = common_unit(cells) or "energy"
    marks = {mark(cell.headline) for cell in cells if cell.headline.value is not None}
    shared = marks.pop() if len(marks) == 1 else ""
    return f"{unit} ({shared})" if shared else unit


def _agreement_columns(cells: Sequence[CellSummary]) -> list[Column]:
    """Columns of the comparison with the reference. A disagreement is never dropped for width."""
    known = [cell.agreement for cell in cells if cell.agreement is not None]
    if not known:
        return []
    on_text = any(each.text_perplexity_ratio is not None for each in known)

    def ratio(cell: CellSummary) -> float | None:
        if cell.agreement is None:
            return None
        found = cell.agreement
        return found.text_perplexity_ratio if on_text else found.perplexity_ratio

    def kl(cell: CellSummary) -> float | None:
        return None if cell.agreement is None else cell.agreement.kl_nats_mean

    return [
        Column(
            "agrees",
            lambda c: agrees_text(c.agreement),
            lambda c: agreed_share(c.agreement),
            rank=0 if any(each.disagrees for each in known) else 1,
        ),
        Column("KL nats", lambda c: number(kl(c), 2), kl, rank=5),
        Column("Δppl" if on_text else "Δppl answers", lambda c: change_text(ratio(c)), ratio, rank=4),
    ]


def overview_columns(cells: Sequence[CellSummary]) -> list[Column]:
    """The columns for these cells; those in which every cell is unknown are left out."""
    energy = energy_header(cells)
    columns = [
        Column("cell", lambda c: plain(c.label)),
        Column(energy, lambda c: energy_text(c.headline, energy), lambda c: c.headline.value, apart=True),
        Column("net", _net_text, lambda c: c.headline_net.value, rank=3, apart=True),
        Column("tok/s", _rate_text, lambda c: c.speed.decode_tok_s.value, apart=True),
        Column("rate", _work_rate_text, lambda c: None if c.kernel is None else c.rate.value, rank=1),
        Column("MBU", lambda c: share_text(c.mbu), lambda c: c.mbu.value, rank=2),
        Column("MFU", lambda c: share_text(c.mfu), lambda c: c.mfu.value, rank=2),
        Column(
            "TTFT",
            lambda c: marked(seconds(c.speed.ttft_median_s.value), c.speed.ttft_median_s),
            lambda c: c.speed.ttft_median_s.value,
            rank=1,
            apart=True,
        ),
        Column(
            "TPOT",
            lambda c: marked(seconds(c.speed.tpot_s.value), c.speed.tpot_s),
            lambda c: c.speed.tpot_s.value,
            rank=1,
            apart=True,
        ),
        Column("peak mem", _peak_text, _peak_bytes, rank=1, apart=True),
        Column("ppl", lambda c: number(c.quality.perplexity, 4), lambda c: c.quality.perplexity, rank=1),
        *_agreement_columns(cells),
        Column("flags", lambda c: plain(flag_words(c)) or "none", rank=2),
    ]
    return [c for c in columns if c.rank == 0 or any(c.text(cell) != UNKNOWN for cell in cells)]
