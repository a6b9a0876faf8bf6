"""What a cell's sensors read over time, beside its blocks, phases and tokens."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from joulebench.session.tables import BlockRow, EventRow, RequestRow
from joulebench_reports.reading.readings import first_and_last_ns, tick_batches
from joulebench_reports.reading.thinning import Series, Thinning
from joulebench_reports.values.figures import ChannelReport

if TYPE_CHECKING:
    import pyarrow as pa

    from joulebench.session import Session

#: Most points of one series; a chart is about 1,000 pixels wide.
BUCKETS: Final = 600
#: Most series in one panel, blocks and requests in the lane of phases, and token marks.
MOST_SERIES: Final = 8
MOST_SPANS: Final = 2000
MOST_TOKENS: Final = 1000
_MIB: Final = 2**20


@dataclass(frozen=True, slots=True)
class Detail:
    """How much of a cell a picture takes; a page of many cells takes less of each."""

    buckets: int = BUCKETS
    spans: int = MOST_SPANS
    tokens: int = MOST_TOKENS


@dataclass(frozen=True, slots=True)
class TimelineSpan:
    """A block, a phase of a request, or an event in time."""

    t0_s: float
    t1_s: float
    kind: str
    label: str = ""
    block: int | None = None
    request: int | None = None


@dataclass(frozen=True, slots=True)
class Timeline:
    """The panels of one cell on a common time axis, in seconds from its first sample or block.

    Memory is split by domain: a process's curves would be flat beside the whole machine's.
    ``start_ns`` is that moment on the session's monotonic clock. ``tokens_s`` is when the first
    tokens became known; ``spans_left_out`` counts blocks and requests, ``tokens_left_out`` tokens,
    beyond what is shown.
    """

    cell_id: str
    start_ns: int
    power_w: tuple[Series, ...]
    memory_mib: tuple[tuple[str, tuple[Series, ...]], ...]
    temperature_c: tuple[Series, ...]
    spans: tuple[TimelineSpan, ...]
    marks: tuple[TimelineSpan, ...]
    tokens_s: tuple[float, ...]
    spans_left_out: int
    tokens_left_out: int

    @property
    def empty(self) -> bool:
        """Whether there is nothing to draw."""
        return not (self.power_w or self.memory_mib or self.temperature_c or self.spans)

    @property
    def end_s(self) -> float:
        """When the last thing that is shown ends."""
        lines = [*self.power_w, *self.temperature_c, *(s for _, values in self.memory_mib for s in values)]
        ends = [line.t_s[-1] for line in lines if line.t_s]
        return max([*ends, *(span.t1_s for span in self.spans)], default=0.0)


DETAILED: Final = Detail()


def read_timeline(
    session: Session,
    cell_id: str,
    channels: Sequence[ChannelReport],
    scales: Mapping[str, float],
    detail: Detail = DETAILED,
) -> Timeline:
    """The timeline of a cell; ``scales`` gives the value of one raw count by channel."""
    blocks = session.table("blocks", cell_id)
    requests = session.table("requests", cell_id)
    where = f"{session.path}/cells/{cell_id}"
    start_ns, end_ns = _extent(session, cell_id, blocks)
    chosen = _chosen(channels)
    lines = {
        channel.channel: Thinning(
            channel,
            scales.get(channel.channel, 1.0) / (_MIB if channel.quantity == "memory" else 1),
            start_ns,
            (end_ns - start_ns) * 1e-9,
            detail.buckets,
        )
        for channel in chosen
    }
    if lines:
        for batch in tick_batches(session, cell_id):
            for line in lines.values():
                line.add(batch)
    thinned = {name: line.series() for name, line in lines.items()}
    series = {name: line for name, line in thinned.items() if line is not None}
    spans, left_out = _spans(blocks, requests, where, start_ns, detail.spans)
    tokens, tokens_left_out = _tokens(requests, start_ns, detail.tokens)

    def panel(group: Sequence[ChannelReport]) -> tuple[Series, ...]:
        return tuple(series[channel.channel] for channel in group if channel.channel in series)

    return Timeline(
        cell_id=cell_id,
        start_ns=start_ns,
        power_w=panel(_power_channels(channels)),
        memory_mib=tuple(
            (domain, memory_panel)
            for domain, group in _memory_by_domain(channels).items()
            if (memory_panel := panel(group))
        ),
        temperature_c=panel(_temperatures(channels)),
        spans=spans,
        marks=_marks(session.table("events", cell_id), where, start_ns),
        tokens_s=tokens,
        spans_left_out=left_out,
        tokens_left_out=tokens_left_out,
    )


def _extent(session: Session, cell_id: str, blocks: pa.Table) -> tuple[int, int]:
    """The first and last moment of a cell, by its readings and its blocks."""
    import pyarrow.compute as pc

    ends = [first_and_last_ns(session, cell_id) or ()]
    if blocks.num_rows:
        ends.append((pc.min(blocks["t0_ns"]).as_py(), pc.max(blocks["t1_ns"]).as_py()))
    known = [bound for pair in ends for bound in pair if bound is not None]
    return (min(known), max(known)) if known else (0, 0)


# -- channels -----------------------------------------------------------------------------------


def _chosen(channels: Sequence[ChannelReport]) -> list[ChannelReport]:
    groups = [_power_channels(channels), _temperatures(channels)]
    groups += _memory_by_domain(channels).values()
    return [channel for group in groups for channel in group]


def _power_channels(channels: Sequence[ChannelReport]) -> list[ChannelReport]:
    """Energy counters first; polled power where a counter does not cover it."""
    counters = [c for c in channels if c.quantity == "energy" and c.kind == "counter"]
    counted = [c for c in counters if c.counted]
    gauges = [c for c in channels if c.quantity == "power"]
    return (counted + [c for c in gauges if c.counted or not counted])[:MOST_SERIES]


def _temperatures(channels: Sequence[ChannelReport]) -> list[ChannelReport]:
    return [c for c in channels if c.quantity == "temperature"][:MOST_SERIES]


def _memory_by_domain(channels: Sequence[ChannelReport]) -> dict[str, list[ChannelReport]]:
    groups: dict[str, list[ChannelReport]] = {}
    for channel in channels:
        if channel.quantity == "memory":
            groups.setdefault(channel.domain or "memory", []).append(channel)
    return {domain: group[:MOST_SERIES] for domain, group in groups.items()}


# -- blocks, phases, tokens, events -------------------------------------------------------------


def _spans(
    blocks: pa.Table, requests: pa.Table, where: str, start_ns: int, most: int
) -> tuple[tuple[TimelineSpan, ...], int]:
    from joulebench.session.conversion import rows_of

    spans: list[TimelineSpan] = []
    left_out = max(0, blocks.num_rows - most) + max(0, requests.num_rows - most)
    for block in rows_of(blocks.slice(0, most), BlockRow, where):
        if block.t0_ns is not None and block.t1_ns is not None:
            t0, t1 = ((t_ns - start_ns) / 1e9 for t_ns in (block.t0_ns, block.t1_ns))
            spans.append(TimelineSpan(round(t0, 5), round(t1, 5), "block", block=block.block))
    columns = ["cell_id", "block", "request", "t0_ns", "prefill_s", "decode_s"]
    for request in rows_of(requests.slice(0, most).select(columns), RequestRow, where):
        spans.extend(_phase_spans(request, start_ns))
    return tuple(spans), left_out


def _phase_spans(row: RequestRow, start_ns: int) -> Iterator[TimelineSpan]:
    """Prefill from the request's start, then decode, as far as they were marked."""
    if row.t0_ns is None or row.prefill_s is None:
        return
    begin = (row.t0_ns - start_ns) / 1e9
    first = begin + row.prefill_s
    yield TimelineSpan(round(begin, 5), round(first, 5), "prefill", block=row.block, request=row.request)
    if row.decode_s is not None:
        end = first + row.decode_s
        yield TimelineSpan(round(first, 5), round(end, 5), "decode", block=row.block, request=row.request)


def _tokens(requests: pa.Table, start_ns: int, most: int) -> tuple[tuple[float, ...], int]:
    """When each of the first tokens became known, and how many more there are."""
    import pyarrow.compute as pc

    every = pc.drop_null(pc.list_flatten(requests["token_t_ns"]))
    shown = [round((t_ns - start_ns) / 1e9, 4) for t_ns in every.slice(0, most).to_pylist()]
    return tuple(shown), max(0, len(every) - most)


def _marks(events: pa.Table, where: str, start_ns: int) -> tuple[TimelineSpan, ...]:
    """Events that are worth a line: all but the edges that blocks and phases already show.

    The comparison with the reference is no moment of the measurement; it has its own table.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    from joulebench.session.conversion import rows_of

    edges = pa.array(["phase", "block_start", "block_end", "agreement"])
    odd = events.filter(pc.invert(pc.is_in(events["kind"], value_set=edges)))
    result: list[TimelineSpan] = []
    for event in rows_of(odd.slice(0, MOST_SPANS), EventRow, where):
        at = round((event.t_ns - start_ns) / 1e9, 4)
        result.append(TimelineSpan(at, at, event.kind or "event", event.detail or ""))
    return tuple(result)
