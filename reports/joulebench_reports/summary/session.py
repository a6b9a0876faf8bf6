"""Session → :class:`~joulebench_reports.values.figures.SessionSummary`: every figure of every report.

Arithmetic over samples is done in Arrow; Python loops run over cells, blocks and requests.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from joulebench.session.tables import CellRow
from joulebench_reports.judging.answers import answers
from joulebench_reports.judging.costs import cost_tables
from joulebench_reports.judging.extrapolation import extrapolations
from joulebench_reports.judging.scaling import scalings
from joulebench_reports.judging.verdicts import verdict_tables
from joulebench_reports.judging.workgroups import SessionWork
from joulebench_reports.reading.blocks import read_blocks
from joulebench_reports.reading.cellrows import UNFINISHED, plan_entries, rows_by_cell
from joulebench_reports.reading.energy import read_energies, summarise_energy
from joulebench_reports.reading.limits import NO_SHARE, with_shares
from joulebench_reports.reading.phasefit import Readings, fit_missing_phases
from joulebench_reports.reading.readings import CounterReadings, channels_of
from joulebench_reports.reading.rows import StoredCell, stored_cells
from joulebench_reports.reading.simulated import with_device_time
from joulebench_reports.reading.speed import summarise_speed
from joulebench_reports.reading.tokenwork import backend_settings, kernel_work, numeric_settings, token_work
from joulebench_reports.values.agreement import read_agreement
from joulebench_reports.values.figure import Figure
from joulebench_reports.values.figures import (
    CellSummary,
    ChannelReport,
    EnergySummary,
    FlagCount,
    Memory,
    ProbeReport,
    QualityFigures,
    SamplerCost,
    SessionSummary,
)
from joulebench_reports.values.series import BlockSums, CellSeries
from joulebench_reports.words.flags import explain
from joulebench_reports.words.units import shown_unit

if TYPE_CHECKING:
    from joulebench.session import Session
    from joulebench.session.tables import SessionRow

_QUALITY_OWN = ("perplexity", "nll_nats_per_token", "tokens", "text", "windows")
#: Phase of the energy table → the block's count of work done in it.
_PHASE_WORK = {"prefill": "prefill_tokens", "decode": "decode_tokens"}
#: Flags that say that no energy could be had, whatever the sensors are.
_FATAL_FLAGS = ("sampler_lost",)


def summarise(session: Session, baseline: str | None = None) -> SessionSummary:
    """The summary of a session, finished or not.

    ``baseline`` is the label or id of a cell that those of its workload are held against. Of a
    snapshot it is made once, whoever asks.
    """
    return session.once(("summary", baseline), lambda: _summary_of(session, baseline))


def _summary_of(session: Session, baseline: str | None) -> SessionSummary:
    row = session.row
    probes = _probes(row)
    channels = tuple(channels_of(session)[0])
    planned = {str(entry.get("id")): entry for entry in plan_entries(session, "cells")}
    stored = stored_cells(session)
    reader = _CellReader(session, channels, probes)
    cells = [
        reader.cell(own, _plugin_of(planned.get(cell_id, {})), stored[cell_id])
        if cell_id in stored
        else _without_folder(own, planned.get(cell_id, {}))
        for cell_id, own in rows_by_cell(session).items()
    ]
    summary = SessionSummary(
        session_id=row.session_id or session.path.name,
        status=row.status,
        created_at=_iso(row.created_at),
        finished_at=_iso(row.finished_at),
        profile_name=row.profile_name or "unnamed",
        joulebench_version=row.joulebench_version or "unknown",
        seed=row.seed,
        machine=_object(session.json("machine_json")),
        preflight=_object(session.json("preflight_json")),
        versions=_object(session.json("versions_json")),
        probes=probes,
        channels=channels,
        cells=with_shares(cells),
        protocol=_preset(session),
        model_notes=_model_notes(planned),
    )
    work = SessionWork.of(session)
    return replace(
        summary,
        verdicts=verdict_tables(work, summary.shown, baseline),
        costs=cost_tables(work, summary.shown),
        answers=answers(work, summary.shown, baseline),
        extrapolations=extrapolations(list(planned.values()), summary.shown),
        scalings=scalings(summary.shown),
    )


def _preset(session: Session) -> str | None:
    """The published procedure that the run followed."""
    name = _object(session.json("protocol_json")).get("preset")
    return None if name is None else str(name)


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat(timespec="seconds")


def _object(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}


def _probes(row: SessionRow) -> tuple[ProbeReport, ...]:
    requested = _requested_probes(row)
    return tuple(
        ProbeReport(probe.probe, probe.available, probe.reason, probe.cure, probe.probe in requested)
        for probe in row.probes or ()
    )


def _requested_probes(row: SessionRow) -> set[str]:
    """The probes that the profile or an override names."""
    import tomllib

    try:
        tables = tomllib.loads(row.profile_text or "").get("probe")
    except tomllib.TOMLDecodeError:
        tables = None
    overridden = (str(override).strip().split(".") for override in row.overrides or ())
    return {*_object(tables), *(parts[1] for parts in overridden if parts[0] == "probe" and len(parts) > 1)}


def _model_notes(planned: Mapping[str, Mapping[str, object]]) -> tuple[tuple[str, str], ...]:
    """What the plan notes of the models of cells that can run, each once."""
    notes = (
        (str(cell.get("model")), str(note))
        for cell in planned.values()
        if cell.get("runnable") and isinstance(notes := cell.get("notes"), list)
        for note in notes
    )
    return tuple(dict.fromkeys(notes))


def _plugin_of(planned: Mapping[str, object]) -> str | None:
    """The workload's plugin, which the plan alone names."""
    plugin = planned.get("workload_plugin")
    return plugin if isinstance(plugin, str) else None


def _without_folder(row: CellRow, planned: Mapping[str, object]) -> CellSummary:
    """A planned cell of which nothing is on disk."""
    reason = planned.get("reason") or planned.get("skipped")
    if reason:
        return _blockless(replace(row, status="skipped", cause=str(reason)))
    return _blockless(replace(row, status="not started"))


def empty_cell(cell_id: str) -> CellSummary:
    """The summary of a cell of which nothing is known; every figure is null."""
    return _blockless(CellRow(cell_id=cell_id, status="unknown"))


def _blockless(row: CellRow) -> CellSummary:
    return _summarise(row, None, StoredCell(), (), (), None)


@dataclass(frozen=True, slots=True)
class _CellReader:
    session: Session
    channels: Sequence[ChannelReport]
    probes: Sequence[ProbeReport]

    def cell(self, row: CellRow, workload_plugin: str | None, stored: StoredCell) -> CellSummary:
        readings = CounterReadings(self.session, row.cell_id)
        cell = _summarise(row, workload_plugin, stored, self.channels, self.probes, readings)
        return with_device_time(cell, stored)


def _summarise(
    row: CellRow,
    workload_plugin: str | None,
    stored: StoredCell,
    channels: Sequence[ChannelReport],
    probes: Sequence[ProbeReport],
    readings: Readings | None,
) -> CellSummary:
    unit = shown_unit(row.unit or "unit")
    blocks = read_blocks(stored.blocks, stored.requests, unit.per)
    repeated = len(stored.blocks) - len(blocks)
    if repeated:
        numbers = {block.number for block in blocks}
        stored = stored._replace(
            requests=[request for request in stored.requests if request.block in numbers],
            energy=[part for part in stored.energy if part.block in numbers],
        )
    energies = read_energies(stored.energy, unit.energy, _PHASE_WORK)
    energy = tuple(summarise_energy(part, blocks, channels) for part in energies)
    if readings is not None and all(any(getattr(block, work) for block in blocks) for work in _PHASE_WORK.values()):
        owners = {block.number: block.process for block in blocks}
        energy = fit_missing_phases(energy, stored.requests, channels, readings, owners)
    absent = _no_energy(row, probes, bool(blocks), bool(energy))
    processes = len({block.process for block in blocks})
    facts, settings = _scalars(row.facts_json), backend_settings(row)
    threads = facts.get("threads", settings.get("threads"))
    dtype = facts.get("dtype", settings.get("dtype"))
    workload = workload_plugin or row.workload or "unknown"
    return CellSummary(
        id=row.cell_id,
        label=row.label or row.cell_id,
        model=row.model or "unknown",
        technique=row.technique or "none",
        backend=row.backend or "unknown",
        device=row.device or "unknown",
        workload=row.workload or "unknown",
        unit=unit.name,
        status=row.status,
        cause=row.cause,
        cause_kind=row.cause_kind,
        processes=processes,
        blocks=len(blocks),
        requests=len(stored.requests),
        energy=energy,
        headline=_headline([figures.gross for figures in energy], unit.energy, absent),
        headline_net=_headline([figures.net for figures in energy], unit.energy, absent),
        speed=summarise_speed(blocks, [request.ttft_s for request in stored.requests], unit),
        memory=_memory(row),
        quality=_quality(row),
        agreement=read_agreement(row.agreement_json),
        temperature_max_c=max((b.temperature_c for b in blocks if b.temperature_c is not None), default=None),
        observer=_observer(row),
        flags=_flags(row, blocks, energy, processes, repeated),
        evidence=_scalars(row.evidence_json),
        facts=facts,
        threads=threads if isinstance(threads, int) else None,
        dtype=dtype if isinstance(dtype, str) else None,
        backend_settings=json.dumps(settings, sort_keys=True),
        token=token_work(row, stored),
        kernel=kernel_work(row, workload, stored),
        axes=numeric_settings(row),
        units_per_request=_units_per_request(blocks),
        mbu=NO_SHARE,
        mfu=NO_SHARE,
        series=CellSeries(blocks, {part.provenance: part.total.sums for part in energies}),
    )


def _units_per_request(blocks: Sequence[BlockSums]) -> float | None:
    requests = sum(block.requests * block.sequences for block in blocks)
    units = [block.units for block in blocks if block.units is not None]
    return math.fsum(units) / requests if requests and len(units) == len(blocks) else None


def _headline(figures: Sequence[Figure], unit: str, absent: str | None) -> Figure:
    """The most trusted provenance that has a figure; else null with the reason."""
    for figure in figures:
        if figure.value is not None:
            return figure
    reasons = "; ".join(dict.fromkeys(f.reason_if_null for f in figures if f.reason_if_null))
    return Figure(None, unit, reason_if_null=absent or reasons)


def _no_energy(row: CellRow, probes: Sequence[ProbeReport], has_blocks: bool, has_rows: bool) -> str | None:
    """Why the whole cell has no energy, where the reason is not in the energy figures."""
    fatal = [flag for flag in row.flags or () if flag in _FATAL_FLAGS]
    if fatal:
        return "; ".join(explain(flag) for flag in fatal)
    if not has_blocks:
        return row.cause or "no block was measured"
    if has_rows:
        return None
    absent = [f"{probe.probe}: {probe.reason}" for probe in probes if not probe.available]
    return "no energy channel" + (f" ({'; '.join(absent)})" if absent else " was asked for")


def _memory(row: CellRow) -> Memory:
    return Memory(**{name: getattr(row, name) for name in Memory.__dataclass_fields__})


def _decoded(text: str | None) -> Mapping[str, Any]:
    """A JSON column that may be null or, in a damaged record, no object."""
    try:
        return _object(json.loads(text)) if text else {}
    except ValueError:
        return {}


def _scalars(text: str | None) -> dict[str, Any]:
    """A JSON object flattened to scalars: ``{"a": {"b": 1}}`` becomes ``{"a.b": 1}``."""
    flat: dict[str, Any] = {}

    def walk(prefix: str, value: object) -> None:
        if isinstance(value, dict):
            for name, inner in value.items():
                walk(f"{prefix}.{name}" if prefix else str(name), inner)
        else:
            flat[prefix] = value if not isinstance(value, list) else json.dumps(value)

    walk("", _decoded(text))
    return flat


def _quality(row: CellRow) -> QualityFigures:
    values = _decoded(row.quality_json)
    others = {k: v for k, v in _scalars(row.quality_json).items() if k not in _QUALITY_OWN}
    tokens = values.get("tokens")
    return QualityFigures(
        perplexity=_number(values.get("perplexity")),
        nll_nats_per_token=_number(values.get("nll_nats_per_token")),
        tokens=tokens if isinstance(tokens, int) else None,
        text=None if values.get("text") is None else str(values["text"]),
        others=tuple(others.items()),
        windows=_windows(values.get("windows")),
    )


def _windows(recorded: object) -> tuple[tuple[float, int], ...]:
    """Nats and tokens of each window; empty in sessions of before, and where it is damaged."""
    try:
        return tuple((float(nats), int(tokens)) for nats, tokens in recorded or ())  # type: ignore[attr-defined]
    except (TypeError, ValueError):
        return ()


def _number(value: object) -> float | None:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if is_number else None  # type: ignore[arg-type]


def _observer(row: CellRow) -> SamplerCost:
    spent, wall = row.sampler_cpu_s, row.sampler_wall_s
    return SamplerCost(
        cpu_share=None if spent is None or not wall else spent / wall,
        ticks=row.sampler_ticks,
        missed=row.sampler_missed,
        rate_hz=row.sampler_rate_hz,
        late_p99_s=row.sampler_late_p99_s,
    )


def _flags(
    row: CellRow, blocks: Sequence[BlockSums], energy: Sequence[EnergySummary], processes: int, repeated: int
) -> tuple[FlagCount, ...]:
    """Flags of the cell, its blocks and its energy figures, each once."""
    counts: dict[str, int | None] = {"repeated": repeated} if repeated else {}
    for block in blocks:
        for flag in block.flags:
            counts[flag] = (counts.get(flag) or 0) + 1
    whole = list(row.flags or ())
    whole += [flag for figures in energy for flag in (*figures.gross.flags, *figures.net.flags)]
    if processes == 1:
        whole.append("single_process")
    if row.status == UNFINISHED:
        whole.append("unfinished")
    for flag in whole:
        counts.setdefault(flag, None)
    return tuple(FlagCount(flag, counts[flag]) for flag in sorted(counts))
