"""The sessions of a report, and the table of its cells."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, Self

from joulebench_reports.notes.trust import flag_letters, flag_words, machine_line, mark
from joulebench_reports.sections.material import Material
from joulebench_reports.sections.report import Column, Item, Paragraph, Section, Table, TableCell, table
from joulebench_reports.sections.view import check_columns
from joulebench_reports.values.agreement import agreed_share, agrees_text, change_text
from joulebench_reports.values.figure import Figure
from joulebench_reports.values.figures import CellSummary
from joulebench_reports.words.text import MARKS, UNKNOWN, data_size, number, percent, seconds, with_interval
from joulebench_reports.words.units import energy_prefix

#: Shown wherever there is such a figure.
_CALM: Final = "calm"

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
    items: list[Item] = [Paragraph("No cell has figures. The sections below say why.")]
    if shown:
        cells = material.view.ordered(shown)
        items = [overview_table(cells, material.view.columns)]
        if len(cells) < len(shown):
            items.append(Paragraph(f"The best {len(cells)} of {len(shown)} cells; --top shows more."))
    yield Section("overview", "Cells", tuple(items), "Cells")


def overview_table(cells: Sequence[CellSummary], headings: Sequence[str] = ()) -> Table:
    """A row for each of these cells; columns in which every cell is unknown are left out.

    ``headings`` are the columns that a reader asks for, in this order, beside the cell's name.
    """
    available = _columns(cells)
    if headings:
        check_columns(headings, [column.heading for column, _ in available])
        first, *others = available
        by_heading = {column.heading: (column, of) for column, of in others}
        chosen = [by_heading[heading] for heading in headings if heading in by_heading]
        available = [first, *((replace(column, rank=0), of) for column, of in chosen)]
    columns = [(column, [of(cell) for cell in cells]) for column, of in available]
    known = [
        (column, texts)
        for column, texts in columns
        if (column.rank == 0 and column.heading != _CALM) or any(entry.text != UNKNOWN for entry in texts)
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
    energy = _EnergyScale.of(cells)
    mixed = len({cell.headline.provenance for cell in cells if cell.headline.value is not None}) > 1
    letters = flag_letters(cells)
    least = _least_energies(cells)
    return [
        (Column("cell", folds=True), lambda c: TableCell(c.label, link=cell_anchor(c))),
        *_weights_column(cells),
        (Column(energy.heading, numeric=True, apart=True, badges=mixed), energy.gross),
        (Column("× least", numeric=True, rank=1), lambda c: _relative(c, least)),
        (Column(_CALM, numeric=True), energy.calm),
        (Column("net", numeric=True, rank=3, apart=True), energy.net),
        (Column("tok/s", numeric=True, apart=True), lambda c: _figure(c.speed.decode_tok_s)),
        (Column("prefill tok/s", numeric=True, rank=4, apart=True), lambda c: _figure(c.speed.prefill_tok_s)),
        (Column("rate", numeric=True, rank=1), _work_rate),
        (Column("MBU", numeric=True, rank=2), lambda c: _share(c.mbu)),
        (Column("MFU", numeric=True, rank=2), lambda c: _share(c.mfu)),
        (Column("TTFT", numeric=True, rank=2, apart=True), lambda c: _time(c.speed.ttft_median_s)),
        (Column("TPOT", numeric=True, rank=3, apart=True), lambda c: _time(c.speed.tpot_s)),
        (Column("peak mem", numeric=True, rank=1, apart=True), _peak_memory),
        (Column("size", numeric=True, rank=3), lambda c: _bytes(c.memory.artifact_bytes)),
        (Column("bits", numeric=True, rank=4), _bits),
        *_told_apart(cells),
        (
            Column("ppl", numeric=True, rank=1),
            lambda c: TableCell(number(c.quality.perplexity, 4), value=c.quality.perplexity),
        ),
        *_agreement_columns(cells),
        (Column("flags"), lambda c: _flags(c, letters)),
    ]


def _weights_column(cells: Sequence[CellSummary]) -> list[_CellColumn]:
    """What the weights are stored in, where a file that was quantized is among the cells."""
    if all(cell.quantization is None for cell in cells):
        return []
    return [(Column("weights", rank=1), lambda c: TableCell(c.quantization or c.dtype or UNKNOWN))]


@dataclass(frozen=True, slots=True)
class _EnergyScale:
    """The energy columns' unit, with the prefix that suits all of them, and their heading."""

    heading: str
    factor: float
    unit: str | None

    @classmethod
    def of(cls, cells: Sequence[CellSummary]) -> Self:
        """``J/token (est.)`` where unit and provenance are the same for all, else ``energy``."""
        units = {cell.headline.unit for cell in cells}
        factor, unit = 1.0, None
        if len(units) == 1:
            factor, unit = energy_prefix((cell.headline.value for cell in cells), units.pop())
        marks = {mark(cell.headline) for cell in cells if cell.headline.value is not None}
        shared = marks.pop() if len(marks) == 1 else ""
        return cls(f"{unit or 'energy'} ({shared})" if shared else unit or "energy", factor, unit)

    def gross(self, cell: CellSummary) -> TableCell:
        """The headline of a cell."""
        figure = cell.headline
        provenance = None if figure.value is None else figure.provenance
        text = energy_text(self._scaled(figure), self.heading)
        return TableCell(text, value=figure.value, provenance=provenance, hint=figure.reason_if_null)

    def calm(self, cell: CellSummary) -> TableCell:
        """Without disturbed blocks, where that tells another story."""
        calm = cell.calm
        if calm is None:
            return TableCell(UNKNOWN)
        return TableCell(self._scaled(calm).text, value=calm.value, provenance=calm.provenance)

    def net(self, cell: CellSummary) -> TableCell:
        """The net energy; its unit is that of the gross beside it, its provenance where it differs."""
        net = self._scaled(cell.headline_net)
        text = with_interval(net.value, net.low, net.high)
        if net.provenance != cell.headline.provenance:
            text = _marked(text, net)
        return TableCell(text, number(net.value), cell.headline_net.value, net.provenance, net.reason_if_null)

    def _scaled(self, figure: Figure) -> Figure:
        if self.unit is not None:
            return figure.times(self.factor, self.unit)
        return figure.times(*energy_prefix([figure.value], figure.unit))


def _least_energies(cells: Sequence[CellSummary]) -> dict[tuple[str, ...], float]:
    """The least energy of each group whose energies may be set beside each other."""
    least: dict[tuple[str, ...], float] = {}
    for cell in cells:
        if cell.headline.value is not None and cell.headline.value > 0:
            key = _comparable(cell)
            least[key] = min(least.get(key, cell.headline.value), cell.headline.value)
    return least


def _comparable(cell: CellSummary) -> tuple[str, ...]:
    return cell.session, cell.model, cell.workload, cell.headline.unit, cell.headline.provenance or ""


def _relative(cell: CellSummary, least: dict[tuple[str, ...], float]) -> TableCell:
    """Energy over the least of the same work: what the verdicts say with intervals."""
    value, best = cell.headline.value, least.get(_comparable(cell))
    if value is None or best is None:
        return TableCell(UNKNOWN)
    share = value / best
    return TableCell("1" if share == 1 else f"{number(share)} ×", value=share, strong=share == 1)


def _bytes(size: float | None) -> TableCell:
    return TableCell(data_size(size), value=size)


def _bits(cell: CellSummary) -> TableCell:
    """Bits of a weight, as the session that ran has them."""
    bits = cell.facts.get("bits_per_weight")
    known = isinstance(bits, (int, float)) and not isinstance(bits, bool)
    return TableCell(number(float(bits)) if known else UNKNOWN, value=float(bits) if known else None)  # type: ignore[arg-type]


def _told_apart(cells: Sequence[CellSummary]) -> list[_CellColumn]:
    """Settings in which the cells differ; one that is the same for all says nothing."""
    columns: list[_CellColumn] = []
    if len({cell.threads for cell in cells}) > 1:
        columns.append((Column("threads", numeric=True, rank=3), lambda c: _count(c.threads)))
    if len({cell.dtype for cell in cells}) > 1:
        columns.append((Column("dtype", rank=4), lambda c: TableCell(c.dtype or UNKNOWN)))
    return columns


def _count(value: int | None) -> TableCell:
    return TableCell(UNKNOWN if value is None else str(value), value=value)


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
