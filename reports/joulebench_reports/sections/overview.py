"""The sessions of a report, and the table of its cells."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from joulebench_reports.notes.trust import flag_letters, flag_words, machine_line, mark
from joulebench_reports.sections.material import Material
from joulebench_reports.sections.report import Column, Item, Paragraph, Section, Table, TableCell, table
from joulebench_reports.values.agreement import agreed_share, agrees_text, change_text
from joulebench_reports.values.figures import CellSummary, Figure
from joulebench_reports.words.text import MARKS, UNKNOWN, data_size, number, percent, seconds, with_interval

_CellColumn = tuple[Column, Callable[[CellSummary], TableCell]]


def sessions_section(material: Material) -> Iterator[Section]:
    """The sessions of the report, by the names that their cells' labels begin with."""
    headings = ("session", "id", "profile", "protocol", "started", "status", "machine")
    rows = [
        (
            TableCell(part.name, strong=True),
            part.session_id,
            part.profile_name,
            part.protocol or "joulebench",
            part.created_at or UNKNOWN,
            part.status,
            machine_line(part.machine),
        )
        for part in material.summary.parts
    ]
    if rows:
        yield Section("sessions", "Sessions", (table(headings, rows),), "Sessions")


def overview_section(material: Material) -> Iterator[Section]:
    """Every cell with figures in a row."""
    shown = material.summary.shown
    nothing = Paragraph("No cell has figures. The sections below say why.")
    cells: Item = overview_table(shown) if shown else nothing
    yield Section("overview", "Cells", (cells,), "Cells")


def overview_table(cells: Sequence[CellSummary]) -> Table:
    """A row for each of these cells; columns in which every cell is unknown are left out."""
    columns = [(column, [of(cell) for cell in cells]) for column, of in _columns(cells)]
    known = [
        (column, texts)
        for column, texts in columns
        if column.rank == 0 or any(entry.text != UNKNOWN for entry in texts)
    ]
    rows = zip(*(texts for _, texts in known), strict=True)
    return Table(tuple(column for column, _ in known), tuple(rows), searchable=True)


def cell_anchor(cell: CellSummary) -> str:
    """The id of the part of a report that has every figure of the cell."""
    return "cell-" + "".join(char if char.isalnum() else "-" for char in cell.id)


def energy_text(figure: Figure, heading: str) -> str:
    """``0.512 ± 0.006 J/token est.``, less what the column's heading says for all cells."""
    heading_words = heading.replace("(", " ").replace(")", " ").split()
    parts = [figure.text] if figure.value is None else [figure.text, figure.unit, mark(figure)]
    return " ".join(part for part in parts if part and part not in heading_words)


def _columns(cells: Sequence[CellSummary]) -> list[_CellColumn]:
    energy = _energy_heading(cells)
    mixed = len({cell.headline.provenance for cell in cells if cell.headline.value is not None}) > 1
    letters = flag_letters(cells)
    return [
        (Column("cell", folds=True), lambda c: TableCell(c.label, link=cell_anchor(c))),
        (Column(energy, numeric=True, apart=True, badges=mixed), lambda c: _energy(c, energy)),
        (Column("net", numeric=True, rank=3, apart=True), _net),
        (Column("tok/s", numeric=True, apart=True), lambda c: _figure(c.speed.decode_tok_s)),
        (Column("rate", numeric=True, rank=1), _work_rate),
        (Column("MBU", numeric=True, rank=2), lambda c: _share(c.mbu)),
        (Column("MFU", numeric=True, rank=2), lambda c: _share(c.mfu)),
        (Column("TTFT", numeric=True, rank=1, apart=True), lambda c: _time(c.speed.ttft_median_s)),
        (Column("TPOT", numeric=True, rank=1, apart=True), lambda c: _time(c.speed.tpot_s)),
        (Column("peak mem", numeric=True, rank=1, apart=True), _peak_memory),
        (
            Column("ppl", numeric=True, rank=1),
            lambda c: TableCell(number(c.quality.perplexity, 4), value=c.quality.perplexity),
        ),
        *_agreement_columns(cells),
        (Column("flags", rank=2), lambda c: _flags(c, letters)),
    ]


def _energy_heading(cells: Sequence[CellSummary]) -> str:
    """``J/token (est.)`` where unit and provenance are the same for all, else ``energy``."""
    units = {cell.headline.unit for cell in cells}
    unit = units.pop() if len(units) == 1 else "energy"
    marks = {mark(cell.headline) for cell in cells if cell.headline.value is not None}
    shared = marks.pop() if len(marks) == 1 else ""
    return f"{unit} ({shared})" if shared else unit


def _energy(cell: CellSummary, heading: str) -> TableCell:
    figure = cell.headline
    provenance = None if figure.value is None else figure.provenance
    return TableCell(
        energy_text(figure, heading), value=figure.value, provenance=provenance, hint=figure.reason_if_null
    )


def _net(cell: CellSummary) -> TableCell:
    """The net energy; its unit is that of the gross beside it, its provenance where it differs."""
    net = cell.headline_net
    text = with_interval(net.value, net.low, net.high)
    if net.provenance != cell.headline.provenance:
        text = _marked(text, net)
    return TableCell(text, number(net.value), net.value, net.provenance, net.reason_if_null)


def _marked(text: str, figure: Figure) -> str:
    """The text with the mark of a figure that was not measured."""
    return f"{text} {mark(figure)}".strip()


def _figure(figure: Figure) -> TableCell:
    return TableCell(
        _marked(figure.text, figure), _marked(number(figure.value), figure), figure.value, figure.provenance
    )


def _time(figure: Figure) -> TableCell:
    return TableCell(_marked(seconds(figure.value), figure), value=figure.value, provenance=figure.provenance)


def _share(figure: Figure) -> TableCell:
    """A share of a limit in per cent, with its interval."""
    if figure.value is None:
        return TableCell(UNKNOWN, hint=figure.reason_if_null)
    share = figure.times(100.0, "%")
    return TableCell(
        f"{with_interval(share.value, share.low, share.high)} %", percent(figure.value), value=figure.value
    )


def _work_rate(cell: CellSummary) -> TableCell:
    """What a cell that repeats a kernel reaches; tokens have columns of their own."""
    rate = cell.rate
    if cell.kernel is None or rate.value is None:
        return TableCell(UNKNOWN)
    text = f"{with_interval(rate.value, rate.low, rate.high)} {rate.unit}"
    return TableCell(text, f"{number(rate.value)} {rate.unit}", rate.value)


def _peak_memory(cell: CellSummary) -> TableCell:
    """Of the process that runs the model; of simulated hardware, what it would hold."""
    size = cell.memory.device_peak_bytes if cell.simulated else cell.memory.rss_peak_bytes
    if not cell.simulated or size is None:
        return TableCell(data_size(size), value=size)
    return TableCell(f"{data_size(size)} {MARKS['simulated']}", value=size, provenance="simulated")


def _flags(cell: CellSummary, letters: dict[str, str]) -> TableCell:
    """Letters, under which the notes on trust explain the flags."""
    return TableCell("".join(letters[flag.flag] for flag in cell.flags) or "none", hint=flag_words(cell))


def _agreement_columns(cells: Sequence[CellSummary]) -> list[_CellColumn]:
    """Columns of the comparison with the reference. A disagreement is never dropped for width."""
    known = [cell.agreement for cell in cells if cell.agreement is not None]
    if not known:
        return []
    on_text = any(agreement.text_perplexity_ratio is not None for agreement in known)

    def ratio(cell: CellSummary) -> float | None:
        if cell.agreement is None:
            return None
        return cell.agreement.text_perplexity_ratio if on_text else cell.agreement.perplexity_ratio

    def kl(cell: CellSummary) -> float | None:
        return None if cell.agreement is None else cell.agreement.kl_nats_mean

    return [
        (
            Column("agrees", numeric=True, rank=0 if any(agreement.disagrees for agreement in known) else 1),
            lambda c: TableCell(agrees_text(c.agreement), value=agreed_share(c.agreement)),
        ),
        (Column("KL nats", numeric=True, rank=5), lambda c: TableCell(number(kl(c), 2), value=kl(c))),
        (
            Column("Δppl" if on_text else "Δppl answers", numeric=True, rank=4),
            lambda c: TableCell(change_text(ratio(c)), value=ratio(c)),
        ),
    ]
