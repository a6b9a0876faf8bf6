"""The Arrow schemas of a session: every table, column, unit and meaning.

``docs/session-format.md`` documents the same tables; a test compares the two. Unknown is null.
All times ending in ``_ns`` are on the monotonic clock of the measured machine
(``time.perf_counter_ns``); the clock triples of the session and of each cell map them to UTC.
"""

from __future__ import annotations

from typing import Final

import pyarrow as pa

#: Raised when a reader of the old schema would misread the new one.
SCHEMA_VERSION: Final = 1
#: Raised with columns that an older reader may leave alone. 1.1: cells whose hardware is simulated
#: (``time_base``, ``device_…``, ``gross_low_j``, ``gross_high_j``). 1.2: ``stolen_cpu_s``. 1.3: legs
#: of a resumed run and checksums.
SCHEMA_MINOR: Final = 3
#: The first minor version whose files have checksums.
FIRST_SEALED_MINOR: Final = 3
#: Key in the metadata of a table of one row: SHA-256 over the row.
ROW_DIGEST: Final = b"joulebench_row_sha256"


def _field(name: str, kind: pa.DataType, doc: str, unit: str = "") -> pa.Field:
    metadata = {"doc": doc}
    if unit:
        metadata["unit"] = unit
    return pa.field(name, kind, metadata=metadata)


_TEXT: Final = pa.string()
_I64: Final = pa.int64()
_I32: Final = pa.int32()
_F64: Final = pa.float64()
_BOOL: Final = pa.bool_()
_UTC: Final = pa.timestamp("us", tz="UTC")
_NAMES: Final = pa.list_(_TEXT)
#: Repeated names (channels, origins) are stored once; see :mod:`joulebench.session.files`.
_DICT: Final = pa.dictionary(pa.int32(), _TEXT)

#: (monotonic, UTC, monotonic) read in that order: the UTC reading lies between the other two.
CLOCK: Final = pa.struct(
    [
        _field("before_ns", _I64, "monotonic clock just before", "ns"),
        _field("utc_ns", _I64, "UTC since 1970-01-01", "ns"),
        _field("after_ns", _I64, "monotonic clock just after", "ns"),
    ]
)

CHANNEL: Final = pa.struct(
    [
        _field("channel", _TEXT, "unique path of the channel, its first part the probe"),
        _field("quantity", _TEXT, "energy, power, temperature, memory, frequency, …"),
        _field("unit", _TEXT, "unit of raw × scale"),
        _field("kind", _TEXT, "counter or gauge"),
        _field("scale", _F64, "value in unit of one raw count"),
        _field("provenance", _TEXT, "measured, estimated or simulated"),
        _field("domain", _TEXT, "what the figure covers"),
        _field("counted", _BOOL, "whether it enters the total of its provenance"),
        _field("rate_hz", _F64, "sampling rate asked for", "Hz"),
        _field("update_period_s", _F64, "time between changes of the source, as declared", "s"),
        _field("resolution", _F64, "smallest step, in unit"),
        _field("measured_period_s", _F64, "median time between changes, measured here", "s"),
        _field("measured_period_low_s", _F64, "its 5th percentile", "s"),
        _field("measured_period_high_s", _F64, "its 95th percentile", "s"),
        _field("measured_quantum", _F64, "largest step that divides all changes, in unit"),
        _field("read_cost_s", _F64, "time that one read takes", "s"),
        _field("wraps_at", _I64, "raw range of a counter"),
        _field("relative_uncertainty", _F64, "relative standard uncertainty of the scale", "1"),
        _field("note", _TEXT, "what a reader must know of the sensor"),
    ]
)

PROBE: Final = pa.struct(
    [
        _field("probe", _TEXT, "name of the probe"),
        _field("available", _BOOL, "whether it could be read"),
        _field("reason", _TEXT, "why not"),
        _field("cure", _TEXT, "what would change that"),
    ]
)

IDLE: Final = pa.struct(
    [
        _field("channel", _TEXT, "energy or power channel"),
        _field("when", _TEXT, "before or after the blocks"),
        _field("t0_ns", _I64, "start", "ns"),
        _field("t1_ns", _I64, "end", "ns"),
        _field("power_w", _F64, "mean power of the idle machine", "W"),
        _field("power_u_w", _F64, "its standard uncertainty", "W"),
    ]
)

#: A run from its start, or from ``--resume``, to its end or interruption.
LEG: Final = pa.struct(
    [
        _field("leg", _I32, "number of the leg, from 0"),
        _field("started_at", _UTC, "start of the leg"),
        _field("finished_at", _UTC, "its end; null where it was killed"),
        _field("joulebench_version", _TEXT, "version that measured it"),
        _field("profile_sha256", _TEXT, "sha256 over the profile's text and overrides"),
        _field("protocol_json", _TEXT, "the protocol in force"),
        _field("machine_json", _TEXT, "processor, memory, system"),
        _field("preflight_json", _TEXT, "state of the machine before the leg"),
        _field("versions_json", _TEXT, "versions of Python and of the libraries in use"),
        _field("channels", pa.list_(CHANNEL), "channels as they were calibrated for this leg"),
        _field("probes", pa.list_(PROBE), "every probe asked for"),
        _field("clock_start", CLOCK, "clock triple at the start"),
        _field("clock_end", CLOCK, "clock triple at the end"),
    ]
)

#: Checksums: a change in a file, or a file of another cell, is found when it is read.
CELL_CHECKSUM: Final = pa.struct(
    [_field("cell_id", _TEXT, "the cell"), _field("sha256", _TEXT, "sha256 over its cell.arrow")]
)
TABLE_CHECKSUM: Final = pa.struct(
    [
        _field("table", _TEXT, "file stem of the table"),
        _field("bytes", _I64, "size of its file", "B"),
        _field("sha256", _TEXT, "sha256 over its file"),
    ]
)

SESSION: Final = pa.schema(
    [
        _field("schema_version", _I32, "version of these schemas"),
        _field("session_id", _TEXT, "name of the session's folder when it was made"),
        _field("joulebench_version", _TEXT, "version that wrote it"),
        _field("status", _TEXT, "running, complete or interrupted"),
        _field("created_at", _UTC, "start of the run"),
        _field("finished_at", _UTC, "end of the run"),
        _field("profile_name", _TEXT, "name of the profile"),
        _field("profile_text", _TEXT, "the profile as it was written, in TOML"),
        _field("overrides", _NAMES, "values given on the command line, as key=value"),
        _field("protocol_json", _TEXT, "the protocol in force: its preset and every number"),
        _field("plan_json", _TEXT, "the plan: every cell, runnable or skipped with its reason"),
        _field("machine_json", _TEXT, "processor, memory, system"),
        _field("preflight_json", _TEXT, "state of the machine before the run; never changed by it"),
        _field("versions_json", _TEXT, "versions of Python and of the libraries in use"),
        _field("seed", _I64, "seed of orders, dithers and generated inputs"),
        _field("clock_start", CLOCK, "clock triple at the start"),
        _field("clock_end", CLOCK, "clock triple at the end"),
        _field("channels", pa.list_(CHANNEL), "every channel that was sampled"),
        _field("probes", pa.list_(PROBE), "every probe asked for, and why some are missing"),
        _field("legs", pa.list_(LEG), "one for the run and one for each --resume; the columns above are the first's"),
        _field("cells", pa.list_(CELL_CHECKSUM), "checksums of the finished cells; null during a run"),
    ]
)

CELL: Final = pa.schema(
    [
        _field("cell_id", _TEXT, "unique id, also the name of its folder"),
        _field("label", _TEXT, "short text that tells the cell from the others"),
        _field("model", _TEXT, "name of the model in the profile"),
        _field("model_source", _TEXT, "where it came from (catalogue name, path:, hf:, shape:)"),
        _field("technique", _TEXT, "technique chain in order, joined by +; none for no technique"),
        _field("backend", _TEXT, "name of the backend in the profile"),
        _field("device", _TEXT, "device within the backend"),
        _field("workload", _TEXT, "name of the workload in the profile"),
        _field("unit", _TEXT, "unit of work of the workload"),
        _field("time_base", _TEXT, "host, or device: whose seconds and joules are the cell's"),
        _field("settings_json", _TEXT, "every setting of backend, techniques and workload"),
        _field("status", _TEXT, "ok, failed or skipped"),
        _field("cause", _TEXT, "why it failed or was skipped"),
        _field("cause_kind", _TEXT, "error, signal, exit, hang, memory, artifact, unavailable, …"),
        _field("exit_code", _I32, "exit code of a worker that ended by itself"),
        _field("signal", _TEXT, "signal that ended the worker"),
        _field("stderr_tail", _TEXT, "last lines that the worker wrote to standard error"),
        _field("artifact_format", _TEXT, "format of the model that ran"),
        _field("artifact_hash", _TEXT, "sha256 over its files"),
        _field("artifact_bytes", _I64, "size of its files on disk", "B"),
        _field("lineage", _NAMES, "steps that made the artifact, oldest first"),
        _field("evidence_json", _TEXT, "what each technique was observed to have changed"),
        _field("facts_json", _TEXT, "what the session really used (dtype, kernels, threads)"),
        _field("quality_json", _TEXT, "quality figures with their text and token counts"),
        _field("agreement_json", _TEXT, "how far it says the same as the reference cell"),
        _field("weights_bytes", _I64, "weights, by the runtime's account", "B"),
        _field("kv_allocated_bytes", _I64, "KV cache allocated, by the runtime's account", "B"),
        _field("kv_used_bytes", _I64, "KV cache in use after the last block", "B"),
        _field("workspace_bytes", _I64, "other buffers, by the runtime's account", "B"),
        _field("rss_peak_bytes", _I64, "peak resident memory of the worker", "B"),
        _field("rss_base_bytes", _I64, "resident memory before the model was loaded", "B"),
        _field("rss_anon_bytes", _I64, "anonymous resident memory after the blocks", "B"),
        _field("rss_file_bytes", _I64, "file-backed resident memory after the blocks", "B"),
        _field("rss_model_bytes", _I64, "of it, pages of the model's own files (mapped)", "B"),
        _field("pss_bytes", _I64, "proportional set size after the blocks", "B"),
        _field("device_peak_bytes", _I64, "peak memory of the accelerator", "B"),
        _field("token_weights_bytes", _I64, "bytes of weights that one decoded token reads", "B"),
        _field("token_kv_bytes", _I64, "bytes of KV cache that it reads per position", "B"),
        _field("token_operations", _I64, "floating-point operations of one token's matrices"),
        _field("token_head_operations", _I64, "those of them in the output head: once a prefill"),
        _field("load_s", _F64, "time to load the model (last process)", "s"),
        _field("warmup_s", _F64, "time of the warm-up (last process)", "s"),
        _field("warmup_requests", _I32, "requests of the warm-up (last process)"),
        _field("processes", _I32, "worker processes that contributed blocks"),
        _field("blocks", _I32, "blocks measured"),
        _field("idle", pa.list_(IDLE), "idle baselines of each energy or power channel"),
        _field("sampler_cpu_s", _F64, "CPU time of the sampler: what measuring costs", "s"),
        _field("sampler_wall_s", _F64, "time that the sampler was sampling", "s"),
        _field("sampler_ticks", _I64, "ticks of the sampler"),
        _field("sampler_missed", _I64, "ticks that it missed"),
        _field("sampler_rate_hz", _F64, "achieved rate of its fastest channel", "Hz"),
        _field("sampler_late_p99_s", _F64, "99th percentile of its lateness", "s"),
        _field("flags", _NAMES, "what limits the trust in the cell's figures"),
        _field("started_at", _UTC, "start of the cell's first process"),
        _field("finished_at", _UTC, "end of the cell's last process"),
        _field("clock_start", CLOCK, "clock triple at the start"),
        _field("clock_end", CLOCK, "clock triple at the end"),
        _field("tables", pa.list_(TABLE_CHECKSUM), "checksums of the cell's other tables"),
    ]
)

BLOCKS: Final = pa.schema(
    [
        _field("cell_id", _TEXT, "the cell"),
        _field("block", _I32, "number of the block within the cell"),
        _field("process", _I32, "worker process of the cell, from 0"),
        _field("round", _I32, "round of randomised turns; cells with the same number took turns"),
        _field("position", _I32, "place within the round"),
        _field("t0_ns", _I64, "start", "ns"),
        _field("t1_ns", _I64, "end", "ns"),
        _field("start_utc", _UTC, "start, by the cell's clock triple"),
        _field("duration_s", _F64, "measured time: the sum of the requests' windows", "s"),
        _field("device_s", _F64, "the same in seconds of simulated hardware", "s"),
        _field("device_cycles", _I64, "clock cycles of simulated hardware in that time"),
        _field("requests", _I32, "requests done"),
        _field("prefill_tokens", _I64, "prompt tokens read"),
        _field("decode_tokens", _I64, "tokens written after the first (the first ends prefill)"),
        _field("units", _F64, "work done, in the cell's unit"),
        _field("worker_cpu_s", _F64, "CPU time of the worker", "s"),
        _field("other_cpu_s", _F64, "CPU time of everything but worker and sampler", "s"),
        _field("stolen_cpu_s", _F64, "CPU time that a hypervisor gave to other guests", "s"),
        _field("temperature_start_c", _F64, "hottest measured temperature at the start", "degC"),
        _field("temperature_end_c", _F64, "hottest measured temperature at the end", "degC"),
        _field("frequency_hz", _F64, "mean frequency of the cores", "Hz"),
        _field("gate_wait_s", _F64, "time waited for the thermal gate", "s"),
        _field("dither_s", _F64, "random wait before the block", "s"),
        _field("flags", _NAMES, "contended, throttled, anchor, thermal_gate_timeout, …"),
    ]
)

ENERGY: Final = pa.schema(
    [
        _field("cell_id", _TEXT, "the cell"),
        _field("block", _I32, "the block"),
        _field("phase", _TEXT, "total, or a phase of the workload (prefill, decode)"),
        _field("channel", _TEXT, "the channel"),
        _field("domain", _TEXT, "what the figure covers"),
        _field("provenance", _TEXT, "measured, estimated or simulated"),
        _field("method", _TEXT, "counter, integrated or model"),
        _field("counted", _BOOL, "whether it enters the total of its provenance"),
        _field("duration_s", _F64, "time that the window(s) cover", "s"),
        _field("gross_j", _F64, "energy of the whole domain", "J"),
        _field("gross_u_j", _F64, "standard uncertainty of this one window", "J"),
        _field("gross_low_j", _F64, "least that the ranges of a model's inputs allow", "J"),
        _field("gross_high_j", _F64, "most that they allow; no statistical interval", "J"),
        _field("net_j", _F64, "gross minus idle power × duration", "J"),
        _field("net_u_j", _F64, "its standard uncertainty", "J"),
        _field("attributed_j", _F64, "the worker's share by CPU time: an estimate", "J"),
        _field("attributed_u_j", _F64, "its standard uncertainty", "J"),
        _field("flags", _NAMES, "counter_ambiguous, insufficient_resolution, gauge_integrated, …"),
    ]
)

REQUESTS: Final = pa.schema(
    [
        _field("cell_id", _TEXT, "the cell"),
        _field("block", _I32, "the block"),
        _field("request", _I32, "number within the block"),
        _field("prompt_index", _I32, "position in the workload's list"),
        _field("t0_ns", _I64, "start", "ns"),
        _field("t1_ns", _I64, "end", "ns"),
        _field("start_utc", _UTC, "start, by the cell's clock triple"),
        _field("end_utc", _UTC, "end, by the cell's clock triple"),
        _field("duration_s", _F64, "t1 - t0", "s"),
        _field("ttft_s", _F64, "start to first token", "s"),
        _field("prefill_s", _F64, "duration of the prefill phase", "s"),
        _field("decode_s", _F64, "duration of the decode phase", "s"),
        _field("tpot_s", _F64, "decode time per token after the first", "s"),
        _field("prefill_tokens", _I32, "prompt tokens"),
        _field("decode_tokens", _I32, "tokens after the first"),
        _field("units", _F64, "work done, in the cell's unit"),
        _field("token_t_ns", pa.list_(_I64), "when each token became known", "ns"),
        _field("device_s", _F64, "the request in seconds of simulated hardware", "s"),
        _field("device_ttft_s", _F64, "start to first token, by its clock", "s"),
        _field("device_prefill_s", _F64, "duration of the prefill phase, by its clock", "s"),
        _field("device_decode_s", _F64, "duration of the decode phase, by its clock", "s"),
        _field("device_tpot_s", _F64, "decode time per token after the first, by its clock", "s"),
        _field("device_token_s", pa.list_(_F64), "each token, by its clock, from the start", "s"),
        _field("output_tokens", pa.list_(_I32), "ids of the answer"),
        _field("prompt", _TEXT, "the user's prompt"),
        _field("response", _TEXT, "the answer as text"),
        _field("values_json", _TEXT, "further figures of the workload"),
    ]
)

SAMPLES: Final = pa.schema(
    [
        _field("t_ns", _I64, "when it was read", "ns"),
        _field("channel", _DICT, "the channel"),
        _field("raw", _I64, "as read: counters are not differenced; times scale gives the unit"),
        _field("origin", _DICT, "tick (the sampler) or edge (read at a window's edge)"),
    ]
)

EVENTS: Final = pa.schema(
    [
        _field("t_ns", _I64, "when", "ns"),
        _field("kind", _TEXT, "phase, block_start, block_end, gate_wait, sensor_fault, …"),
        _field("block", _I32, "the block, where it belongs to one"),
        _field("request", _I32, "the request within the block"),
        _field("detail", _TEXT, "the phase's name, or what happened"),
    ]
)

#: Tables of a cell's folder by file stem. ``cell`` is written once, at its end.
CELL_TABLES: Final[dict[str, pa.Schema]] = {
    "cell": CELL,
    "blocks": BLOCKS,
    "energy": ENERGY,
    "requests": REQUESTS,
    "samples": SAMPLES,
    "events": EVENTS,
}


def versioned(schema: pa.Schema) -> pa.Schema:
    """The schema with the version in its metadata, as it is written to files."""
    return schema.with_metadata(
        {"joulebench_schema": str(SCHEMA_VERSION), "joulebench_schema_minor": str(SCHEMA_MINOR)}
    )
