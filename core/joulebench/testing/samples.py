"""Small sessions for tests of renderers, written by the product's own writer."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from joulebench.session.tables import (
    BlockRow,
    CellRow,
    ChannelRow,
    EnergyRow,
    ProbeRow,
    RequestRow,
    SampleRow,
    SessionRow,
)

if TYPE_CHECKING:
    from joulebench.session.writing import SessionWriter

#: A text that tries to leave its place: in HTML, on a terminal, in a spreadsheet.
HOSTILE: Final = '</script><img src=x onerror="pwned()">\x1b]0;pwned\x07=1+1|<b>'
_CREATED: Final = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
_START_NS: Final = 5_000_000_000
_BLOCKS: Final = 4
_BLOCK_S: Final = 2.0
_PREFILL, _DECODE = 12, 20
_CHANNEL: Final = "board/supply"


def write_sample_session(folder: Path, *, status: str = "complete", text: str = "a model") -> Path:
    """Write a session with a cell that ran, one that failed and one that was skipped.

    ``status`` ``running`` leaves the first cell unfinished, as a run that is under way does.
    ``text`` stands wherever a stranger's words do: names, prompts, causes, notes of sensors.
    """
    from joulebench.session.writing import SessionWriter

    folder.mkdir(parents=True, exist_ok=True)
    writer = SessionWriter(folder)
    cells = [("001-good", f"good {text}"), ("002-bad", f"bad {text}"), ("003-not", f"not {text}")]
    row = SessionRow(
        session_id="sample",
        joulebench_version="0",
        status=status,
        created_at=_CREATED,
        finished_at=None if status == "running" else _CREATED,
        seed=1,
        profile_name=text,
        profile_text=f"# {text!r}\nversion = 1\n[model.m]\n[backend.b]\n",
        plan_json=json.dumps(
            {"cells": [{"id": cell, "label": label, "workload_plugin": "generate"} for cell, label in cells]}
        ),
        machine_json=json.dumps(
            {
                "cpu": {"model": text, "cores": 2, "threads": 2},
                "memory_bytes": 2**33,
                "system": "Linux",
                "kernel": "6.12",
                "virtualization": None,
                "accelerators": [],
            }
        ),
        preflight_json=json.dumps({}),
        versions_json=json.dumps({"python": "3"}),
        channels=(_channel(text),),
        probes=(
            ProbeRow(probe="board", available=True),
            ProbeRow(probe="other", available=False, reason=text, cure=text),
        ),
    )
    writer.write_session(row)
    _write_good(writer, *cells[0], text, finished=status != "running")
    _write_other(writer, *cells[1], "failed", text)
    _write_other(writer, *cells[2], "skipped", text)
    return folder


def _channel(text: str) -> ChannelRow:
    return ChannelRow(
        channel=_CHANNEL,
        quantity="energy",
        unit="J",
        kind="counter",
        scale=1e-6,
        provenance="simulated",
        domain="machine",
        counted=True,
        rate_hz=100.0,
        update_period_s=0.001,
        relative_uncertainty=0.0,
        note=text,
    )


def _cell(cell_id: str, label: str, status: str, text: str) -> CellRow:
    return CellRow(
        cell_id=cell_id,
        label=label,
        model=text,
        model_source="path:model",
        technique="none",
        backend=text,
        device="cpu",
        workload=text,
        unit="token",
        status=status,
        flags=(),
        settings_json=json.dumps({"backend": {}, "workload": {}}),
    )


def _write_other(writer: SessionWriter, cell_id: str, label: str, status: str, text: str) -> None:
    row = _cell(cell_id, label, status, text)
    tail = text if status == "failed" else None
    writer.write_cell(replace(row, cause=text, cause_kind="error", stderr_tail=tail))


def _write_good(writer: SessionWriter, cell_id: str, label: str, text: str, *, finished: bool) -> None:
    streams = {name: writer.stream(cell_id, name) for name in ("blocks", "energy", "requests", "samples", "events")}
    for number in range(_BLOCKS):
        t0_ns = _START_NS + int(number * 2.5e9)
        streams["blocks"].append([_block(cell_id, number, t0_ns)])
        streams["energy"].append(
            [_energy(cell_id, number, *part) for part in (("total", 1.0), ("prefill", 0.25), ("decode", 0.75))]
        )
        streams["requests"].append([_request(cell_id, number, t0_ns, text)])
        streams["samples"].append(
            [
                SampleRow(
                    t_ns=t0_ns + tick * 100_000_000,
                    channel=_CHANNEL,
                    origin="tick",
                    raw=1000 + (number * 21 + tick) * 1_000_000,
                )
                for tick in range(21)
            ]
        )
    for stream in streams.values():
        stream.finish() if finished else stream.close()
    if finished:
        row = replace(
            _cell(cell_id, label, "ok", text),
            processes=1,
            blocks=_BLOCKS,
            rss_peak_bytes=2**28,
            weights_bytes=2**20,
            started_at=_CREATED,
            finished_at=_CREATED,
            evidence_json=json.dumps({text: {"share": 0.5}}),
            facts_json=json.dumps({"dtype": "float32"}),
        )
        writer.write_cell(row)


def _block(cell_id: str, number: int, t0_ns: int) -> BlockRow:
    return BlockRow(
        cell_id=cell_id,
        block=number,
        process=0,
        round=number,
        position=0,
        t0_ns=t0_ns,
        t1_ns=t0_ns + int(_BLOCK_S * 1e9),
        start_utc=_CREATED + timedelta(seconds=2.5 * number),
        duration_s=_BLOCK_S,
        requests=1,
        prefill_tokens=_PREFILL,
        decode_tokens=_DECODE,
        units=_DECODE + 1.0,
        worker_cpu_s=_BLOCK_S,
        other_cpu_s=0.0,
        gate_wait_s=0.0,
        dither_s=0.001,
    )


def _energy(cell_id: str, number: int, phase: str, share: float) -> EnergyRow:
    gross_j = 20.0 * share * (1 + 0.01 * (number - 1.5))
    return EnergyRow(
        cell_id=cell_id,
        block=number,
        phase=phase,
        channel=_CHANNEL,
        domain="machine",
        provenance="simulated",
        method="counter",
        counted=True,
        duration_s=_BLOCK_S * share,
        gross_j=gross_j,
        gross_u_j=0.01,
        net_j=gross_j * 0.8,
        net_u_j=0.02,
        attributed_j=gross_j * 0.6,
    )


def _request(cell_id: str, number: int, t0_ns: int, text: str) -> RequestRow:
    ttft_s = 0.25 * _BLOCK_S
    return RequestRow(
        cell_id=cell_id,
        block=number,
        request=0,
        prompt_index=number,
        t0_ns=t0_ns,
        t1_ns=t0_ns + int(_BLOCK_S * 1e9),
        duration_s=_BLOCK_S,
        ttft_s=ttft_s,
        prefill_s=ttft_s,
        decode_s=_BLOCK_S - ttft_s,
        tpot_s=(_BLOCK_S - ttft_s) / _DECODE,
        prefill_tokens=_PREFILL,
        decode_tokens=_DECODE,
        units=_DECODE + 1.0,
        output_tokens=tuple(range(_DECODE + 1)),
        prompt=text,
        response=text,
    )
