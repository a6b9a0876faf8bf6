"""Builds synthetic sessions that are true to the schema, through the product's own writer."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

from joulebench.session.tables import (
    BlockRow,
    CellRow,
    ChannelRow,
    EnergyRow,
    EventRow,
    ProbeRow,
    RequestRow,
    SampleRow,
    SessionRow,
)
from joulebench.session.writing import SessionWriter

START = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
START_NS = 5_000_000_000
#: Prompt tokens, and tokens after the first, of every request.
PREFILL, DECODE = 30, 40
HOSTILE = "</script><img src=x onerror=\"window.pwned=1\"><!-- \u2028 & \x1b[31m ${7*7} =cmd|' /C'!A0"

#: As short as a profile can be.
PROFILE = "version = 1\n[model.m]\n[backend.torch]\n[workload.generate]\n"

RAPL_ABSENT = ProbeRow(
    probe="rapl",
    available=False,
    reason="no /sys/class/powercap on this machine",
    cure="run on bare metal with the intel_rapl driver",
)


@dataclass
class Cell:
    """One cell to write. ``status`` may also be ``unfinished``: streams and no final row."""

    id: str
    label: str
    status: str = "ok"
    technique: str = "none"
    workload: str = "chat"
    unit: str = "token"
    cause: str | None = None
    blocks: int = 20
    processes: int = 1
    joules_per_token: float = 0.5
    noise: float = 0.01
    energies: dict[str, float | None] = field(default_factory=lambda: {"estimated": 1.0})
    block_flags: dict[int, list[str]] = field(default_factory=dict)
    #: Rounds that have a first, disturbed block before their own: by how much its energy is higher.
    repeats: dict[int, float] = field(default_factory=dict)
    first_round: int = 0
    #: CPU seconds a second.
    threads_busy: float = 1.0
    cell_flags: list[str] = field(default_factory=lambda: ["no_thermal_gate"])
    energy_flags: list[str] = field(default_factory=list)
    perplexity: float | None = 17.43
    agreement: dict[str, Any] | None = None
    prompt: str = "What is the capital of France?"
    response: str = "The capital of France is Paris."
    samples: bool = True
    #: Of a block; another seed gives other noise around the same truth.
    seconds: float = 2.0
    seed: int = 0
    #: When the first block began, after that of the other cells.
    begins_s: float = 0.0
    peak_mib: int = 612
    backend: str = "torch"
    backend_settings: dict[str, Any] = field(default_factory=lambda: {"dtype": "float32"})
    artifact_hash: str | None = None
    #: Of a cell that repeats a kernel: its plugin's name, units of work in a block, and values.
    plugin: str | None = None
    units: float | None = None
    values: dict[str, float] | None = None
    #: Further columns of the cell's row.
    row: dict[str, Any] = field(default_factory=dict)


def channel_name(provenance: str) -> str:
    return {"measured": "rapl/package-0", "estimated": "estimate/cpu", "simulated": "fpga/board"}[provenance]


def channel(name: str, quantity: str, unit: str, **more: Any) -> ChannelRow:
    plain = ChannelRow(
        channel=name,
        quantity=quantity,
        unit=unit,
        kind="gauge",
        scale=1.0,
        provenance="measured",
        domain="machine",
        counted=False,
        rate_hz=10.0,
    )
    return replace(plain, **more)


def channels(provenances: set[str]) -> tuple[ChannelRow, ...]:
    result = [
        channel(
            channel_name(provenance),
            "energy",
            "J",
            kind="counter",
            scale=1e-6,
            provenance=provenance,
            domain="package",
            counted=True,
            rate_hz=100.0,
            update_period_s=0.001,
            relative_uncertainty=0.3 if provenance == "estimated" else None,
            note="CPU time × declared power" if provenance == "estimated" else None,
        )
        for provenance in sorted(provenances)
    ]
    return (
        *result,
        channel("memory/rss", "memory", "B"),
        channel("thermal/package", "temperature", "degC", scale=0.001),
    )


def write(
    path: Path,
    cells: list[Cell],
    *,
    status: str = "complete",
    probes: Sequence[ProbeRow] | None = None,
    planned: list[dict[str, Any]] | None = None,
    model: str = "smollm2-135m",
    **columns: Any,
) -> Path:
    """``columns`` are of the session's own row, in place of what it would have."""
    path.mkdir(parents=True, exist_ok=True)
    writer = SessionWriter(path)
    provenances = {name for cell in cells for name in cell.energies}
    plan = [{"id": cell.id, "label": cell.label, "workload_plugin": cell.plugin or cell.workload} for cell in cells] + (
        planned or []
    )
    row = SessionRow(
        session_id=path.name,
        joulebench_version="0.1.0",
        status=status,
        created_at=START,
        finished_at=START + timedelta(minutes=7),
        profile_name="quick",
        profile_text=PROFILE,
        plan_json=json.dumps({"cells": plan}),
        seed=1,
        machine_json=json.dumps(
            {
                "cpu": {"model": "Example CPU 8-core", "cores": 8, "threads": 16},
                "memory_bytes": 32 * 2**30,
                "system": "Linux",
                "kernel": "6.12",
                "virtualization": None,
                "accelerators": [],
            }
        ),
        preflight_json=json.dumps({"governor": "performance", "turbo": True, "battery": None}),
        versions_json=json.dumps({"python": "3.12.4", "torch": "2.13.0"}),
        channels=channels(provenances),
        probes=(ProbeRow(probe="estimate", available=True), *([RAPL_ABSENT] if probes is None else probes)),
    )
    writer.write_session(replace(row, **columns))
    for cell in cells:
        _write_cell(writer, cell, model)
    return path


def _write_cell(writer: SessionWriter, cell: Cell, model: str) -> None:
    rng = random.Random(f"{cell.id} {cell.seed}" if cell.seed else cell.id)
    streams = {name: writer.stream(cell.id, name) for name in ("blocks", "energy", "requests", "samples", "events")}
    if cell.status in ("ok", "unfinished"):
        clock = START_NS
        numbers = count()
        for place in range(cell.blocks):
            if place in cell.repeats:
                disturbed = replace(cell, joules_per_token=cell.joules_per_token * cell.repeats[place])
                clock = _write_block(streams, disturbed, next(numbers), clock, rng, place)
            clock = _write_block(streams, cell, next(numbers), clock, rng, place)
        if cell.samples and cell.blocks:
            streams["samples"].append(_samples(cell, clock, rng))
            streams["events"].append([EventRow(t_ns=START_NS, kind="gate_wait", detail="1.5 s", block=0)])
    for stream in streams.values():
        stream.close() if cell.status == "unfinished" else stream.finish()
    if cell.status != "unfinished":
        writer.write_cell(_cell_row(cell, model))


def _cell_row(cell: Cell, model: str) -> CellRow:
    ok = cell.status == "ok"
    quality = {"perplexity": cell.perplexity, "nll_nats_per_token": 2.86, "tokens": 2048, "text": "builtin:evaluation"}
    row = CellRow(
        cell_id=cell.id,
        label=cell.label,
        model=model,
        model_source="catalogue",
        technique=cell.technique,
        backend=cell.backend,
        device="cpu",
        workload=cell.workload,
        unit=cell.unit,
        status=cell.status,
        cause=cell.cause,
        cause_kind=None if ok else "memory",
        flags=tuple(cell.cell_flags),
        settings_json=json.dumps({"backend": cell.backend_settings, "workload": {}}),
        artifact_hash=cell.artifact_hash,
        processes=cell.processes if ok else 0,
        blocks=cell.blocks if ok else 0,
        quality_json=json.dumps(quality) if ok and cell.perplexity else None,
        agreement_json=json.dumps(cell.agreement) if cell.agreement else None,
        evidence_json=json.dumps({"prune": {"zero_fraction": 0.5}}),
        facts_json=json.dumps({"dtype": "float32", "threads": 8}),
    )
    if ok:
        row = replace(
            row,
            weights_bytes=269 * 2**20,
            kv_allocated_bytes=12 * 2**20,
            rss_peak_bytes=cell.peak_mib * 2**20,
            rss_base_bytes=210 * 2**20,
            rss_anon_bytes=90 * 2**20,
            rss_file_bytes=500 * 2**20,
            rss_model_bytes=400 * 2**20,
            sampler_cpu_s=0.4,
            sampler_wall_s=80.0,
            sampler_ticks=8000,
            sampler_missed=3,
            sampler_rate_hz=99.8,
            sampler_late_p99_s=0.0006,
        )
    return replace(row, **cell.row)


def _write_block(streams: Any, cell: Cell, number: int, t0: int, rng: random.Random, place: int) -> int:
    generating = cell.unit == "token"
    duration = cell.seconds * (1 + rng.uniform(-0.025, 0.025))
    t1 = t0 + int(duration * 1e9)
    requests, decode, prefill = (2, DECODE, PREFILL) if generating else (0, 0, 0)
    units = float(requests * (decode + 1)) if generating else cell.units or duration
    streams["blocks"].append(
        [
            BlockRow(
                cell_id=cell.id,
                block=number,
                process=place % cell.processes,
                round=cell.first_round + place,
                position=0,
                t0_ns=t0,
                t1_ns=t1,
                start_utc=START
                + timedelta(seconds=cell.begins_s + 2.5 * (cell.first_round + place) + 0.1 * (number - place)),
                duration_s=duration,
                requests=requests,
                prefill_tokens=requests * prefill,
                decode_tokens=requests * decode,
                units=units,
                worker_cpu_s=duration * cell.threads_busy,
                other_cpu_s=0.01,
                temperature_start_c=50.0,
                temperature_end_c=52.0 + number * 0.1,
                gate_wait_s=0.0,
                dither_s=0.001,
                flags=tuple(cell.block_flags.get(number, ())),
            )
        ]
    )
    factor = cell.joules_per_token * (1 + rng.gauss(0, cell.noise))
    _write_energy(streams["energy"], cell, number, units * factor, duration)
    request_s = duration / max(requests, 1)
    if cell.units is not None:
        streams["requests"].append([_kernel_request(cell, number, t0, t1, units)])
    rows = [
        _request(cell, number, i, request_s=request_s, begin=t0 + int(i * request_s * 1e9)) for i in range(requests)
    ]
    streams["requests"].append(rows)
    return t1 + 500_000_000


def _write_energy(stream: Any, cell: Cell, number: int, joules: float, duration: float) -> None:
    rows = []
    for provenance, share in cell.energies.items():
        for phase, part in (("total", 1.0), ("prefill", 0.2), ("decode", 0.8)):
            gross = None if share is None else joules * share * part
            rows.append(
                EnergyRow(
                    cell_id=cell.id,
                    block=number,
                    phase=phase,
                    channel=channel_name(provenance),
                    domain="package",
                    provenance=provenance,
                    method="model" if provenance == "estimated" else "counter",
                    counted=True,
                    duration_s=duration * part,
                    gross_j=gross,
                    gross_u_j=None if gross is None else 0.01,
                    net_j=None if gross is None else gross * 0.8,
                    net_u_j=None if gross is None else 0.02,
                    attributed_j=None if gross is None else gross * 0.6,
                    flags=tuple(cell.energy_flags),
                )
            )
    stream.append(rows)


def _request(cell: Cell, block: int, index: int, *, request_s: float, begin: int) -> RequestRow:
    prefill, decode = PREFILL, DECODE
    ttft = 0.2 * request_s
    return RequestRow(
        cell_id=cell.id,
        block=block,
        request=index,
        prompt_index=index,
        t0_ns=begin,
        t1_ns=begin + int(request_s * 1e9),
        duration_s=request_s,
        ttft_s=ttft,
        prefill_s=ttft,
        decode_s=request_s - ttft,
        tpot_s=(request_s - ttft) / decode,
        prefill_tokens=prefill,
        decode_tokens=decode,
        units=decode + 1.0,
        prompt=cell.prompt,
        response=cell.response,
    )


def _kernel_request(cell: Cell, block: int, t0: int, t1: int, units: float) -> RequestRow:
    return RequestRow(
        cell_id=cell.id,
        block=block,
        request=0,
        prompt_index=0,
        t0_ns=t0,
        t1_ns=t1,
        duration_s=(t1 - t0) * 1e-9,
        prefill_tokens=0,
        decode_tokens=0,
        units=units,
        output_tokens=(),
        token_t_ns=(),
        values_json=json.dumps(cell.values or {}),
    )


def _samples(cell: Cell, end: int, rng: random.Random) -> list[SampleRow]:
    rows: list[SampleRow] = []

    def add(t: int, name: str, raw: int) -> None:
        rows.append(SampleRow(t_ns=t, channel=name, raw=raw, origin="tick"))

    counters = {channel_name(p): 1000 for p, share in cell.energies.items() if share is not None}
    for tick, t in enumerate(range(START_NS, end, 10_000_000)):
        busy = (t - START_NS) % 2_500_000_000 < 2_000_000_000
        for name, before in counters.items():
            watts = (20.0 if busy else 5.0) + rng.uniform(-0.5, 0.5)
            counters[name] = before + int(watts * 0.01 * 1e6)
            add(t, name, counters[name])
        if tick % 10 == 0:
            add(t, "memory/rss", 600 * 2**20 + rng.randrange(2**20))
            add(t, "thermal/package", 50_000 + int(4000 * (t - START_NS) / (end - START_NS)))
    return rows


_TECHNIQUES = ("none", "prune-20", "prune-50", "prune-2:4", "int8", "int4", "kv-int8", "kv-int4", "lora", "distilled")
_BACKENDS = ("torch", "llamacpp", "onnx", "onnx-mobile", "other")
_WORKLOADS = ("generate", "summarise")


def many_cells(count: int) -> list[Cell]:
    """Cells over techniques, backends, threads and two workloads. Made up: their energy says so."""
    rng = random.Random(count)
    cells = []
    for place in range(count):
        technique = _TECHNIQUES[place % len(_TECHNIQUES)]
        backend = _BACKENDS[place // len(_TECHNIQUES) % len(_BACKENDS)]
        workload = _WORKLOADS[place // (len(_TECHNIQUES) * len(_BACKENDS)) % len(_WORKLOADS)]
        threads = 1 + place // (len(_TECHNIQUES) * len(_BACKENDS) * len(_WORKLOADS))
        saved = 0.03 * _TECHNIQUES.index(technique)
        cells.append(
            Cell(
                f"{place:03d}-{backend}-{technique}".replace(":", "-"),
                f"{backend} {technique} {workload} {threads}t",
                technique=technique,
                backend=backend,
                workload=workload,
                blocks=10,
                seconds=0.4,
                energies={"simulated": 1.0},
                noise=0.02,
                joules_per_token=0.5 * (1 - saved) * rng.uniform(0.8, 1.2),
                perplexity=17.4 * (1 + 0.1 * saved * rng.uniform(0.5, 2)),
                peak_mib=rng.randrange(300, 1200),
                processes=3,
                backend_settings={"dtype": "float32", "threads": threads},
                prompt=f"Prompt {place}: " + "what would this cost on another machine? " * 8,
                response=f"Answer {place}: " + "it depends on the sensor and on the idle power. " * 8,
                block_flags={3: ["contended"]} if place % 50 == 0 else {},
            )
        )
    return cells
