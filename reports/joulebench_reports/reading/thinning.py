"""A channel's readings thinned to what a picture can show: means of equal spans of time.

Arrow does the arithmetic, a batch of readings at a time; Python sees the spans alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from joulebench_reports.reading.readings import named
from joulebench_reports.values.figures import ChannelReport

if TYPE_CHECKING:
    import pyarrow as pa

#: A counter is differenced over at least so many of its update periods, so that the period in
#: which it happens not to change does not read as zero power.
_UPDATES_PER_BUCKET: Final = 10
_SHORTEST_BUCKET_S: Final = 0.1
#: Empty spans in a row, in usual steps, that are a pause and not a slow gauge.
_PAUSE_STEPS: Final = 5


@dataclass(frozen=True, slots=True)
class Series:
    """One line: mean in each bucket with its lowest and highest sample; ``None`` is a gap."""

    channel: str
    provenance: str
    t_s: tuple[float, ...]
    mean: tuple[float | None, ...]
    low: tuple[float | None, ...]
    high: tuple[float | None, ...]


class Thinning:
    """The buckets of one channel, filled batch by batch.

    ``scale`` gives the value of one raw count, ``span_s`` what ``buckets`` are to cover, seconds
    count from ``start_ns``. A counter becomes a power: joules over seconds between its readings.
    """

    def __init__(self, channel: ChannelReport, scale: float, start_ns: int, span_s: float, buckets: int) -> None:
        self._channel = channel
        self._scale = scale
        self._start_ns = start_ns
        self._width = max(span_s, 1e-9) / buckets
        self._is_counter = channel.kind == "counter"
        if self._is_counter:
            updates = _UPDATES_PER_BUCKET * (channel.update_period_s or 0.0)
            self._width = max(self._width, updates, _SHORTEST_BUCKET_S)
        self._last: tuple[int, int] | None = None
        self._parts: list[pa.Table] = []
        self._readings = 0

    def add(self, batch: pa.RecordBatch) -> None:
        """Take in the channel's own readings of a batch."""
        import pyarrow.compute as pc

        own = named(batch.column("channel"), self._channel.channel)
        t_ns, raw = batch.column("t_ns").filter(own), batch.column("raw").filter(own)
        if len(t_ns) == 0:
            return
        self._readings += len(t_ns)
        if not _rises(t_ns):
            order = pc.sort_indices(t_ns)
            t_ns, raw = t_ns.take(order), raw.take(order)
        columns = self._powers(t_ns, raw) if self._is_counter else self._values(t_ns, raw)
        if columns is not None:
            self._parts.append(_summed(columns, self._width))

    def _seconds(self, t_ns: pa.Array) -> pa.Array:
        import pyarrow.compute as pc

        return pc.divide(pc.cast(pc.subtract(t_ns, self._start_ns), "float64"), 1e9)

    def _values(self, t_ns: pa.Array, raw: pa.Array) -> dict[str, pa.Array]:
        import pyarrow.compute as pc

        values = pc.multiply(pc.cast(raw, "float64"), self._scale)
        ones = pc.add(pc.multiply(values, 0.0), 1.0)
        return {"t": self._seconds(t_ns), "top": values, "bottom": ones}

    def _powers(self, t_ns: pa.Array, raw: pa.Array) -> dict[str, pa.Array] | None:
        """Joules and seconds between reads. A step back (wrap or restart) and a pause are gaps."""
        import pyarrow as pa
        import pyarrow.compute as pc

        if self._last is not None:  # the step from the batch before
            t_ns = pa.concat_arrays([pa.array([self._last[0]], t_ns.type), t_ns])
            raw = pa.concat_arrays([pa.array([self._last[1]], raw.type), raw])
        self._last = (t_ns[-1].as_py(), raw[-1].as_py())
        if len(t_ns) < 2:
            return None
        steps = pc.subtract(raw[1:], raw[:-1])
        elapsed = pc.divide(pc.cast(pc.subtract(t_ns[1:], t_ns[:-1]), "float64"), 1e9)
        good = pc.and_(pc.greater_equal(steps, 0), pc.and_(pc.greater(elapsed, 0), pc.less(elapsed, 2 * self._width)))
        joules = pc.multiply(pc.cast(steps, "float64"), self._scale)
        return {"t": self._seconds(t_ns[1:]).filter(good), "top": joules.filter(good), "bottom": elapsed.filter(good)}

    def series(self) -> Series | None:
        """The line; ``None`` where fewer than two readings, or none that can be used, were seen."""
        import pyarrow as pa

        if self._readings < 2 or not self._parts:
            return None
        merged = (
            pa.concat_tables(self._parts)
            .group_by("bucket", use_threads=False)
            .aggregate(
                [
                    ("t_sum", "sum"),
                    ("t_count", "sum"),
                    ("top_sum", "sum"),
                    ("bottom_sum", "sum"),
                    ("ratio_min", "min"),
                    ("ratio_max", "max"),
                ]
            )
        )
        points = merged.sort_by("bucket").to_pylist()
        return self._line(points) if points else None

    def _line(self, points: list[dict[str, Any]]) -> Series:
        t: list[float] = []
        lines: tuple[list[float | None], ...] = ([], [], [])
        before: int | None = None
        # Slow gauges skip buckets without a pause, so a gap is several times their usual step.
        spread = points[-1]["bucket"] - points[0]["bucket"]
        usual = max(1, round(spread / max(1, len(points) - 1)))
        for point in points:
            if before is not None and point["bucket"] - before > _PAUSE_STEPS * usual:
                t.append(round((before + 1) * self._width, 4))
                for line in lines:
                    line.append(None)
            before = point["bucket"]
            t.append(round(point["t_sum_sum"] / point["t_count_sum"], 4))
            lines[0].append(_short(point["top_sum_sum"] / point["bottom_sum_sum"]))
            # Differences between two reads of a counter show its update period, not the power.
            for line, name in zip(lines[1:], ("ratio_min_min", "ratio_max_max"), strict=True):
                line.append(None if self._is_counter else _short(point[name]))
        channel = self._channel
        return Series(channel.channel, channel.provenance, tuple(t), *map(tuple, lines))


def _rises(t_ns: pa.Array) -> bool:
    import pyarrow.compute as pc

    if len(t_ns) < 2:
        return True
    return bool(pc.all(pc.greater_equal(t_ns[1:], t_ns[:-1])).as_py())


def _summed(columns: dict[str, pa.Array], width: float) -> pa.Table:
    """Sums by bucket; the ratio of ``top`` over ``bottom`` with its lowest and highest."""
    import pyarrow as pa
    import pyarrow.compute as pc

    buckets = pc.cast(pc.floor(pc.divide(columns["t"], width)), "int64")
    ratio = pc.divide(columns["top"], columns["bottom"])
    table = pa.table({**columns, "bucket": buckets, "ratio": ratio})
    return table.group_by("bucket", use_threads=False).aggregate(
        [("t", "sum"), ("t", "count"), ("top", "sum"), ("bottom", "sum"), ("ratio", "min"), ("ratio", "max")]
    )


def _short(value: float) -> float:
    """Five significant digits: more than a picture shows, and a smaller page."""
    return float(f"{value:.5g}")
