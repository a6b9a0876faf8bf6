"""The sections of the HTML page, as elements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from joulebench.api import PROVENANCES
from joulebench_reports.html.details import cell_details
from joulebench_reports.html.folding import MOST_WRITTEN, Fold, folds
from joulebench_reports.html.markup import Child, Element, anchor, h
from joulebench_reports.notes import trust
from joulebench_reports.sections.columns import overview_columns
from joulebench_reports.values.figures import CellSummary, Figure, SessionSummary
from joulebench_reports.words.text import UNKNOWN, data_size, plain


def badge(provenance: str | None) -> Element | None:
    """The mark of a provenance: its word, with its shape and colour."""
    if provenance is None:
        return None
    return h("span", provenance, class_=f"badge {plain(provenance)}")


def section(identifier: str, title: str, *children: Child) -> Element:
    """A section that the navigation can reach."""
    return h("section", h("h2", title), *children, id=identifier)


def table(header: Sequence[Child], rows: Sequence[Sequence[Child]], numeric_from: int = 10**6) -> Element:
    """A plain table; columns from ``numeric_from`` on are set right."""

    def place(index: int) -> str | None:
        return "num" if index >= numeric_from else None

    head = h("tr", *(h("th", c, scope="col", class_=place(i)) for i, c in enumerate(header)))
    body = [h("tr", *(h("td", c, class_=place(i)) for i, c in enumerate(row))) for row in rows]
    return scrolling("table", h("table", h("thead", head), h("tbody", *body)), rows=len(rows))


def scrolling(label: str, *children: Child, rows: int) -> Element:
    """A part that scrolls by itself, by the keyboard too: sideways, and down where it is long."""
    kind = "scroll tall" if rows > MOST_WRITTEN else "scroll"
    return h("div", *children, class_=kind, tabindex="0", role="group", aria_label=label)


def notes(found: Sequence[trust.Note]) -> Element:
    """Terms and what is to be said about them."""
    pairs = [child for note in found for child in (h("dt", plain(note.term)), h("dd", plain(note.text)))]
    return h("dl", *pairs)


def head(summary: SessionSummary) -> Element:
    """Title, machine, date and the provenance banner."""
    started = (summary.created_at or "").replace("T", " ").replace("+00:00", " UTC")
    kinds = dict.fromkeys(
        each.provenance for cell in summary.shown for each in cell.energy if each.gross.value is not None
    )
    facts = [summary.profile_name, started or "date unknown", f"session {summary.status}"]
    if summary.protocol:
        facts.append(f"protocol {summary.protocol}")
    return h(
        "header",
        h("p", "joulebench report", class_="kicker"),
        h("h1", plain(trust.model_names(summary))),
        h("p", " · ".join(plain(fact) for fact in facts), class_="facts"),
        *(h("p", line, class_="facts") for line in trust.machine_lines(summary)),
        h(
            "p",
            *(badge(kind) for kind in kinds),
            h("span", plain(trust.banner(summary))),
            class_="banner" if "measured" in kinds else "banner caution",
            role="note",
        ),
    )


#: Short names of the sections, for the navigation.
_SHORT = {
    "limits": "roofline",
    "missing": "failed and skipped",
    "unmeasured": "not measured",
    "details": "every figure",
}


def navigation(names: Sequence[str]) -> Element:
    """Links to the sections that the page has."""
    links = (anchor(name, _short(name)) for name in names)
    return h("nav", *links, aria_label="sections")


def _short(name: str) -> str:
    """A section's name; of several sessions' sections each with its number."""
    base, _, place = name.partition("-")
    return f"{_SHORT.get(base, base)} {place}".strip().capitalize()


def sessions(parts: Sequence[SessionSummary]) -> Element:
    """The sessions of the report, by the names that their cells' labels begin with."""
    header = ("session", "id", "profile", "protocol", "started", "status", "machine")
    rows = [
        (
            h("b", plain(part.name)),
            plain(part.session_id),
            plain(part.profile_name),
            plain(part.protocol or "joulebench"),
            plain(part.created_at or UNKNOWN),
            plain(part.status),
            trust.machine_line(part.machine),
        )
        for part in parts
    ]
    return table(header, rows)


def overview(cells: Sequence[CellSummary]) -> Element:
    """The table of cells, which the page's script makes sortable and filterable."""
    if not cells:
        return h("p", "No cell has figures. The sections below say why.", class_="caution box")
    columns = overview_columns(cells)
    header = [
        h(
            "th",
            h("button", column.header, type="button"),
            scope="col",
            class_="num" if column.sort_key else None,
            data_apart="" if column.apart else None,
        )
        for column in columns
    ]
    header.insert(1, h("th", h("button", "energy is", type="button"), scope="col"))
    rows = []
    for cell in cells:
        data = [_overview_cell(cell, column.sort_key, column.text(cell)) for column in columns]
        data[0] = h("th", anchor(f"cell-{_slug(cell)}", plain(cell.label)), scope="row")
        data.insert(1, h("td", badge(cell.headline.provenance) or _why(cell.headline)))
        rows.append(h("tr", *data, data_rank=_rank(cell)))
    return h(
        "div",
        h(
            "p",
            h("label", "Filter cells ", for_="filter"),
            h("input", id="filter", type="search", autocomplete="off"),
            h("span", "", id="matches", class_="facts", role="status"),
            class_="tools",
        ),
        scrolling(
            "cells",
            h(
                "table",
                h(
                    "caption",
                    "± is the 95 % interval. Click a header to sort; measured, estimated and "
                    "simulated energies are sorted apart.",
                ),
                h("thead", h("tr", *header)),
                h("tbody", *rows),
                id="overview-table",
            ),
            rows=len(rows),
        ),
    )


def _rank(cell: CellSummary) -> str:
    """The provenance of the cell's energy as a number, the most trusted first."""
    kind = cell.headline.provenance if cell.headline.value is not None else None
    return str(PROVENANCES.index(kind) if kind in PROVENANCES else len(PROVENANCES))


def _overview_cell(cell: CellSummary, sort_key: object, text: str) -> Element:
    value = sort_key(cell) if callable(sort_key) else None
    return h("td", text, class_="num" if sort_key else "words", data_sort=None if value is None else repr(float(value)))


def _why(figure: Figure) -> Element:
    return h("span", UNKNOWN, title=plain(figure.reason_if_null or "unknown"))


def _slug(cell: CellSummary) -> str:
    return "".join(char if char.isalnum() else "-" for char in cell.id)


def details(cells: Sequence[CellSummary]) -> Element:
    """Every figure of every cell, folded."""
    return folds(
        "details-data", [Fold(cell.label, cell_details(cell, table, badge), f"cell-{_slug(cell)}") for cell in cells]
    )


def missing_cells(cells: Sequence[CellSummary]) -> Element:
    """Cells without figures, each with its cause."""
    rows = [(cell.label, cell.status, cell.cause_kind or UNKNOWN, cell.cause or "no cause recorded") for cell in cells]
    return table(("cell", "status", "kind", "cause"), rows)


def legend() -> Element:
    """What each provenance means."""
    pairs = [child for name, text in trust.LEGEND.items() for child in (h("dt", badge(name)), h("dd", text))]
    return h("dl", *pairs)


def record(title: str, values: Mapping[str, object]) -> list[Child]:
    """A JSON object of the record as a two-column table, nested keys joined by dots."""
    rows = [(key, text) for key, text in flattened(values)]
    return [h("h3", title), table(("what", "value"), rows) if rows else h("p", "not recorded")]


def flattened(value: object, prefix: str = "") -> list[tuple[str, str]]:
    """(key, text) of every leaf of a JSON value; null is shown as unknown."""
    if isinstance(value, Mapping):
        return [
            pair for key, inner in value.items() for pair in flattened(inner, f"{prefix}.{key}" if prefix else str(key))
        ]
    if isinstance(value, (list, tuple)):
        if not value or any(isinstance(inner, (Mapping, list)) for inner in value):
            leaves = [p for i, v in enumerate(value) for p in flattened(v, f"{prefix}[{i}]")]
            return leaves or [(prefix, "none")]
        return [(prefix, ", ".join(str(inner) for inner in value))]
    if isinstance(value, (int, float)) and prefix.endswith("_bytes"):
        return [(prefix, data_size(value))]
    return [(prefix, UNKNOWN if value is None else str(value))]


def channels(summary: SessionSummary) -> Child:
    """The channels that were sampled, with what is known of each sensor."""
    if not summary.channels:
        return h("p", "No channel was sampled.")
    rows = [
        (
            channel.channel,
            badge(channel.provenance),
            f"{channel.quantity} ({channel.kind}), {channel.unit}",
            channel.domain or UNKNOWN,
            "yes" if channel.counted else "no",
            channel.note or "",
        )
        for channel in summary.channels
    ]
    header = ("channel", "provenance", "reads", "covers", "in total", "note")
    return h("div", h("h3", "Channels"), table(header, rows))
