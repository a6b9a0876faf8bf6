"""What a cell's sensors read over time, thinned to what a picture can show.

Arrow does the arithmetic over samples; Python touches at most :data:`BUCKETS` points a series.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from joulebench_reports.figures import ChannelReport

if TYPE_CHECKING:
    import pyarrow as pa

    from joulebench.session import Session

#: Most points of one series; a chart is about 1,000 pixels wide.
BUCKETS: Final = 600
#: Most series in one panel, and spans in the lane of phases.
MOST_SERIES: Final = 8
MOST_SPANS: Final = 2000
#: A counter is differenced over at least so many of its update periods, so that the period in
#: which it happens not to change does not read as zero power.
_UPDATES_PER_BUCKET: Final = 10
_SHORTEST_BUCKET_S: Final = 0.1


@dataclass(frozen=True, slots=True)
class Series:
    """One line: mean in each bucket with its lowest and highest sample; ``None`` is a gap."""

    channel: str
    provenance: str
    t_s: tuple[float, ...]
    mean: tuple[float | None, ...]
    low: tuple[float | None, ...]
    high: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class Span:
    """A block or a phase in time."""

    t0_s: float
    t1_s: float
    kind: str
    label: str


@dataclass(frozen=True, slots=True)
class Timeline:
    """The panels of one cell on a common time axis, in seconds from its first sample or block.

    Memory is split by domain: a process's curves would be flat beside the whole machine's.
    """

    cell_id: str
    power_w: tuple[Series, ...]
    memory_mib: tuple[tuple[str, tuple[Series, ...]], ...]
    temperature_c: tuple[Series, ...]
    spans: tuple[Span, ...]
    marks: tuple[Span, ...]
    spans_left_out: int

    @property
    def empty(self) -> bool:
        """Whether there is nothing to draw."""
        return not (self.power_w or self.memory_mib or self.temperature_c or self.spans)


def read_timeline(
    session: Session, cell_id: str, channels: Sequence[ChannelReport], scales: dict[str, float]
) -> Timeline:
    """The timeline of a cell; ``scales`` gives the value of one raw count by channel."""
    import pyarrow.compute as pc

    samples = session.table("samples", cell_id)
    blocks = session.table("blocks", cell_id)
    starts = [
        pc.min(table[column]).as_py()
        for table, column in ((samples, "t_ns"), (blocks, "t0_ns"))
        if table.num_rows
    ]
    start = min((s for s in starts if s is not None), default=0)
    spans, left_out = _spans(blocks, session.table("requests", cell_id), start)
    ticks = samples.filter(pc.equal(pc.cast(samples["origin"], "string"), "tick"))

    def panel(chosen: Sequence[ChannelReport], factor: float = 1.0) -> tuple[Series, ...]:
        lines = (
            _series(ticks, channel, scales.get(channel.channel, 1.0) * factor, start)
            for channel in chosen[:MOST_SERIES]
        )
        return tuple(line for line in lines if line is not None)

    return Timeline(
        cell_id=cell_id,
        power_w=panel(_power_channels(channels)),
        memory_mib=tuple(
            (domain, lines)
            for domain, group in _memory_by_domain(channels).items()
            if (lines := panel(group, 1 / 2**20))
        ),
        temperature_c=panel([c for c in channels if c.quantity == "temperature"]),
        spans=spans,
        marks=_marks(session.table("events", cell_id), start),
        spans_left_out=left_out,
    )


def _memory_by_domain(channels: Sequence[ChannelReport]) -> dict[str, list[ChannelReport]]:
    groups: dict[str, list[ChannelReport]] = {}
    for channel in channels:
        if channel.quantity == "memory":
            groups.setdefault(channel.domain or "memory", []).append(channel)
    return groups


def _power_channels(channels: Sequence[ChannelReport]) -> list[ChannelReport]:
    """Energy counters first; polled power where a counter does not cover it."""
    counters = [c for c in channels if c.quantity == "energy" and c.kind == "counter"]
    counted = [c for c in counters if c.counted]
    gauges = [c for c in channels if c.quantity == "power"]
    return counted + [c for c in gauges if c.counted or not counted]


def _series(ticks: pa.Table, channel: ChannelReport, scale: float, start_ns: int) -> Series | None:
    import pyarrow.compute as pc

    own = ticks.filter(pc.equal(pc.cast(ticks["channel"], "string"), channel.channel))
    own = own.filter(pc.is_valid(own["raw"])).select(["t_ns", "raw"]).sort_by("t_ns")
    if own.num_rows < 2:
        return None
    t_s = pc.divide(pc.cast(pc.subtract(own["t_ns"], start_ns), "float64"), 1e9)
    span = max(pc.max(t_s).as_py() - pc.min(t_s).as_py(), 1e-9)
    width = span / BUCKETS
    raw = own["raw"].combine_chunks()
    t_s = t_s.combine_chunks()
    if channel.kind == "counter":
        updates = _UPDATES_PER_BUCKET * (channel.update_period_s or 0.0)
        width = max(width, updates, _SHORTEST_BUCKET_S)
        columns = _differenced(t_s, raw, scale, width)
    else:
        values = pc.multiply(pc.cast(raw, "float64"), scale)
        columns = {"t": t_s, "top": values, "bottom": pc.add(pc.multiply(values, 0.0), 1.0)}
    return _bucketed(channel, columns, width)


def _differenced(t_s: pa.Array, raw: pa.Array, scale: float, width: float) -> dict[str, pa.Array]:
    """Joules and seconds between reads. A step back (wrap or restart) and a pause are gaps."""
    import pyarrow.compute as pc

    steps = pc.subtract(raw[1:], raw[:-1])
    joules = pc.multiply(pc.cast(steps, "float64"), scale)
    elapsed = pc.subtract(t_s[1:], t_s[:-1])
    good = pc.and_(
        pc.greater_equal(steps, 0), pc.and_(pc.greater(elapsed, 0), pc.less(elapsed, 2 * width))
    )
    return {
        "t": t_s[1:].filter(good),
        "top": joules.filter(good),
        "bottom": elapsed.filter(good),
    }


def _bucketed(channel: ChannelReport, columns: dict[str, pa.Array], width: float) -> Series | None:
    """Mean of each bucket (sum of ``top`` over sum of ``bottom``), gaps where one is empty."""
    import pyarrow as pa
    import pyarrow.compute as pc

    table = pa.table(columns)
    if table.num_rows == 0:
        return None
    table = table.append_column(
        "bucket", pc.cast(pc.floor(pc.divide(table["t"], width)), "int64")
    ).append_column("ratio", pc.divide(table["top"], table["bottom"]))
    means = table.group_by("bucket").aggregate(
        [("t", "mean"), ("top", "sum"), ("bottom", "sum"), ("ratio", "min"), ("ratio", "max")]
    )
    points = means.sort_by("bucket").to_pylist()
    counter = channel.kind == "counter"
    t: list[float] = []
    mean: list[float | None] = []
    low: list[float | None] = []
    high: list[float | None] = []
    before: int | None = None
    # Slow gauges skip buckets without a pause, so a gap is several times their usual step.
    usual = max(1, round((points[-1]["bucket"] - points[0]["bucket"]) / max(1, len(points) - 1)))
    for point in points:
        if before is not None and point["bucket"] - before > 5 * usual:
            t.append(round((before + 1) * width, 4))
            mean.append(None)
            low.append(None)
            high.append(None)
        before = point["bucket"]
        value = point["top_sum"] / point["bottom_sum"]
        t.append(round(point["t_mean"], 4))
        mean.append(_short(value))
        # Differences between two reads of a counter show its update period, not the power.
        low.append(None if counter else _short(point["ratio_min"]))
        high.append(None if counter else _short(point["ratio_max"]))
    return Series(
        channel.channel, channel.provenance, tuple(t), tuple(mean), tuple(low), tuple(high)
    )


def _short(value: float) -> float:
    """Five significant digits: more than a picture shows, and a smaller page."""
    return float(f"{value:.5g}")


def _spans(blocks: pa.Table, requests: pa.Table, start_ns: int) -> tuple[tuple[Span, ...], int]:
    found: list[Span] = []
    left_out = max(0, blocks.num_rows - MOST_SPANS) + max(0, requests.num_rows - MOST_SPANS)
    for row in blocks.slice(0, MOST_SPANS).select(["block", "t0_ns", "t1_ns"]).to_pylist():
        if row["t0_ns"] is not None and row["t1_ns"] is not None:
            t0, t1 = ((row[name] - start_ns) / 1e9 for name in ("t0_ns", "t1_ns"))
            found.append(Span(round(t0, 5), round(t1, 5), "block", f"block {row['block']}"))
    columns = ["block", "request", "t0_ns", "prefill_s", "decode_s"]
    for row in requests.slice(0, MOST_SPANS).select(columns).to_pylist():
        found.extend(_phase_spans(row, start_ns))
    return tuple(found), left_out


def _phase_spans(row: dict[str, int | float | None], start_ns: int) -> list[Span]:
    """Prefill from the request's start, then decode, as far as they were marked."""
    begin, prefill, decode = row["t0_ns"], row["prefill_s"], row["decode_s"]
    label = f"block {row['block']}, request {row['request']}"
    if begin is None or prefill is None:
        return []
    t0 = (begin - start_ns) / 1e9
    spans = [Span(round(t0, 5), round(t0 + prefill, 5), "prefill", label)]
    if decode is not None:
        end = round(t0 + prefill + decode, 5)
        spans.append(Span(round(t0 + prefill, 5), end, "decode", label))
    return spans


def _marks(events: pa.Table, start_ns: int) -> tuple[Span, ...]:
    """Events that are worth a line: all but the edges that blocks and phases already show.

    The comparison with the reference is no moment of the measurement; it has its own table.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    edges = pa.array(["phase", "block_start", "block_end", "agreement"])
    odd = events.filter(pc.invert(pc.is_in(events["kind"], value_set=edges)))
    result: list[Span] = []
    for row in odd.slice(0, MOST_SPANS).select(["t_ns", "kind", "detail"]).to_pylist():
        if row["t_ns"] is not None:
            at = round((row["t_ns"] - start_ns) / 1e9, 4)
            result.append(Span(at, at, row["kind"] or "event", row["detail"] or ""))
    return tuple(result)
