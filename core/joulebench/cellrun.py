"""One cell while it is being measured: its worker, its sampler, its streams and its record."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from joulebench.api import Artifact, Scalar
from joulebench.baseline import Baseline, traces_by_channel
from joulebench.gate import MachineLoad, is_steady, throttled
from joulebench.meter.channels import edge_specs
from joulebench.meter.energy import Trace
from joulebench.meter.idle import IdlePower, combined_idle
from joulebench.meter.sampling import Drained, ObserverTax, Sampler, process_cpu_ns
from joulebench.meter.uncertainty import Interval, ratio_interval
from joulebench.meter.windows import TOTAL, Accountant, energy_row, with_net, without_energy
from joulebench.plan import PlannedCell
from joulebench.protocol import Block
from joulebench.records import (
    ClockTriple,
    Row,
    block_totals,
    event_rows,
    note_row,
    planned_row,
    request_rows,
)
from joulebench.schema import CELL_TABLES, versioned
from joulebench.session import Session, SessionWriter, TableStream
from joulebench.workerprocess import Cause, WorkerError, WorkerProcess

#: Requests of a block, at most, however short a request is.
MOST_REQUESTS: Final = 4096
_STREAMS: Final = ("blocks", "energy", "requests", "samples", "events")


@dataclass(frozen=True, slots=True)
class Job:
    """What a cell needs to start a worker, settled before the run."""

    artifact: Artifact
    checkpoint: Path | None
    environment: dict[str, str]
    settings: dict[str, Any]
    workload_settings: dict[str, Any]
    evidence: dict[str, dict[str, Scalar]]
    can_score: bool
    seed: int
    open_timeout_s: float
    block_timeout_s: float
    cell_timeout_s: float | None
    memory_limit_bytes: int | None


@dataclass(slots=True)
class Measured:
    """One block as the stopping rule sees it."""

    process: int
    joules: float | None
    seconds: float
    units: float


@dataclass(slots=True)
class Turn:
    """Where a block stands in the order of things, and what was waited for before it."""

    number: int
    round: int
    position: int
    gate_wait_s: float = 0.0
    dither_s: float = 0.0
    flags: tuple[str, ...] = ()


@dataclass(slots=True)
class _Totals:
    """What accumulates over the processes of a cell."""

    tax: ObserverTax = field(default_factory=ObserverTax)
    rss_peak_bytes: int | None = None
    quality: dict[str, float] = field(default_factory=dict)


class CellRun:
    """A cell under way. Raises :class:`WorkerError` where the cell fails."""

    def __init__(
        self,
        cell: PlannedCell,
        job: Job,
        writer: SessionWriter,
        accountant: Accountant,
        resumed_from: Session | None = None,
    ) -> None:
        self.cell = cell
        self.job = job
        self.accountant = accountant
        self.channels = accountant.channels
        self._writer = writer
        self.measured: list[Measured] = []
        self.next_process = 0
        self.flags: dict[str, None] = {}
        self.requests_per_block: int | None = None
        self.warmup_mean_s = 0.0
        self.baselines: list[Baseline] = []
        self.quality: dict[str, Scalar] = {}
        self.cause: Cause | None = None
        self.spent_s = 0.0
        self.facts: dict[str, Any] = {}
        self.memory: dict[str, Any] = {}
        self.warmup_s: float | None = None
        self.warmup_requests: int | None = None
        self.load_s: float | None = None
        self.rss_base_bytes: int | None = None
        self._stderr_tail: str | None = None
        self._totals = _Totals()
        self._worker: WorkerProcess | None = None
        self._sampler: Sampler | None = None
        self._load = MachineLoad()
        self._clock = ClockTriple.now()
        self._started_at = datetime.now(tz=UTC)
        if resumed_from is not None:
            self._take_over(resumed_from)
        self._streams: dict[str, TableStream] = {
            name: writer.stream(cell.id, name) for name in _STREAMS
        }

    def _take_over(self, session: Session) -> None:
        """Count the blocks that an interrupted run has left."""
        blocks = session.table("blocks", self.cell.id).to_pylist()
        joules: dict[int, list[float | None]] = {}
        for row in session.table("energy", self.cell.id).to_pylist():
            if row["phase"] == TOTAL and row["counted"]:
                joules.setdefault(row["block"], []).append(row["gross_j"])
        for row in blocks:
            parts = joules.get(row["block"], [])
            known = [part for part in parts if part is not None]
            total = sum(known) if known and len(known) == len(parts) else None
            self.measured.append(Measured(row["process"], total, row["duration_s"], row["units"]))
            self.spent_s += row["duration_s"]
        self.next_process = max((row["process"] for row in blocks), default=-1) + 1
        if blocks:
            self.flags["resumed"] = None

    # -- a process ---------------------------------------------------------------------------

    @property
    def running(self) -> bool:
        """Whether a worker is loaded and the cell has not failed."""
        return self._worker is not None and self.cause is None

    def open(self, idle: Callable[[], None]) -> None:
        """Start a worker, load the model, start the sampler."""
        start = time.monotonic()
        self._worker = WorkerProcess(self.job.environment, self.job.memory_limit_bytes)
        self._worker.greet(60.0)
        answer = self._ask(
            {
                "op": "open",
                "backend": self.cell.backend_plugin,
                "artifact": {
                    "format": self.job.artifact.format,
                    "path": str(self.job.artifact.path),
                    "content_hash": self.job.artifact.content_hash,
                    "size_bytes": self.job.artifact.size_bytes,
                },
                "checkpoint": None if self.job.checkpoint is None else str(self.job.checkpoint),
                "device": self.cell.device,
                "settings": self.job.settings,
                "runtime": [
                    {"name": step.name, "settings": dict(step.settings)}
                    for step in self.cell.runtime_steps
                ],
                "workload": self.cell.workload_plugin,
                "workload_settings": self.job.workload_settings,
                "seed": self.job.seed,
                "edges": edge_specs(self.channels, self._worker.pid),
            },
            self.job.open_timeout_s,
            idle,
        )
        self.load_s = answer["load_s"]
        self.facts = answer["facts"]
        self.rss_base_bytes = answer["rss_base_bytes"]
        if self.channels:
            self._sampler = Sampler(self.channels, self._worker.pid)
        self.spent_s += time.monotonic() - start

    def _ask(self, order: dict[str, Any], timeout_s: float, idle: Callable[[], None]) -> Row:
        assert self._worker is not None  # noqa: S101
        limit = timeout_s
        if self.job.cell_timeout_s is not None:
            limit = max(0.1, min(limit, self.job.cell_timeout_s - self.spent_s))
        return self._worker.ask(order, limit, idle)

    @property
    def can_be_judged(self) -> bool:
        """Whether the session can score a text with the checkpoint's own tokenizer."""
        folder = self.job.checkpoint
        return self.job.can_score and folder is not None and (folder / "tokenizer.json").is_file()

    def judge_quality(self, text: str, path: str, tokens: int, window: int) -> None:
        """Perplexity of a text, by this very worker."""
        order = {"op": "score", "text": path, "tokens": tokens, "window": window}
        answer = self._ask(order, self.job.block_timeout_s, lambda: None)
        self.quality.update(quality_figures(answer["nll_nats"], answer["tokens"], text))

    def warm_up(self, least_s: float, most_s: float, most: int, steady: float) -> None:
        """Repeat one request until its time no longer changes."""
        durations: list[float] = []
        start = time.monotonic()
        steady_now = False
        while not steady_now and time.monotonic() - start < most_s and len(durations) < most:
            answer = self._ask(
                {"op": "run", "first": 0, "count": 1}, self.job.block_timeout_s, lambda: None
            )
            durations.append(Block.from_json(answer).duration_s)
            steady_now = is_steady(durations, least_s, steady)
        if not steady_now:
            self.flags["no_steady_state"] = None
        latest = durations[-max(1, len(durations) // 2) :]
        self.warmup_mean_s = sum(latest) / len(latest)
        self.warmup_s = time.monotonic() - start
        self.warmup_requests = len(durations)
        self.spent_s += self.warmup_s

    def pause(self) -> None:
        """Stop worker and sampler while another cell is measured."""
        if self._worker is not None:
            self._worker.pause()
        if self._sampler is not None:
            self._sampler.pause()

    def resume(self) -> None:
        """Let worker and sampler go on; what the sampler saw in between is dropped."""
        if self._sampler is not None:
            self._sampler.drain()
            self._sampler.resume()
        if self._worker is not None:
            self._worker.resume()

    # -- a block -----------------------------------------------------------------------------

    def run_block(self, turn: Turn, contended_share: float) -> bool:
        """Measure one block and write it down; returns whether it was contended."""
        assert self._worker is not None  # noqa: S101
        count = self.requests_per_block or 1
        busy_before, own_before = self._load.busy_s(), self._own_cpu_s()
        gathered = Drained()
        answer = self._ask(
            {"op": "run", "first": turn.number * count, "count": count},
            self.job.block_timeout_s,
            lambda: self._gather(gathered),
        )
        block = Block.from_json(answer)
        busy_after, own_after = self._load.busy_s(), self._own_cpu_s()
        self._await_closing_samples()
        self._gather(gathered)
        other_s = all_s = None
        if busy_before is not None and busy_after is not None:
            all_s = busy_after - busy_before
            other_s = max(0.0, all_s - block.cpu_s - (own_after - own_before))
        contended = other_s is not None and other_s > contended_share * block.duration_s
        flags = [*turn.flags, *(["contended"] if contended else [])]
        self._write_block(block, turn, flags, gathered, other_s, all_s)
        return contended

    def _gather(self, into: Drained) -> None:
        if self._sampler is None:
            return
        fresh = self._sampler.drain()
        into.t_ns += fresh.t_ns
        into.channel += fresh.channel
        into.raw += fresh.raw
        into.faults += fresh.faults
        into.lost += fresh.lost

    def _own_cpu_s(self) -> float:
        """CPU time of the parent and the sampler: neither is somebody else's load."""
        sampler_ns = process_cpu_ns(self._sampler.pid) if self._sampler is not None else None
        return time.process_time() + (sampler_ns or 0) * 1e-9

    def _await_closing_samples(self) -> None:
        """A gauge's integral needs a sample after the window."""
        periods = [
            1.0 / each.rate_hz
            for each in self.channels
            if each.quantity == "power" and each.kind == "gauge"
        ]
        if periods:
            time.sleep(1.5 * max(periods))

    def _write_block(
        self,
        block: Block,
        turn: Turn,
        flags: list[str],
        gathered: Drained,
        other_s: float | None,
        all_s: float | None,
    ) -> None:
        traces = traces_by_channel(gathered)
        if throttled(self.channels, {index: trace.raw for index, trace in traces.items()}):
            flags.append("throttled")
        lost = self._sampler is not None and not self._sampler.alive
        if lost and "sampler_lost" not in self.flags:
            self.flags["sampler_lost"] = None
            self._streams["events"].append([note_row("sampler_lost", turn.number, "")])
        energy, joules = self._energy_rows(block, turn.number, traces, all_s, lost)
        start_c, end_c = self._temperatures(traces)
        self._streams["requests"].append(
            request_rows(self.cell.id, turn.number, block, self._clock)
        )
        self._streams["samples"].write(self._sample_table(block, gathered))
        self._streams["events"].append(event_rows(turn.number, block))
        for t_ns, channel in gathered.faults:
            row = note_row("sensor_fault", turn.number, self.channels[channel].path)
            self._streams["events"].append([{**row, "t_ns": t_ns}])
        self._streams["energy"].append(energy)
        # Last: a block counts as finished when its own row is there.
        self._streams["blocks"].append(
            [
                {
                    "cell_id": self.cell.id,
                    "block": turn.number,
                    "process": self.next_process - 1,
                    "round": turn.round,
                    "position": turn.position,
                    **block_totals(block),
                    "start_utc": self._clock.utc(block.t0_ns),
                    "worker_cpu_s": block.cpu_s,
                    "other_cpu_s": other_s,
                    "temperature_start_c": start_c,
                    "temperature_end_c": end_c,
                    "frequency_hz": self._mean_frequency(traces),
                    "gate_wait_s": turn.gate_wait_s,
                    "dither_s": turn.dither_s,
                    "flags": flags,
                }
            ]
        )
        self.flags.update(dict.fromkeys(turn.flags))
        self.measured.append(Measured(self.next_process - 1, joules, block.duration_s, block.units))
        self.spent_s += block.duration_s
        for request in block.requests:
            for name, value in request.values.items():
                self._totals.quality[name] = self._totals.quality.get(name, 0.0) + value

    def _energy_rows(
        self,
        block: Block,
        number: int,
        traces: dict[int, Trace],
        all_s: float | None,
        lost: bool,
    ) -> tuple[list[Row], float | None]:
        """The rows of the energy table, and the joules that the stopping rule looks at."""
        rows: list[Row] = []
        by_provenance: dict[str, list[float | None]] = {}
        for phase, index, found in self.accountant.block_energies(block, traces):
            window = without_energy(found, "sampler_lost") if lost else found
            channel = self.channels[index]
            rows.append(
                energy_row(self.cell.id, number, phase, channel, window, block.cpu_s, all_s)
            )
            if phase == TOTAL and channel.counted:
                by_provenance.setdefault(channel.provenance, []).append(window.gross_j)
        for provenance in ("measured", "simulated", "estimated"):
            parts = by_provenance.get(provenance)
            if parts:
                known = [part for part in parts if part is not None]
                return rows, sum(known) if len(known) == len(parts) else None
        return rows, None

    def _temperatures(self, traces: dict[int, Trace]) -> tuple[float | None, float | None]:
        ends: list[tuple[float, float]] = []
        for index, trace in traces.items():
            if self.channels[index].quantity == "temperature" and trace.raw:
                scale = self.channels[index].scale
                ends.append((trace.raw[0] * scale, trace.raw[-1] * scale))
        if not ends:
            return None, None
        return max(start for start, _ in ends), max(end for _, end in ends)

    def _mean_frequency(self, traces: dict[int, Trace]) -> float | None:
        means = [
            self.channels[index].scale * sum(trace.raw) / len(trace.raw)
            for index, trace in traces.items()
            if self.channels[index].quantity == "frequency"
            and self.channels[index].domain.startswith("cpu")
            and trace.raw
        ]
        return sum(means) / len(means) if means else None

    def _sample_table(self, block: Block, gathered: Drained) -> pa.Table:
        t_ns, channel, raw = list(gathered.t_ns), list(gathered.channel), list(gathered.raw)
        origin = [0] * len(t_ns)
        order = [
            index
            for index, each in enumerate(self.channels)
            if each.quantity == "energy" and each.kind == "counter"
        ]
        for request in block.requests:
            for edge in request.edges:
                for index, value in zip(order, edge.raw, strict=True):
                    if value is not None:
                        t_ns.append(edge.t_ns)
                        channel.append(index)
                        raw.append(value)
                        origin.append(1)
        names = [each.path for each in self.channels]
        return pa.Table.from_arrays(
            [
                pa.array(t_ns, pa.int64()),
                _dictionary(channel, names),
                pa.array(raw, pa.int64()),
                _dictionary(origin, ["tick", "edge"]),
            ],
            schema=versioned(CELL_TABLES["samples"]),
        )

    # -- looking and ending ------------------------------------------------------------------

    def interval(self) -> Interval:
        """The figure that the stopping rule looks at: J (else s) per unit of work."""
        use_joules = all(each.joules is not None for each in self.measured)
        return ratio_interval(
            [(each.joules or 0.0) if use_joules else each.seconds for each in self.measured],
            [each.units for each in self.measured],
            [each.process for each in self.measured],
        )

    def close_worker(self, idle: Callable[[], None] = lambda: None) -> None:
        """Take the memory figures and end the worker and its sampler."""
        if self._worker is None:
            return
        try:
            if self.cause is None:
                self.resume()
                self.memory = self._ask({"op": "inspect"}, self.job.block_timeout_s, idle)
                peak = self.memory.get("rss_peak_bytes")
                if peak is not None:
                    self._totals.rss_peak_bytes = max(peak, self._totals.rss_peak_bytes or 0)
        except WorkerError as error:
            self.fail(error.cause)
        if self._sampler is not None:
            self._sampler.stop()
            self._sampler.drain()
            self._add_tax(self._sampler.tax())
            self._sampler = None
        if self._worker is not None:
            if self.cause is not None:
                self._stderr_tail = self._worker.stderr_tail()
            self._worker.close()
            self._worker = None

    def _add_tax(self, tax: ObserverTax) -> None:
        total = self._totals.tax
        total.cpu_s += tax.cpu_s
        total.wall_s += tax.wall_s
        total.ticks += tax.ticks
        total.missed += tax.missed
        total.lateness_ns += tax.lateness_ns

    def fail(self, cause: Cause) -> None:
        """Note the cause; the cell is measured no further. The first cause stays."""
        if self.cause is None:
            self.cause = cause
            if self._worker is not None:
                self._stderr_tail = self._worker.stderr_tail()

    def leave(self) -> None:
        """Leave the cell unfinished but readable, for ``--resume``."""
        if self._worker is not None:
            self._worker.kill()
            self._worker.close()
        if self._sampler is not None:
            self._sampler.stop()
        for stream in self._streams.values():
            stream.close()

    def idle_power(self) -> dict[int, IdlePower]:
        """Idle power of each channel from the baselines before and after."""
        before = next((each for each in self.baselines if each.when == "before"), None)
        after = next((each for each in self.baselines if each.when == "after"), None)
        if before is None or after is None:
            return {}
        return {
            index: combined_idle(before.power[index], after.power[index])
            for index in before.power
            if index in after.power
        }

    def finish(self, quality_of: Callable[[dict[str, float]], dict[str, Scalar]]) -> str:
        """Fill in net energies, make every table final and write the cell's row."""
        for name, stream in self._streams.items():
            if name != "energy":
                stream.finish()
        self._finish_energy()
        self.quality.update(quality_of(self._totals.quality))
        status = "failed" if self.cause is not None else "ok"
        self._writer.write_cell({**planned_row(self.cell), **self._outcome(), "status": status})
        return status

    def _finish_energy(self) -> None:
        stream = self._streams["energy"]
        idle = {self.channels[i].path: power for i, power in self.idle_power().items()}
        if idle:
            rows = [
                with_net(row, idle.get(row["channel"]))
                for row in Session(self._writer.path).table("energy", self.cell.id).to_pylist()
            ]
            for power in idle.values():
                self.flags.update(dict.fromkeys(f for f in power.flags if f == "idle_drift"))
            stream.finish_with(rows)
        else:
            stream.finish()

    def _outcome(self) -> Row:
        tax, memory, cause = self._totals.tax, self.memory, self.cause
        sampled = tax.wall_s > 0
        evidence = {**self.job.evidence, **memory.get("evidence", {})}
        if len({each.process for each in self.measured}) == 1:
            self.flags["single_process"] = None
        return {
            "cause": cause.message if cause else None,
            "cause_kind": cause.kind if cause else None,
            "exit_code": cause.exit_code if cause else None,
            "signal": cause.signal if cause else None,
            "stderr_tail": self._stderr_tail if cause else None,
            "artifact_format": self.job.artifact.format,
            "artifact_hash": self.job.artifact.content_hash,
            "artifact_bytes": self.job.artifact.size_bytes,
            "lineage": list(self.job.artifact.lineage),
            "evidence_json": json.dumps(evidence) if evidence else None,
            "facts_json": json.dumps(self.facts) if self.facts else None,
            "quality_json": json.dumps(self.quality) if self.quality else None,
            "weights_bytes": memory.get("weights_bytes"),
            "kv_allocated_bytes": memory.get("kv_allocated_bytes"),
            "kv_used_bytes": memory.get("kv_used_bytes"),
            "workspace_bytes": memory.get("workspace_bytes"),
            "rss_peak_bytes": self._totals.rss_peak_bytes,
            "rss_base_bytes": self.rss_base_bytes,
            "rss_anon_bytes": memory.get("rss_anon_bytes"),
            "rss_file_bytes": memory.get("rss_file_bytes"),
            "pss_bytes": memory.get("pss_bytes"),
            "device_peak_bytes": memory.get("device_peak_bytes"),
            "load_s": self.load_s,
            "warmup_s": self.warmup_s,
            "warmup_requests": self.warmup_requests,
            "processes": len({each.process for each in self.measured}),
            "blocks": len(self.measured),
            "idle": [row for each in self.baselines for row in each.rows(self.channels)],
            "sampler_cpu_s": tax.cpu_s if sampled else None,
            "sampler_wall_s": tax.wall_s if sampled else None,
            "sampler_ticks": tax.ticks if sampled else None,
            "sampler_missed": tax.missed if sampled else None,
            "sampler_rate_hz": tax.rate_hz(),
            "sampler_late_p99_s": tax.late_p99_s(),
            "flags": sorted(self.flags),
            "started_at": self._started_at,
            "finished_at": datetime.now(tz=UTC),
            "clock_start": self._clock.row(),
            "clock_end": ClockTriple.now().row(),
        }


def quality_figures(nll_nats: float, tokens: int, text: str) -> dict[str, Scalar]:
    """Perplexity = exp(mean negative log-likelihood in nats), with what it rests on."""
    if tokens <= 0:
        return {}
    mean = nll_nats / tokens
    return {
        "perplexity": math.exp(mean),
        "nll_nats_per_token": mean,
        "tokens": tokens,
        "text": text,
    }


def _dictionary(indices: Sequence[int], names: Sequence[str]) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(indices, pa.int32()), pa.array(names))
