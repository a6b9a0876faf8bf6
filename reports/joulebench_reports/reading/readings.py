"""A cell's readings, picked out in Arrow batch by batch.

A table of ten million readings is never whole in memory, and no Python loop runs over readings.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from joulebench_reports.values.figures import ChannelReport

if TYPE_CHECKING:
    import pyarrow as pa

    from joulebench.session import Session
    from joulebench.session.tables import ChannelRow

_COLUMNS = ("t_ns", "channel", "raw", "origin")


def channels_of(session: Session) -> tuple[list[ChannelReport], dict[str, float]]:
    """The channels of a session, and the value of one raw count of each."""
    rows = session.row.channels or ()
    scales = {row.channel: 1.0 if row.scale is None else row.scale for row in rows}
    return [channel_report(row) for row in rows], scales


def channel_report(row: ChannelRow) -> ChannelReport:
    """A channel as reports show it."""
    return ChannelReport(**{name: getattr(row, name) for name in ChannelReport.__dataclass_fields__})


def named(column: pa.Array, name: str) -> pa.Array:
    """Where a column of repeated names has this one, without making text of every row."""
    import pyarrow.compute as pc

    if not hasattr(column, "indices"):
        return pc.equal(column, name)
    return pc.equal(column.indices, column.dictionary.index(name).as_py())


class CounterReadings:
    """The readings of a cell's counters by channel; nothing is read before it is asked for."""

    def __init__(self, session: Session, cell_id: str) -> None:
        self._session = session
        self._cell_id = cell_id
        self._edges: pa.Table | None = None

    def at_edges(self, channel: str) -> dict[int, int]:
        """Raw readings at the edges of windows, by time in ns: a few for each request."""
        import pyarrow as pa
        import pyarrow.compute as pc

        if self._edges is None:
            self._edges = _edge_table(self._session, self._cell_id)
        own = self._edges.filter(pc.equal(self._edges["channel"].cast(pa.string()), channel))
        return dict(zip(own["t_ns"].to_pylist(), own["raw"].to_pylist(), strict=True))

    def ticks(self, channel: str) -> tuple[list[int], list[int]]:
        """The sampler's readings in order: times in ns, and raw values."""
        readings: list[tuple[int, int]] = []
        for batch in tick_batches(self._session, self._cell_id):
            own = batch.filter(named(batch.column("channel"), channel))
            readings += zip(own.column("t_ns").to_pylist(), own.column("raw").to_pylist(), strict=True)
        readings.sort()
        return [t_ns for t_ns, _ in readings], [raw for _, raw in readings]


def _edge_table(session: Session, cell_id: str) -> pa.Table:
    import pyarrow as pa

    from joulebench.session.schema import SAMPLES

    readings = [
        batch.filter(named(batch.column("origin"), "edge")) for batch in session.scan("samples", cell_id, _COLUMNS)
    ]
    return pa.Table.from_batches(readings) if readings else SAMPLES.empty_table()


def tick_batches(session: Session, cell_id: str) -> Iterator[pa.RecordBatch]:
    """The sampler's readings (``t_ns``, ``channel``, ``raw``; none null), in the file's order."""
    import pyarrow.compute as pc

    for batch in session.scan("samples", cell_id, _COLUMNS):
        kept = pc.and_(named(batch.column("origin"), "tick"), pc.is_valid(batch.column("raw")))
        yield batch.select(["t_ns", "channel", "raw"]).filter(kept)


def first_and_last_ns(session: Session, cell_id: str) -> tuple[int, int] | None:
    """When the first and the last reading were taken; ``None`` where there is none."""
    import pyarrow.compute as pc

    ends = [
        pc.min_max(batch.column("t_ns")).as_py()
        for batch in session.scan("samples", cell_id, ["t_ns"])
        if batch.num_rows
    ]
    known = [end for end in ends if end["min"] is not None]
    if not known:
        return None
    return min(channel["min"] for channel in known), max(channel["max"] for channel in known)
