"""A session as a run writes it, with readings from which the energy of each request is known."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from joulebench.session import Session
from joulebench.session.tables import BlockRow, CellRow, ChannelRow, EnergyRow, RequestRow, SampleRow, SessionRow
from joulebench.session.writing import SessionWriter

START = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
NS = 1_000_000_000


@dataclass
class Meter:
    """A channel. A counter counts mJ of ``watts``; a gauge shows mW, ten times a second."""

    name: str
    watts: float
    domain: str = "package-0"
    kind: str = "counter"
    provenance: str = "measured"
    counted: bool = True
    period_s: float = 0.001
    wraps_at: int | None = None
    block_flags: list[str] = field(default_factory=list)
    method: str = "counter"

    def raw(self, t_ns: int) -> int:
        if self.kind == "gauge":
            return round(self.watts * 1000)
        counts = round(self.watts * 1000 * t_ns / NS)
        return counts if self.wraps_at is None else counts % self.wraps_at


@dataclass
class Ask:
    """A request: tokens, and seconds of prefill and decoding."""

    prompt_tokens: int
    response_tokens: int
    prefill_s: float = 0.5
    decode_s: float = 1.5
    prompt: str | None = "What is it?"
    index: int = 0


def write(
    path: Path,
    blocks: list[list[Ask]],
    meters: list[Meter],
    *,
    device: str = "cpu",
    block_flags: list[str] | None = None,
) -> Session:
    path.mkdir(parents=True)
    writer = SessionWriter(path)
    row = SessionRow(
        session_id=path.name,
        joulebench_version="0.1.0",
        status="complete",
        created_at=START,
        profile_name="made-up",
        plan_json=json.dumps({"cells": [{"id": "a"}]}),
        machine_json=json.dumps({"cpu": {"model": "Example CPU"}, "virtualization": None}),
        channels=tuple(_channel(meter) for meter in meters),
        probes=(),
    )
    writer.write_session(row)
    streams = {name: writer.stream("a", name) for name in ("blocks", "energy", "requests", "samples", "events")}
    clock = 10 * NS
    for number, asks in enumerate(blocks):
        clock = _block(streams, number, asks, meters, clock, block_flags or [])
    for stream in streams.values():
        stream.finish()
    cell = CellRow(
        cell_id="a",
        label="cell a",
        model="tiny",
        technique="none",
        backend="toy",
        device=device,
        workload="chat",
        unit="token",
        status="ok",
        settings_json=json.dumps({"backend": {}}),
    )
    writer.write_cell(cell)
    return Session(path)


def _channel(meter: Meter) -> ChannelRow:
    is_counter = meter.kind == "counter"
    return ChannelRow(
        channel=meter.name,
        quantity="energy" if is_counter else "power",
        unit="J" if is_counter else "W",
        kind=meter.kind,
        scale=1e-3,
        provenance=meter.provenance,
        domain=meter.domain,
        counted=meter.counted,
        rate_hz=10.0,
        update_period_s=meter.period_s,
        resolution=1e-3,
        wraps_at=meter.wraps_at,
        relative_uncertainty=0.0,
    )


def _block(streams: Any, number: int, asks: list[Ask], meters: list[Meter], t0: int, flags: list[str]) -> int:
    edges: list[int] = []
    requests = []
    clock = t0
    for place, ask in enumerate(asks):
        end = clock + round((ask.prefill_s + ask.decode_s) * NS)
        edges += [clock, end]
        requests.append(
            RequestRow(
                cell_id="a",
                block=number,
                request=place,
                prompt_index=ask.index,
                t0_ns=clock,
                t1_ns=end,
                start_utc=START + timedelta(microseconds=clock // 1000),
                end_utc=START + timedelta(microseconds=end // 1000),
                duration_s=(end - clock) / NS,
                prefill_s=ask.prefill_s,
                decode_s=ask.decode_s,
                prefill_tokens=ask.prompt_tokens,
                decode_tokens=ask.response_tokens - 1,
                units=float(ask.response_tokens),
                prompt=ask.prompt,
                response="It.",
                output_tokens=tuple(range(ask.response_tokens)),
            )
        )
        clock = end + NS // 10
    streams["requests"].append(requests)
    streams["blocks"].append(
        [BlockRow(cell_id="a", block=number, process=0, t0_ns=t0, t1_ns=clock, flags=tuple(flags))]
    )
    for meter in meters:
        _readings(streams, number, meter, edges, t0, clock)
    return clock + NS


def _readings(streams: Any, number: int, meter: Meter, edges: list[int], t0: int, end: int) -> None:
    spans = zip(edges[::2], edges[1::2], strict=True)
    known = not meter.block_flags
    busy_s = sum((stop - start) / NS for start, stop in spans)
    streams["energy"].append(
        [
            EnergyRow(
                cell_id="a",
                block=number,
                phase="total",
                channel=meter.name,
                domain=meter.domain,
                provenance=meter.provenance,
                method=meter.method,
                counted=meter.counted,
                duration_s=busy_s,
                gross_j=meter.watts * busy_s if known else None,
                flags=tuple(meter.block_flags),
            )
        ]
    )
    rows = [
        SampleRow(t_ns=t, channel=meter.name, raw=meter.raw(t), origin="tick")
        for t in range(t0 - NS // 2, end + NS // 2, NS // 10)
    ]
    if meter.kind == "counter":
        rows += [SampleRow(t_ns=t, channel=meter.name, raw=meter.raw(t), origin="edge") for t in edges]
    streams["samples"].append(rows)
