"""The tables of a session: a dataclass for each, whose fields are the columns.

What is written, read and documented comes from here: the Arrow schemas
(:mod:`joulebench.session.schema`), the conversion of rows (:mod:`joulebench.session.conversion`)
and the tables of ``docs/session-format.md``. A column's name is the field's, its Arrow type follows
from the field's, and a field that cannot be ``None`` is known in every row. Unknown is ``None``,
null on disk. All times ending in ``_ns`` are on the monotonic clock of the measured machine
(``time.perf_counter_ns``); the clock triples of the session and of each cell map them to UTC.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Final, get_args, get_origin, get_type_hints

#: Raised when a reader of the old schema would misread the new one.
SCHEMA_VERSION: Final = 1
#: Raised with columns that an older reader may leave alone. 1.1: cells whose hardware is simulated
#: (``time_base``, ``device_…``, ``gross_low_j``, ``gross_high_j``). 1.2: ``stolen_cpu_s``. 1.3: legs
#: of a resumed run and checksums. 1.4: ``offset_u_w`` of channels. 1.5: ``sequences`` and ``served``
#: of requests.
SCHEMA_MINOR: Final = 5
#: The first minor version whose files have checksums.
FIRST_SEALED_MINOR: Final = 3


@dataclass(frozen=True, slots=True)
class Doc:
    """What a column means, and its unit.

    ``bits`` are those of an integer (32 or 64). ``repeated`` names are stored once; see
    :mod:`joulebench.session.files`.
    """

    meaning: str
    unit: str = ""
    bits: int = 64
    repeated: bool = False


class TableRow:
    """A row of a table, or of a list within a row."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class ColumnType:
    """A column as its dataclass declares it.

    ``kind`` is ``str``, ``int``, ``float``, ``bool``, ``datetime`` or a class of rows, ``many``
    says that it is a list of them, ``known`` that it is never null.
    """

    name: str
    kind: type
    many: bool
    known: bool
    doc: Doc


def columns_of(table: type) -> tuple[ColumnType, ...]:
    """The columns of a class of rows, in their order."""
    return _columns_of(table)


@cache
def _columns_of(table: type) -> tuple[ColumnType, ...]:
    hints = get_type_hints(table, include_extras=True)
    columns: list[ColumnType] = []
    for field in fields(table):
        hint, doc = get_args(hints[field.name])
        optional = isinstance(hint, UnionType)
        if optional:
            [hint] = [option for option in get_args(hint) if option is not NoneType]
        many = get_origin(hint) is tuple
        kind = get_args(hint)[0] if many else hint
        columns.append(ColumnType(field.name, kind, many, not optional, doc))
    return tuple(columns)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockTriple(TableRow):
    """Monotonic, UTC and monotonic time read in that order; maps one to the other.

    The UTC reading lies between the other two.
    """

    before_ns: Annotated[int, Doc("monotonic clock just before", "ns")]
    utc_ns: Annotated[int, Doc("UTC since 1970-01-01", "ns")]
    after_ns: Annotated[int, Doc("monotonic clock just after", "ns")]

    @classmethod
    def now(cls) -> ClockTriple:
        """Read the clocks."""
        before_ns = time.perf_counter_ns()
        return cls(before_ns=before_ns, utc_ns=time.time_ns(), after_ns=time.perf_counter_ns())

    def utc(self, t_ns: int) -> datetime:
        """UTC of a monotonic time, by the middle of the triple."""
        middle_ns = (self.before_ns + self.after_ns) // 2
        return datetime.fromtimestamp((self.utc_ns + t_ns - middle_ns) * 1e-9, tz=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelRow(TableRow):
    """A channel that was sampled, with what its calibration measured."""

    channel: Annotated[str, Doc("unique path of the channel, its first part the probe")]
    quantity: Annotated[str, Doc("energy, power, temperature, memory, frequency, …")]
    unit: Annotated[str, Doc("unit of raw × scale")]
    kind: Annotated[str, Doc("counter or gauge")]
    scale: Annotated[float | None, Doc("value in unit of one raw count")] = None
    provenance: Annotated[str, Doc("measured, estimated or simulated")]
    domain: Annotated[str, Doc("what the figure covers")]
    counted: Annotated[bool, Doc("whether it is part of the total of its provenance")]
    rate_hz: Annotated[float | None, Doc("requested sampling rate", "Hz")] = None
    update_period_s: Annotated[float | None, Doc("time between changes of the source, as declared", "s")] = None
    resolution: Annotated[float | None, Doc("smallest step, in unit")] = None
    measured_period_s: Annotated[float | None, Doc("median time between changes, measured here", "s")] = None
    measured_period_low_s: Annotated[float | None, Doc("its 5th percentile", "s")] = None
    measured_period_high_s: Annotated[float | None, Doc("its 95th percentile", "s")] = None
    measured_quantum: Annotated[float | None, Doc("largest step that divides all changes, in unit")] = None
    read_cost_s: Annotated[float | None, Doc("time of one read", "s")] = None
    wraps_at: Annotated[int | None, Doc("raw range of a counter")] = None
    relative_uncertainty: Annotated[float | None, Doc("relative standard uncertainty of the scale", "1")] = None
    offset_u_w: Annotated[float | None, Doc("standard uncertainty of an offset of the power", "W")] = None
    note: Annotated[str | None, Doc("what readers must know about the sensor")] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeRow(TableRow):
    """A probe that was asked for."""

    probe: Annotated[str, Doc("name of the probe")]
    available: Annotated[bool, Doc("whether it could be read")]
    reason: Annotated[str | None, Doc("why not")] = None
    cure: Annotated[str | None, Doc("how to fix it")] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class IdleRow(TableRow):
    """An idle baseline of one channel."""

    channel: Annotated[str, Doc("energy or power channel")]
    when: Annotated[str, Doc("before or after the blocks")]
    t0_ns: Annotated[int, Doc("start", "ns")]
    t1_ns: Annotated[int, Doc("end", "ns")]
    power_w: Annotated[float | None, Doc("mean power of the idle machine", "W")] = None
    power_u_w: Annotated[float | None, Doc("its standard uncertainty", "W")] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LegRow(TableRow):
    """A run from its start, or from ``--resume``, to its end or interruption."""

    leg: Annotated[int, Doc("number of the leg, from 0", bits=32)]
    started_at: Annotated[datetime | None, Doc("start of the leg")] = None
    finished_at: Annotated[datetime | None, Doc("its end; null if it was killed")] = None
    joulebench_version: Annotated[str | None, Doc("version that measured it")] = None
    profile_sha256: Annotated[str | None, Doc("sha256 over the profile's text and overrides")] = None
    protocol_json: Annotated[str | None, Doc("the protocol in force")] = None
    machine_json: Annotated[str | None, Doc("processor, memory, system")] = None
    preflight_json: Annotated[str | None, Doc("state of the machine before the leg")] = None
    versions_json: Annotated[str | None, Doc("versions of Python and of the libraries in use")] = None
    channels: Annotated[tuple[ChannelRow, ...] | None, Doc("channels as they were calibrated for this leg")] = None
    probes: Annotated[tuple[ProbeRow, ...] | None, Doc("every requested probe")] = None
    clock_start: Annotated[ClockTriple | None, Doc("clock triple at the start")] = None
    clock_end: Annotated[ClockTriple | None, Doc("clock triple at the end")] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CellChecksum(TableRow):
    """Checksum of a finished cell: a change in its files, or another cell's, is seen when it is read."""

    cell_id: Annotated[str, Doc("the cell")]
    sha256: Annotated[str, Doc("sha256 over its cell.arrow")]


@dataclass(frozen=True, slots=True, kw_only=True)
class TableChecksum(TableRow):
    """Checksum of one of a cell's tables."""

    table: Annotated[str, Doc("file stem of the table")]
    bytes: Annotated[int, Doc("size of its file", "B")]
    sha256: Annotated[str, Doc("sha256 over its file")]


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRow(TableRow):
    """The one row of ``session.arrow``."""

    schema_version: Annotated[int, Doc("version of these schemas", bits=32)] = SCHEMA_VERSION
    session_id: Annotated[str | None, Doc("name of the session's folder when it was made")] = None
    joulebench_version: Annotated[str | None, Doc("version that wrote it")] = None
    status: Annotated[str, Doc("running, complete or interrupted")]
    created_at: Annotated[datetime | None, Doc("start of the run")] = None
    finished_at: Annotated[datetime | None, Doc("end of the run")] = None
    profile_name: Annotated[str | None, Doc("name of the profile")] = None
    profile_text: Annotated[str | None, Doc("the profile as it was written, in TOML")] = None
    overrides: Annotated[tuple[str, ...] | None, Doc("values given on the command line, as key=value")] = None
    protocol_json: Annotated[str | None, Doc("the protocol in force: its preset and every number")] = None
    plan_json: Annotated[str | None, Doc("the plan: every cell, runnable or skipped with its reason")] = None
    machine_json: Annotated[str | None, Doc("processor, memory, system")] = None
    preflight_json: Annotated[str | None, Doc("state of the machine before the run; never changed by it")] = None
    versions_json: Annotated[str | None, Doc("versions of Python and of the libraries in use")] = None
    seed: Annotated[int | None, Doc("seed of orders, dithers and generated inputs")] = None
    clock_start: Annotated[ClockTriple | None, Doc("clock triple at the start")] = None
    clock_end: Annotated[ClockTriple | None, Doc("clock triple at the end")] = None
    channels: Annotated[tuple[ChannelRow, ...] | None, Doc("every channel that was sampled")] = None
    probes: Annotated[tuple[ProbeRow, ...] | None, Doc("every requested probe, and why some are missing")] = None
    legs: Annotated[
        tuple[LegRow, ...] | None, Doc("one for the run and one for each --resume; the columns above are the first's")
    ] = None
    cells: Annotated[tuple[CellChecksum, ...] | None, Doc("checksums of the finished cells; null during a run")] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CellRow(TableRow):
    """The one row of a cell's ``cell.arrow``, written at its end."""

    cell_id: Annotated[str, Doc("unique id, also the name of its folder")]
    label: Annotated[str | None, Doc("short text that distinguishes the cell from the others")] = None
    model: Annotated[str | None, Doc("name of the model in the profile")] = None
    model_source: Annotated[str | None, Doc("where it came from (catalogue name, path:, hf:, shape:)")] = None
    technique: Annotated[str | None, Doc("technique chain in order, joined by +; none for no technique")] = None
    backend: Annotated[str | None, Doc("name of the backend in the profile")] = None
    device: Annotated[str | None, Doc("device within the backend")] = None
    workload: Annotated[str | None, Doc("name of the workload in the profile")] = None
    unit: Annotated[str | None, Doc("unit of work of the workload")] = None
    time_base: Annotated[str | None, Doc("whose clock and energy are the cell's: host or device")] = None
    settings_json: Annotated[str | None, Doc("every setting of backend, techniques and workload")] = None
    status: Annotated[str, Doc("ok, failed or skipped")]
    cause: Annotated[str | None, Doc("why it failed or was skipped")] = None
    cause_kind: Annotated[str | None, Doc("error, signal, exit, hang, memory, artifact, unavailable, …")] = None
    exit_code: Annotated[int | None, Doc("exit code of a worker that exited", bits=32)] = None
    signal: Annotated[str | None, Doc("signal that ended the worker")] = None
    stderr_tail: Annotated[str | None, Doc("last lines that the worker wrote to standard error")] = None
    artifact_format: Annotated[str | None, Doc("format of the model that ran")] = None
    artifact_hash: Annotated[str | None, Doc("sha256 over its files")] = None
    artifact_bytes: Annotated[int | None, Doc("size of its files on disk", "B")] = None
    lineage: Annotated[tuple[str, ...] | None, Doc("steps that made the artifact, oldest first")] = None
    evidence_json: Annotated[str | None, Doc("observed changes by each technique")] = None
    facts_json: Annotated[str | None, Doc("what the session used (dtype, kernels, threads)")] = None
    quality_json: Annotated[str | None, Doc("quality figures with their text and token counts")] = None
    agreement_json: Annotated[str | None, Doc("agreement with the reference")] = None
    weights_bytes: Annotated[int | None, Doc("weights, by the runtime's account", "B")] = None
    kv_allocated_bytes: Annotated[int | None, Doc("KV cache allocated, by the runtime's account", "B")] = None
    kv_used_bytes: Annotated[int | None, Doc("KV cache in use after the last block", "B")] = None
    workspace_bytes: Annotated[int | None, Doc("other buffers, by the runtime's account", "B")] = None
    rss_peak_bytes: Annotated[int | None, Doc("peak resident memory of the worker", "B")] = None
    rss_base_bytes: Annotated[int | None, Doc("resident memory before the model was loaded", "B")] = None
    rss_anon_bytes: Annotated[int | None, Doc("anonymous resident memory after the blocks", "B")] = None
    rss_file_bytes: Annotated[int | None, Doc("file-backed resident memory after the blocks", "B")] = None
    rss_model_bytes: Annotated[int | None, Doc("of it, pages of the model's own files (mapped)", "B")] = None
    pss_bytes: Annotated[int | None, Doc("proportional set size after the blocks", "B")] = None
    device_peak_bytes: Annotated[int | None, Doc("peak memory of the accelerator", "B")] = None
    token_weights_bytes: Annotated[int | None, Doc("bytes of weights that one decoded token reads", "B")] = None
    token_kv_bytes: Annotated[int | None, Doc("KV cache that one decoded token reads per position", "B")] = None
    token_operations: Annotated[int | None, Doc("floating-point operations of one token's matrices")] = None
    token_head_operations: Annotated[int | None, Doc("the part of them in the output head: once per prefill")] = None
    load_s: Annotated[float | None, Doc("time to load the model (last process)", "s")] = None
    warmup_s: Annotated[float | None, Doc("time of the warm-up (last process)", "s")] = None
    warmup_requests: Annotated[int | None, Doc("requests of the warm-up (last process)", bits=32)] = None
    processes: Annotated[int | None, Doc("worker processes that contributed blocks", bits=32)] = None
    blocks: Annotated[int | None, Doc("blocks measured", bits=32)] = None
    idle: Annotated[tuple[IdleRow, ...] | None, Doc("idle baselines of each energy or power channel")] = None
    sampler_cpu_s: Annotated[float | None, Doc("CPU time of the sampler: the overhead of measuring", "s")] = None
    sampler_wall_s: Annotated[float | None, Doc("time during which the sampler sampled", "s")] = None
    sampler_ticks: Annotated[int | None, Doc("ticks of the sampler")] = None
    sampler_missed: Annotated[int | None, Doc("ticks that it missed")] = None
    sampler_rate_hz: Annotated[float | None, Doc("achieved rate of its fastest channel", "Hz")] = None
    sampler_late_p99_s: Annotated[float | None, Doc("99th percentile of its lateness", "s")] = None
    flags: Annotated[tuple[str, ...] | None, Doc("what limits the trust in the cell's figures")] = None
    started_at: Annotated[datetime | None, Doc("start of the cell's first process")] = None
    finished_at: Annotated[datetime | None, Doc("end of the cell's last process")] = None
    clock_start: Annotated[ClockTriple | None, Doc("clock triple at the start")] = None
    clock_end: Annotated[ClockTriple | None, Doc("clock triple at the end")] = None
    tables: Annotated[tuple[TableChecksum, ...] | None, Doc("checksums of the cell's other tables")] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockRow(TableRow):
    """A block: the requests between two looks at the clock that count as one measurement."""

    cell_id: Annotated[str, Doc("the cell")]
    block: Annotated[int, Doc("number of the block within the cell", bits=32)]
    process: Annotated[int, Doc("worker process of the cell, from 0", bits=32)]
    round: Annotated[int | None, Doc("round of randomised turns; cells with the same number took turns", bits=32)] = (
        None
    )
    position: Annotated[int | None, Doc("place within the round", bits=32)] = None
    t0_ns: Annotated[int | None, Doc("start", "ns")] = None
    t1_ns: Annotated[int | None, Doc("end", "ns")] = None
    start_utc: Annotated[datetime | None, Doc("start, by the cell's clock triple")] = None
    duration_s: Annotated[float | None, Doc("measured time: the sum of the requests' windows", "s")] = None
    device_s: Annotated[float | None, Doc("the same in seconds of simulated hardware", "s")] = None
    device_cycles: Annotated[int | None, Doc("clock cycles of simulated hardware in that time")] = None
    requests: Annotated[int | None, Doc("requests done", bits=32)] = None
    prefill_tokens: Annotated[int | None, Doc("prompt tokens read")] = None
    decode_tokens: Annotated[int | None, Doc("tokens written after the first (the first ends prefill)")] = None
    units: Annotated[float | None, Doc("work done, in the cell's unit")] = None
    worker_cpu_s: Annotated[float | None, Doc("CPU time of the worker", "s")] = None
    other_cpu_s: Annotated[float | None, Doc("CPU time of everything but worker and sampler", "s")] = None
    stolen_cpu_s: Annotated[float | None, Doc("CPU time that a hypervisor gave to other guests", "s")] = None
    temperature_start_c: Annotated[float | None, Doc("hottest measured temperature at the start", "degC")] = None
    temperature_end_c: Annotated[float | None, Doc("hottest measured temperature at the end", "degC")] = None
    frequency_hz: Annotated[float | None, Doc("mean frequency of the cores", "Hz")] = None
    gate_wait_s: Annotated[float | None, Doc("time waited for the thermal gate", "s")] = None
    dither_s: Annotated[float | None, Doc("random wait before the block", "s")] = None
    flags: Annotated[tuple[str, ...], Doc("contended, throttled, anchor, thermal_gate_timeout, …")] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class EnergyRow(TableRow):
    """Energy of one channel over one phase of a block."""

    cell_id: Annotated[str, Doc("the cell")]
    block: Annotated[int, Doc("the block", bits=32)]
    phase: Annotated[str, Doc("total, or a phase of the workload (prefill, decode)")]
    channel: Annotated[str, Doc("the channel")]
    domain: Annotated[str, Doc("what the figure covers")]
    provenance: Annotated[str, Doc("measured, estimated or simulated")]
    method: Annotated[str, Doc("counter, integrated or model")]
    counted: Annotated[bool, Doc("whether it is part of the total of its provenance")]
    duration_s: Annotated[float | None, Doc("duration of the window(s)", "s")] = None
    gross_j: Annotated[float | None, Doc("energy of the whole domain", "J")] = None
    gross_u_j: Annotated[float | None, Doc("standard uncertainty of this one window", "J")] = None
    gross_low_j: Annotated[float | None, Doc("minimum that the ranges of a model's inputs allow", "J")] = None
    gross_high_j: Annotated[float | None, Doc("maximum that they allow; not a statistical interval", "J")] = None
    net_j: Annotated[float | None, Doc("gross minus idle power × duration", "J")] = None
    net_u_j: Annotated[float | None, Doc("its standard uncertainty", "J")] = None
    attributed_j: Annotated[float | None, Doc("the worker's share by CPU time: an estimate", "J")] = None
    attributed_u_j: Annotated[float | None, Doc("its standard uncertainty", "J")] = None
    flags: Annotated[tuple[str, ...], Doc("counter_ambiguous, insufficient_resolution, gauge_integrated, …")] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedRow(TableRow):
    """A request of a load, as its client saw it."""

    due_ns: Annotated[int, Doc("when it was to be sent", "ns")]
    sent_ns: Annotated[int, Doc("when it was", "ns")]
    first_ns: Annotated[int | None, Doc("first token; null: none came", "ns")] = None
    end_ns: Annotated[int, Doc("last token, or when it was given up", "ns")]
    prompt_tokens: Annotated[int, Doc("tokens of the prompt", bits=32)]
    output_tokens: Annotated[int, Doc("tokens of the answer", bits=32)]
    fault: Annotated[str | None, Doc("why there is no whole answer")] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestRow(TableRow):
    """A request within a block."""

    cell_id: Annotated[str, Doc("the cell")]
    block: Annotated[int, Doc("the block", bits=32)]
    request: Annotated[int, Doc("number within the block", bits=32)]
    prompt_index: Annotated[int | None, Doc("position in the workload's list", bits=32)] = None
    t0_ns: Annotated[int | None, Doc("start", "ns")] = None
    t1_ns: Annotated[int | None, Doc("end", "ns")] = None
    start_utc: Annotated[datetime | None, Doc("start, by the cell's clock triple")] = None
    end_utc: Annotated[datetime | None, Doc("end, by the cell's clock triple")] = None
    duration_s: Annotated[float | None, Doc("t1 - t0", "s")] = None
    ttft_s: Annotated[float | None, Doc("start to first token", "s")] = None
    prefill_s: Annotated[float | None, Doc("duration of the prefill phase", "s")] = None
    decode_s: Annotated[float | None, Doc("duration of the decode phase", "s")] = None
    tpot_s: Annotated[float | None, Doc("decode time per token after the first, of one sequence", "s")] = None
    sequences: Annotated[int | None, Doc("sequences read and written at once; null: one", bits=32)] = None
    prefill_tokens: Annotated[int | None, Doc("prompt tokens, of all sequences", bits=32)] = None
    decode_tokens: Annotated[int | None, Doc("tokens after the first, of all sequences", bits=32)] = None
    units: Annotated[float | None, Doc("work done, in the cell's unit")] = None
    token_t_ns: Annotated[tuple[int, ...] | None, Doc("when each token became known", "ns")] = None
    device_s: Annotated[float | None, Doc("the request in seconds of simulated hardware", "s")] = None
    device_ttft_s: Annotated[float | None, Doc("start to first token, by its clock", "s")] = None
    device_prefill_s: Annotated[float | None, Doc("duration of the prefill phase, by its clock", "s")] = None
    device_decode_s: Annotated[float | None, Doc("duration of the decode phase, by its clock", "s")] = None
    device_tpot_s: Annotated[float | None, Doc("decode time per token after the first, by its clock", "s")] = None
    device_token_s: Annotated[tuple[float, ...] | None, Doc("each token, by its clock, from the start", "s")] = None
    output_tokens: Annotated[tuple[int, ...] | None, Doc("ids of the answer", bits=32)] = None
    prompt: Annotated[str | None, Doc("the user's prompt")] = None
    response: Annotated[str | None, Doc("the answer as text")] = None
    values_json: Annotated[str | None, Doc("further figures of the workload")] = None
    served: Annotated[tuple[ServedRow, ...] | None, Doc("where it is a window of load: the requests in it")] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleRow(TableRow):
    """A reading of a channel, raw."""

    t_ns: Annotated[int, Doc("when it was read", "ns")]
    channel: Annotated[str, Doc("the channel", repeated=True)]
    raw: Annotated[int, Doc("as read: counters are not differenced; times scale gives the unit")]
    origin: Annotated[str, Doc("tick (the sampler) or edge (read at a window's edge)", repeated=True)]


@dataclass(frozen=True, slots=True, kw_only=True)
class EventRow(TableRow):
    """Something that happened while a cell ran."""

    t_ns: Annotated[int, Doc("when", "ns")]
    kind: Annotated[str, Doc("phase, block_start, block_end, gate_wait, sensor_fault, …")]
    block: Annotated[int | None, Doc("the block, where it belongs to one", bits=32)] = None
    request: Annotated[int | None, Doc("the request within the block", bits=32)] = None
    detail: Annotated[str | None, Doc("the phase's name, or what happened")] = None


#: Tables of a cell's folder by file stem. ``cell`` is written once, at its end.
CELL_ROWS: Final[dict[str, type[TableRow]]] = {
    "cell": CellRow,
    "blocks": BlockRow,
    "energy": EnergyRow,
    "requests": RequestRow,
    "samples": SampleRow,
    "events": EventRow,
}
#: And the other way round.
TABLE_OF_ROWS: Final[dict[type[TableRow], str]] = {rows: name for name, rows in CELL_ROWS.items()}
