"""Rows of a session's tables, made from what was observed."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import cast

import pyarrow as pa

from joulebench.api import Channel, Provenance
from joulebench.meter.energy import Method, Trace, WindowEnergy, relative_u_of
from joulebench.meter.idle import IdlePower, attributed_energy, net_energy
from joulebench.meter.live.calibration import SensorCalibration
from joulebench.meter.live.channels import edge_channels
from joulebench.meter.live.sampling import Drained
from joulebench.meter.windows import TOTAL, PhaseEnergy, trusted_joules
from joulebench.plan.cells import PlannedCell
from joulebench.protocol import Block, RequestRecord
from joulebench.runs.simulated import block_cost, with_device_time
from joulebench.sensors.gate import hottest_c
from joulebench.sensors.probing import ProbeState
from joulebench.session.schema import file_schema
from joulebench.session.tables import (
    BlockRow,
    CellRow,
    ChannelRow,
    ClockTriple,
    EnergyRow,
    EventRow,
    ProbeRow,
    RequestRow,
    SampleRow,
    ServedRow,
)


def channel_row(channel: Channel, calibration: SensorCalibration | None) -> ChannelRow:
    """A channel as the session records it, with what its calibration found."""
    return ChannelRow(
        channel=channel.path,
        quantity=channel.quantity,
        unit=channel.unit,
        kind=channel.kind,
        scale=channel.scale,
        provenance=channel.provenance,
        domain=channel.domain,
        counted=channel.counted,
        rate_hz=channel.rate_hz,
        update_period_s=channel.update_period_s,
        resolution=channel.resolution,
        measured_period_s=calibration.period_s if calibration else None,
        measured_period_low_s=calibration.period_low_s if calibration else None,
        measured_period_high_s=calibration.period_high_s if calibration else None,
        measured_quantum=calibration.quantum if calibration else None,
        read_cost_s=calibration.read_cost_s if calibration else None,
        wraps_at=channel.wraps_at,
        relative_uncertainty=relative_u_of(channel),
        offset_u_w=None if channel.accuracy is None else channel.accuracy.offset_u_w,
        note=channel.note or None,
    )


def probe_row(state: ProbeState) -> ProbeRow:
    """A probe's state as the session records it."""
    return ProbeRow(
        probe=state.name,
        available=state.availability.ok,
        reason=state.availability.reason,
        cure=state.availability.cure,
    )


def planned_row(cell: PlannedCell, status: str) -> CellRow:
    """A cell's row with what the plan determines of it."""
    return CellRow(
        cell_id=cell.id,
        label=cell.label,
        model=cell.model,
        model_source=cell.model_source,
        technique=cell.technique,
        backend=cell.backend,
        device=cell.device,
        workload=cell.workload,
        unit=cell.unit,
        status=status,
        settings_json=json.dumps(cell.settings),
    )


def request_rows(cell_id: str, number: int, block: Block, clock: ClockTriple) -> list[RequestRow]:
    """A row for each request of a block."""
    return [_request_row(cell_id, number, place, request, clock) for place, request in enumerate(block.requests)]


def _request_row(cell_id: str, number: int, place: int, request: RequestRecord, clock: ClockTriple) -> RequestRow:
    seconds: dict[str, float] = {}
    for name, begin, end in request.phases():
        seconds[name] = seconds.get(name, 0.0) + (end.t_ns - begin.t_ns) * 1e-9
    decode_s = seconds.get("decode")
    prefilled = "prefill" in seconds and bool(request.token_t_ns)
    row = RequestRow(
        cell_id=cell_id,
        block=number,
        request=place,
        prompt_index=request.prompt_index,
        t0_ns=request.t0_ns,
        t1_ns=request.t1_ns,
        start_utc=clock.utc(request.t0_ns),
        end_utc=clock.utc(request.t1_ns),
        duration_s=(request.t1_ns - request.t0_ns) * 1e-9,
        ttft_s=(request.token_t_ns[0] - request.t0_ns) * 1e-9 if prefilled else None,
        prefill_s=seconds.get("prefill"),
        decode_s=decode_s if request.decode_tokens else None,
        tpot_s=decode_s * request.sequences / request.decode_tokens if decode_s and request.decode_tokens else None,
        prefill_tokens=request.prefill_tokens,
        decode_tokens=request.decode_tokens,
        sequences=request.sequences,
        units=request.units,
        token_t_ns=request.token_t_ns,
        output_tokens=request.output,
        prompt=request.prompt,
        response=request.response,
        values_json=json.dumps(request.values) if request.values else None,
        served=tuple(ServedRow(**asdict(served)) for served in request.served) or None,
    )
    return with_device_time(row, request)


def request_values(text: str | None) -> list[tuple[str, float]]:
    """The further figures of a request, from its row's ``values_json``."""
    return [] if text is None else list(json.loads(text).items())


def energy_row(cell_id: str, block: int, part: PhaseEnergy, worker_cpu_s: float, all_cpu_s: float | None) -> EnergyRow:
    """A row of the energy table; net energy is filled in when the idle baselines are known."""
    channel, window = part.channel, part.energy
    share = attributed_energy(window, worker_cpu_s, all_cpu_s) if all_cpu_s and part.phase == TOTAL else None
    return EnergyRow(
        cell_id=cell_id,
        block=block,
        phase=part.phase,
        channel=channel.path,
        domain=channel.domain,
        provenance=channel.provenance,
        method=window.method,
        counted=channel.counted,
        duration_s=window.duration_s,
        gross_j=window.gross_j,
        gross_u_j=window.u_j,
        attributed_j=share[0] if share else None,
        attributed_u_j=share[1] if share else None,
        flags=tuple(window.flags),
    )


def block_joules(rows: Iterable[EnergyRow]) -> float | None:
    """Joules of a block from its rows of the energy table: the total of the best provenance."""
    return trusted_joules(
        (cast("Provenance", row.provenance), row.gross_j) for row in rows if row.phase == TOTAL and row.counted
    )


def with_net(row: EnergyRow, idle: IdlePower | None) -> EnergyRow:
    """The row with its net energy, null where the idle baseline was refused or is missing."""
    if idle is None or row.gross_j is None or row.duration_s is None:
        return row
    window = WindowEnergy(row.gross_j, row.gross_u_j, cast("Method", row.method), row.flags, row.duration_s)
    net = net_energy(window, idle)
    flags = (*row.flags, *(flag for flag in net.flags if flag not in row.flags))
    return replace(row, net_j=net.gross_j, net_u_j=net.u_j, flags=flags)


def event_rows(number: int, block: Block) -> list[EventRow]:
    """The edges of a block and of its requests' phases."""
    return [
        EventRow(t_ns=block.t0_ns, kind="block_start", block=number),
        *(
            EventRow(t_ns=edge.t_ns, kind="phase", block=number, request=place, detail=edge.kind)
            for place, request in enumerate(block.requests)
            for edge in request.edges
        ),
        EventRow(t_ns=block.t1_ns, kind="block_end", block=number),
    ]


def note_row(kind: str, block: int | None, detail: str) -> EventRow:
    """Something that happened now."""
    return EventRow(t_ns=time.perf_counter_ns(), kind=kind, block=block, detail=detail)


def block_row(cell_id: str, number: int, process: int, block: Block, clock: ClockTriple) -> BlockRow:
    """A block's row with what its worker said of it."""
    cost = block_cost(block)
    return BlockRow(
        cell_id=cell_id,
        block=number,
        process=process,
        t0_ns=block.t0_ns,
        t1_ns=block.t1_ns,
        start_utc=clock.utc(block.t0_ns),
        duration_s=block.duration_s,
        device_s=None if cost is None else cost.device_s,
        device_cycles=None if cost is None else cost.cycles,
        requests=len(block.requests),
        prefill_tokens=sum(request.prefill_tokens for request in block.requests),
        decode_tokens=sum(request.decode_tokens for request in block.requests),
        units=block.units,
        worker_cpu_s=block.cpu_s,
    )


def hottest_at_ends_c(channels: Sequence[Channel], traces: Mapping[int, Trace]) -> tuple[float | None, float | None]:
    """The hottest temperature at the start and at the end of a block."""
    shown = [
        (channels[index].scale, trace.raw)
        for index, trace in traces.items()
        if channels[index].quantity == "temperature" and trace.raw
    ]
    return hottest_c(raw[0] * scale for scale, raw in shown), hottest_c(raw[-1] * scale for scale, raw in shown)


def mean_cpu_hz(channels: Sequence[Channel], traces: Mapping[int, Trace]) -> float | None:
    """The mean frequency of the processor's cores in a block."""
    means = [
        channels[index].scale * sum(trace.raw) / len(trace.raw)
        for index, trace in traces.items()
        if channels[index].quantity == "frequency" and channels[index].domain.startswith("cpu") and trace.raw
    ]
    return sum(means) / len(means) if means else None


def sample_table(channels: Sequence[Channel], block: Block, drained: Drained) -> pa.Table:
    """The sampler's ticks and the reads at the edges of a block, as the schema has them."""
    t_ns, channel, raw = list(drained.t_ns), list(drained.channel), list(drained.raw)
    origin = [0] * len(t_ns)
    order = edge_channels(channels)
    for request in block.requests:
        for edge in request.edges:
            for index, value in zip(order, edge.raw, strict=True):
                if value is not None:
                    t_ns.append(edge.t_ns)
                    channel.append(index)
                    raw.append(value)
                    origin.append(1)
    return pa.Table.from_arrays(
        [
            pa.array(t_ns, pa.int64()),
            _dictionary(channel, [channel.path for channel in channels]),
            pa.array(raw, pa.int64()),
            _dictionary(origin, ["tick", "edge"]),
        ],
        schema=file_schema(SampleRow),
    )


def _dictionary(indices: Sequence[int], names: Sequence[str]) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(indices, pa.int32()), pa.array(names, pa.string()))
