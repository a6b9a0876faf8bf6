"""The items of a report as elements of the page, whatever their subject."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache

from joulebench.api import PROVENANCES
from joulebench_reports.charts.specification import Chart
from joulebench_reports.html.folding import MOST_WRITTEN, folding
from joulebench_reports.html.markup import Child, Element, anchor, data_block, h
from joulebench_reports.sections.report import (
    Banner,
    Column,
    Folds,
    Heading,
    Item,
    NoteList,
    Paragraph,
    Quote,
    Report,
    Section,
    Table,
    TableCell,
    Timelines,
    table,
)
from joulebench_reports.words.text import plain


def head(report: Report) -> Element:
    """Title, facts, lines and the provenance banner."""
    lines = [" · ".join(map(plain, report.facts)), *map(plain, report.lines)]
    return h(
        "header",
        h("p", "joulebench report", class_="kicker"),
        h("h1", plain(report.title)),
        *(h("p", line, class_="facts") for line in lines if line),
        None if report.banner is None else _banner(report.banner),
    )


def _banner(banner: Banner) -> Element:
    kind = "banner caution" if banner.caution else "banner"
    return h("p", *map(_badge, banner.provenances), h("span", plain(banner.text)), class_=kind, role="note")


def navigation(sections: Sequence[Section]) -> Element:
    """Links to the sections."""
    return h(
        "nav",
        *(anchor(section.id, plain(section.short or section.heading)) for section in sections),
        aria_label="sections",
    )


@dataclass(frozen=True, slots=True)
class SectionElements:
    """A section as elements; charts as pictures where they are ``drawn``, else as their data alone."""

    section: Section
    drawn: bool

    @property
    def element(self) -> Element:
        """The whole section, which the navigation reaches by its id."""
        heading = h("h2", plain(self.section.heading))
        return h("section", heading, *self._all(self.section.items), id=self.section.id)

    @property
    def charts(self) -> dict[str, object]:
        """The specification of each of its charts by the id of its picture."""
        return {self._chart_id(item): item.spec for item in self.section.items if isinstance(item, Chart)}

    def _chart_id(self, chart: Chart) -> str:
        return f"{self.section.id}-{chart.id}"

    def _all(self, items: Sequence[Item]) -> Iterator[Child]:
        return (child for item in items for child in self._children(item))

    def _children(self, item: Item) -> Iterator[Child]:
        match item:
            case Heading(text, level):
                yield h(f"h{level}", plain(text))
            case Paragraph(text):
                yield h("p", plain(text), class_="facts")
            case Table():
                yield _searchable(item) if item.searchable else _scrolling(_table(item), len(item.rows))
            case NoteList(notes):
                pairs = (child for note in notes for child in (h("dt", plain(note.term)), h("dd", plain(note.text))))
                yield _scrolling(h("dl", *pairs), len(notes)) if len(notes) > MOST_WRITTEN else h("dl", *pairs)
            case Quote(label, text):
                yield h("blockquote", h("b", plain(label)), h("pre", text))
            case Folds(name, parts):
                contents = [
                    [child for part_item in part.items for child in self._children(part_item)] for part in parts
                ]
                yield folding(name, [(plain(part.label), part.id) for part in parts], contents)
            case Timelines():
                yield from self._timelines(item)
            case Chart():
                yield self._figure(item)

    def _figure(self, chart: Chart) -> Element:
        data = h(
            "details",
            h("summary", "Data of this chart"),
            _scrolling(_table(table(chart.header, chart.rows)), len(chart.rows)),
            open="" if chart.unfolded or not self.drawn else None,
        )
        identifier = self._chart_id(chart)
        picture = h("div", class_="chart", data_chart=identifier, role="group", aria_label=plain(chart.description))
        caption = h("figcaption", plain(chart.title), " ", _badge(chart.provenance))
        return h("figure", caption, picture if self.drawn else None, data, id=identifier)

    def _timelines(self, timelines: Timelines) -> Iterator[Child]:
        ranges = _scrolling(_table(timelines.ranges), len(timelines.ranges.rows))
        if not self.drawn:
            yield ranges
            return
        yield _timeline_tools(timelines)
        yield h(
            "figure",
            h("figcaption", plain(timelines.title), " ", *map(_badge, timelines.provenances)),
            h("div", class_="chart", id="timeline-chart", role="group", aria_label=plain(timelines.description)),
            *(h("p", plain(remark), class_="facts") for remark in timelines.remarks),
            h("details", h("summary", "Range of each series, all cells"), ranges),
        )
        charts = {chart.id: {"spec": chart.spec, "data": chart.data, "end": chart.end_s} for chart in timelines.charts}
        yield data_block("timeline-data", charts)


def _timeline_tools(timelines: Timelines) -> Element:
    """The cell to show, and the stretch of time."""
    options = (h("option", plain(chart.label), value=chart.id) for chart in timelines.charts)
    return h(
        "p",
        h("label", "Cell ", for_="timeline-cell"),
        h("select", *options, id="timeline-cell"),
        h("label", "from, s ", for_="timeline-from"),
        h("input", id="timeline-from", type="number", min="0", step="any"),
        h("label", "to, s ", for_="timeline-to"),
        h("input", id="timeline-to", type="number", min="0", step="any"),
        class_="tools",
    )


def _badge(provenance: str | None) -> Element | None:
    """The mark of a provenance: its word, with its shape and colour."""
    return None if provenance is None else h("span", plain(provenance), class_=f"badge {plain(provenance)}")


def _scrolling(content: Element, rows: int) -> Element:
    """A part that scrolls by itself, by the keyboard too: sideways, and down where it is long."""
    kind = "scroll tall" if rows > MOST_WRITTEN else "scroll"
    return h("div", content, class_=kind, tabindex="0", role="group", aria_label="table")


def _table(content: Table) -> Element:
    head = (h("th", plain(column.heading), scope="col", class_=_alignment(column)) for column in content.columns)
    return h("table", h("thead", h("tr", *head)), _body(content))


def _searchable(content: Table) -> Element:
    """A table that the page's script makes sortable and filterable."""
    head = (
        h(
            "th",
            h("button", plain(column.heading), type="button"),
            scope="col",
            class_=_alignment(column),
            data_apart="" if column.apart else None,
        )
        for column in content.columns
    )
    caption = h(
        "caption",
        "± is the 95 % interval. Click a header to sort; measured, estimated and simulated figures are sorted apart.",
    )
    tools = h(
        "p",
        h("label", "Filter cells ", for_="filter"),
        h("input", id="filter", type="search", autocomplete="off"),
        h("span", "", id="matches", class_="facts", role="status"),
        h("span", h("input", id="all-columns", type="checkbox"), h("label", " all columns", for_="all-columns")),
        class_="tools",
    )
    whole = h("table", caption, h("thead", h("tr", *head)), _body(content), id="overview-table", class_="brief")
    return h("div", tools, _scrolling(whole, len(content.rows)))


def _body(content: Table) -> Element:
    return h(
        "tbody", *(h("tr", *(_entry(*pair) for pair in zip(content.columns, row, strict=True))) for row in content.rows)
    )


@lru_cache(maxsize=1 << 14)
def _entry(column: Column, entry: TableCell | str) -> Element:
    """A cell; in hundreds of tables many are alike."""
    if isinstance(entry, str):
        return h("td", plain(entry), class_=_alignment(column))
    text = plain(entry.text)
    if entry.link is not None:
        return h("th", anchor(entry.link, text), scope="row")
    badge = _badge(entry.provenance) if column.badges else None
    return h(
        "td",
        badge,
        None if badge is not None and text == entry.provenance else h("b", text) if entry.strong else text,
        class_=_alignment(column),
        title=None if not entry.hint else plain(entry.hint),
        data_sort=None if entry.value is None else repr(float(entry.value)),
        data_rank=_rank(entry) if column.apart else None,
    )


@cache
def _alignment(column: Column) -> str | None:
    """Numbers to the right; the rank decides where there is room for the column."""
    rank = f"rank-{column.rank}" if column.rank else ""
    return " ".join(part for part in ("num" if column.numeric else "", rank) if part) or None


def _rank(entry: TableCell) -> str | None:
    """The provenance as a number, the most trusted first, which goes without saying; unknown last."""
    if entry.value is None:
        return str(len(PROVENANCES))
    place = PROVENANCES.index(entry.provenance) if entry.provenance in PROVENANCES else 0
    return str(place) if place else None
