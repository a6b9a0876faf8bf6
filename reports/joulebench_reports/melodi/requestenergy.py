"""Energy of single requests, from what the session kept: block energies, edge reads, ticks.

The meter's own arithmetic does it (:mod:`joulebench.meter.energy`). A block of one request has its
energy in the session. In other blocks the counters were read at each request's edges and gauges
were polled throughout. A window too short for its sensor has no energy of its own; its raw
difference may still enter a fit or a sum over many windows, where the edges' errors cancel.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from joulebench.api import Provenance
from joulebench.meter.counters import counter_energy_for_fit
from joulebench.meter.energy import NO_TRACE, SensorSpec, Trace, WindowEnergy, refused_if_short
from joulebench.meter.gauges import integrated_power

if TYPE_CHECKING:
    import pyarrow as pa

    from joulebench.session import Session
    from joulebench.session.tables import ChannelRow, RequestRow

#: Flags of a block's energy that say that no reading of the channel can be believed.
_FATAL: Final = frozenset({"counter_frozen", "sampler_lost"})
_NO_READ: Final = "sensor_lost"


@dataclass(frozen=True, slots=True)
class ChannelEnergy:
    """One channel's energy of one request.

    ``gross_j`` is ``None`` where the window cannot tell, and ``flags`` say why. ``fit_j`` is for
    fits and sums over many windows only; it is known for short windows too.
    """

    channel: str
    domain: str
    provenance: Provenance
    method: str
    counted: bool
    gross_j: float | None
    fit_j: float | None
    flags: tuple[str, ...] = ()


@dataclass(slots=True)
class _Readings:
    """A channel's reads: raw by time at edges, and ticks in order."""

    edges: dict[int, int] = field(default_factory=dict)
    ticks: Trace = NO_TRACE


def request_energies(
    session: Session, cell_id: str, requests: Sequence[RequestRow]
) -> Mapping[tuple[int, int], tuple[ChannelEnergy, ...]]:
    """The energies of a cell's requests by (block, request), of every energy or power channel."""
    in_block = Counter(request.block for request in requests)
    energy = _block_energies(session.table("energy", cell_id))
    channels = [channel for channel in session.row.channels or () if channel.quantity in ("energy", "power")]
    alone = all(count == 1 for count in in_block.values()) and all(
        joules.gross_j is not None or _FATAL & set(joules.flags) or _NO_READ in joules.flags
        for joules in energy.values()
    )
    readings = {} if alone else _readings(session.table("samples", cell_id), channels)
    return {
        (request.block, request.request): tuple(
            _of_request(request, in_block[request.block], channels, energy, readings)
        )
        for request in requests
    }


def _block_energies(energy: pa.Table) -> dict[tuple[int, str], ChannelEnergy]:
    import pyarrow.compute as pc

    totals = energy.filter(pc.equal(energy["phase"], "total"))
    names = ["block", "channel", "domain", "provenance", "method", "counted", "gross_j", "flags"]
    return {
        (row["block"], row["channel"]): ChannelEnergy(
            row["channel"],
            row["domain"] or "",
            row["provenance"],
            row["method"],
            bool(row["counted"]),
            row["gross_j"],
            row["gross_j"],
            tuple(row["flags"] or ()),
        )
        for row in totals.select(names).to_pylist()
    }


def _readings(samples: pa.Table, channels: Sequence[ChannelRow]) -> Mapping[str, _Readings]:
    import pyarrow.compute as pc

    at_edge = _equal(samples["origin"], "edge")
    values = samples.select(["t_ns", "raw"])
    readings: dict[str, _Readings] = {}
    for channel in channels:
        own = _equal(samples["channel"], channel.channel)
        edges = values.filter(pc.and_(own, at_edge))
        one = _Readings(dict(zip(edges["t_ns"].to_pylist(), edges["raw"].to_pylist(), strict=True)))
        # A counter that never wraps needs its edges alone.
        if channel.kind == "gauge" or channel.wraps_at is not None:
            ticks = values.filter(pc.and_not(own, at_edge))
            if not _rises(ticks["t_ns"]):
                ticks = ticks.sort_by("t_ns")
            one.ticks = Trace(_integers(ticks["t_ns"]), _integers(ticks["raw"]))
        readings[channel.channel] = one
    return readings


def _equal(column: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    """Where a column of repeated names has this one, without making text of every row."""
    import pyarrow as pa
    import pyarrow.compute as pc

    masks = [pc.equal(c.indices, c.dictionary.index(name).as_py()) for c in column.chunks]
    return pa.chunked_array(masks, pa.bool_())


def _rises(times: pa.ChunkedArray) -> bool:
    import pyarrow.compute as pc

    later, earlier = times.slice(1), times.slice(0, max(0, len(times) - 1))
    return bool(pc.all(pc.greater_equal(later, earlier), min_count=0).as_py())


def _integers(column: pa.ChunkedArray) -> Sequence[int]:
    """The values of an int64 column without nulls, without a copy into Python objects."""
    import pyarrow as pa

    whole = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], pa.int64())
    if not len(whole):
        return ()
    view = memoryview(whole.buffers()[1]).cast("B").cast("q")
    part: Sequence[int] = view[whole.offset : whole.offset + len(whole)]
    return part


def _of_request(
    request: RequestRow,
    requests_in_block: int,
    channels: Sequence[ChannelRow],
    blocks: Mapping[tuple[int, str], ChannelEnergy],
    readings: Mapping[str, _Readings],
) -> Iterator[ChannelEnergy]:
    for channel in channels:
        block = blocks.get((request.block, channel.channel))
        if block is None:
            continue
        if _FATAL & set(block.flags):
            yield _without(block, tuple(sorted(_FATAL & set(block.flags))))
        elif requests_in_block == 1 and block.gross_j is not None:
            yield block
        elif channel.channel in readings:
            yield _from_readings(request, channel, block, readings[channel.channel])
        else:
            yield _without(block, block.flags)


def _without(block: ChannelEnergy, flags: tuple[str, ...]) -> ChannelEnergy:
    return ChannelEnergy(block.channel, block.domain, block.provenance, block.method, block.counted, None, None, flags)


def _from_readings(
    request: RequestRow, channel: ChannelRow, block: ChannelEnergy, readings: _Readings
) -> ChannelEnergy:
    window, spec = _window(request, channel, readings)
    if window is None or spec is None:
        return _without(block, (_NO_READ,))
    strict = refused_if_short(window, spec)
    return ChannelEnergy(
        block.channel,
        block.domain,
        block.provenance,
        block.method,
        block.counted,
        strict.gross_j,
        window.gross_j,
        window.flags,
    )


def _window(
    request: RequestRow, channel: ChannelRow, readings: _Readings
) -> tuple[WindowEnergy | None, SensorSpec | None]:
    t0, t1 = request.t0_ns, request.t1_ns
    if t0 is None or t1 is None or channel.scale is None:
        return None, None
    spec = SensorSpec(
        channel.scale,
        channel.measured_period_s or channel.update_period_s,
        channel.resolution,
        channel.wraps_at,
        None,
        channel.relative_uncertainty or 0.0,
    )
    if channel.kind == "gauge":
        if not channel.rate_hz:
            return None, None
        return integrated_power(t0, t1, spec, readings.ticks, 1 / channel.rate_hz), spec
    start, end = readings.edges.get(t0), readings.edges.get(t1)
    if start is None or end is None:
        return None, None
    return counter_energy_for_fit((t0, start), (t1, end), spec, readings.ticks), spec
