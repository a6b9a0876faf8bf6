"""The session in one glance, for a terminal."""

from __future__ import annotations

import io
import shutil
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Final

from joulebench.api import Option, Renderer, Settings
from joulebench_reports.notes import trust
from joulebench_reports.sections import operators
from joulebench_reports.sections.columns import Column, marked, overview_columns
from joulebench_reports.summary.joining import join
from joulebench_reports.values import techniques as techniquetable
from joulebench_reports.values import verdicts
from joulebench_reports.values.figures import CellSummary, SessionSummary
from joulebench_reports.words.text import UNKNOWN, number, percent, plain

if TYPE_CHECKING:
    from rich.console import Console

    from joulebench.session.files import Session

#: Cells of a table are padded by so much on the right; rich puts one character between columns.
_MARGIN = 1
_GAP = _MARGIN + 1
_NARROWEST = 40


class TerminalRenderer(Renderer):
    """A table of the cells, what is missing and why, and how far to trust it."""

    name = "terminal"
    summary = "the session in one glance"
    suffix: ClassVar[str] = ""
    by_default: ClassVar[bool] = True
    options = (
        Option("width", "int", None, "columns; the terminal's own by default", minimum=_NARROWEST),
        Option("color", "bool", False, "write ANSI colours"),
        verdicts.BASELINE,
    )

    def render(self, session: Session, settings: Settings) -> str:
        """The text, with a line feed at its end."""
        from joulebench_reports.summary.session import summarise

        return _render(summarise(session, verdicts.baseline_of(settings)), settings)

    def render_many(self, sessions: Sequence[Session], settings: Settings) -> str:
        """The text of several sessions."""
        return _render(join(sessions, verdicts.baseline_of(settings))[0], settings)


def _render(summary: SessionSummary, settings: Settings) -> str:
    width = settings.get("width")
    if not isinstance(width, int):
        width = shutil.get_terminal_size((100, 24)).columns
    return render_summary(summary, max(width, _NARROWEST), bool(settings.get("color", False)))


def render_summary(summary: SessionSummary, width: int, color: bool) -> str:
    """The text of a summary at a width."""
    from rich.console import Console

    out = io.StringIO()
    console = Console(
        file=out,
        width=width,
        force_terminal=color,
        color_system="standard" if color else None,
        no_color=not color,
        highlight=False,
        markup=False,
        emoji=False,
        legacy_windows=False,
    )
    _title(console, summary)
    _overview(console, summary.shown, width)
    _verdicts(console, summary.verdicts)
    _techniques(console, summary.costs, width)
    for cells in summary.apart:
        for each in operators.operator_tables(cells):
            _operators(console, each)
    _missing_cells(console, summary.missing)
    _notes(console, "What could not be measured, and why", trust.unmeasured(summary))
    _notes(console, "How far to trust this", trust.trust_notes(summary, trust.flag_letters(summary.shown)))
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


def _title(console: Console, summary: SessionSummary) -> None:
    from rich.text import Text

    models = plain(trust.model_names(summary))
    date = (summary.created_at or "date unknown")[:16].replace("T", " ")
    console.print(Text(f"{models} – {plain(summary.profile_name)}, {date} UTC", style="bold"))
    for line in trust.machine_lines(summary):
        console.print(Text(line, style="dim"))
    if summary.protocol:
        console.print(Text(f"Protocol: {plain(summary.protocol)}", style="yellow"))
    if summary.status != "complete":
        console.print(Text(f"Session {plain(summary.status)}: figures so far", style="yellow"))
    console.print(Text(plain(trust.banner(summary)), style="cyan"))


def _overview(console: Console, cells: Sequence[CellSummary], width: int) -> None:
    from rich.text import Text

    console.print()
    if not cells:
        console.print(Text("No cell has figures.", style="yellow"))
        return
    columns = [_compact(column, cells) for column in overview_columns(cells)]
    console.print(_table(cells, _fitting(columns, cells, width)))


def _compact(column: Column, cells: Sequence[CellSummary]) -> Column:
    """The column in fewer characters: flags by the letters under which they are explained."""
    letters = trust.flag_letters(cells)
    if column.header == "flags":
        return replace(column, text=lambda c: "".join(letters[flag.flag] for flag in c.flags))
    if column.header == "tok/s":
        return replace(column, text=_short_speed)
    if column.header == "net":
        return replace(column, text=lambda c: number(c.headline_net.value))
    if column.header == "MBU":
        return replace(column, text=lambda c: percent(c.mbu.value))
    if column.header == "MFU":
        return replace(column, text=lambda c: percent(c.mfu.value))
    if column.header == "rate":
        return replace(column, text=_short_rate)
    return column


def _short_speed(cell: CellSummary) -> str:
    rate = cell.speed.decode_tok_s
    return marked(number(rate.value), rate)


def _short_rate(cell: CellSummary) -> str:
    rate = cell.rate
    return UNKNOWN if cell.kernel is None else f"{number(rate.value)} {rate.unit}"


def _fitting(columns: list[Column], cells: Sequence[CellSummary], width: int) -> list[Column]:
    """Drops the columns that matter least until the rest fits beside a readable cell name."""
    kept = list(columns)
    while _needed(kept, cells) > width:
        last = max(kept, key=lambda column: column.rank)
        if last.rank == 0:
            break
        kept.remove(last)
    return kept


def _needed(columns: Sequence[Column], cells: Sequence[CellSummary]) -> int:
    """Width that the columns need when names may fold between their words."""
    total = _GAP * (len(columns) - 1)
    for column in columns:
        texts = [column.header, *(column.text(cell) for cell in cells)]
        if column.header == "cell":
            texts = [word for text in texts for word in text.split()]
        total += max(map(len, texts))
    return total


def _table(cells: Sequence[CellSummary], columns: Sequence[Column]) -> object:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, padding=(0, _MARGIN, 0, 0), pad_edge=False, show_edge=False)
    for column in columns:
        foldable = column.header == "cell"
        table.add_column(
            Text(column.header),
            justify="right" if column.sort_key else "left",
            no_wrap=not foldable,
            overflow="fold" if foldable else "ellipsis",
            style="bold" if column.header == "cell" else "",
        )
    for cell in cells:
        table.add_row(*(Text(column.text(cell)) for column in columns))
    return table


def _verdicts(console: Console, tables: Sequence[verdicts.VerdictTable]) -> None:
    for found in tables:
        notes = [trust.Note(label, text) for label, text in found.rows()]
        _notes(console, found.caption, notes)
    for text in dict.fromkeys(found.note for found in tables):
        _faint(console, text)


#: Columns of the techniques' table that a narrow terminal goes without, the first first.
_DISPENSABLE: Final = ("what was done", "top-1", "same tokens", "KL nats", "peak mem", "speed")


def _techniques(console: Console, tables: Sequence[techniquetable.CostTable], width: int) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    for found in tables:
        console.print()
        console.print(Text(found.caption, style="bold"))
        for each in found.backends:
            header, rows = _narrowed(techniquetable.HEADER, techniquetable.rows(each), width)
            console.print(Text(plain(each.backend), style="cyan"))
            table = Table(box=box.SIMPLE_HEAD, padding=(0, _MARGIN, 0, 0), pad_edge=False, show_edge=False)
            for place, name in enumerate(header):
                left = place == 0 or name == "what was done"
                table.add_column(Text(name), justify="left" if left else "right", no_wrap=not left, overflow="fold")
            for row in rows:
                table.add_row(*map(Text, row))
            console.print(table)
        for note in found.notes:
            _faint(console, note)
        claimed = [trust.Note(f"{each.text}: {each.verdict}", each.why) for each in found.claims]
        _notes(console, "Claims of the survey", claimed)
        fronts = [trust.Note(term, text) for term, text in techniquetable.front_lines(found)]
        _notes(console, "Pareto fronts", fronts)
        unknown = [trust.Note(what, why) for what, why in techniquetable.missing(found)]
        _notes(console, "What of the techniques is unknown", unknown)


def _narrowed(header: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> tuple[list[str], list[list[str]]]:
    """The columns that fit; a text that may fold counts by its longest word."""
    kept = list(range(len(header)))

    def needed() -> int:
        total = _GAP * (len(kept) - 1)
        for place in kept:
            texts = [header[place], *(row[place] for row in rows)]
            if header[place] in ("technique", "what was done"):
                texts = [word for text in texts for word in text.split()]
            total += max(map(len, texts))
        return total

    for name in _DISPENSABLE:
        if needed() <= width:
            break
        kept.remove(header.index(name))
    return [header[i] for i in kept], [[row[i] for i in kept] for row in rows]


def _operators(console: Console, found: operators.OperatorTable) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    console.print()
    console.print(Text("Operators of a token", style="bold"))
    console.print(Text(operators.caption(found), style="dim"))
    table = Table(box=box.SIMPLE_HEAD, padding=(0, _MARGIN, 0, 0), pad_edge=False, show_edge=False)
    for place, header in enumerate(operators.HEADER):
        table.add_column(Text(header), justify="right" if place else "left")
    for row in operators.rows(found, intervals=False):
        table.add_row(*map(Text, row))
    console.print(table)
    if any(line.flattered for line in found.lines):
        console.print(Text("* lies in the last-level cache when run alone", style="dim"))


def _faint(console: Console, text: str) -> None:
    from rich.padding import Padding
    from rich.text import Text

    console.print(Padding(Text(text, style="dim"), (0, 0, 0, 2)))


def _missing_cells(console: Console, cells: Sequence[CellSummary]) -> None:
    _notes(
        console,
        "Cells without figures",
        [trust.Note(f"{cell.label} {cell.status}", cell.cause or "no cause recorded") for cell in cells],
    )


def _notes(console: Console, heading: str, notes: Sequence[trust.Note]) -> None:
    from rich.padding import Padding
    from rich.text import Text

    if not notes:
        return
    console.print()
    console.print(Text(heading, style="bold"))
    for note in notes:
        line = Text()
        line.append(plain(note.term), style="cyan")
        line.append(f": {plain(note.text)}")
        console.print(Padding(line, (0, 0, 0, 2)))
