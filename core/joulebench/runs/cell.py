"""One cell while it is being measured: its worker and its sampler."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from joulebench.agreement import Comparison
from joulebench.api import Scalar
from joulebench.errors import UnavailableError
from joulebench.meter.live.channels import PID_FIELD, edge_channels, edge_specs
from joulebench.meter.live.owner import JointSampler, Owner
from joulebench.meter.live.sampling import ObserverTax, process_cpu_ns
from joulebench.plan.cells import PlannedCell
from joulebench.protocol import Block, Inspected, Opened
from joulebench.runs.orders import GREETING_S, Job, ScoredText, TextScore, decoded, opening_order
from joulebench.runs.record import CellRecord, Seen, Turn
from joulebench.runs.rows import planned_row
from joulebench.sensors.gate import is_steady
from joulebench.sensors.load import MachineLoad
from joulebench.session.tables import CellRow
from joulebench.worker.handle import WorkerHandle
from joulebench.worker.process import Cause, WorkerError, WorkerProcess

#: Requests of a block, at most, however short a request is.
MOST_REQUESTS: Final = 4096
#: How often the ring is emptied in a margin, long before it can be full.
_DRAIN_S: Final = 5.0
#: Sampling periods that are waited for a gauge's sample after the block.
_CLOSING_PERIODS: Final = 4


@dataclass(slots=True)
class _Worked:
    """What the cell's processes have told so far; of single values, the last process's."""

    tax: ObserverTax = field(default_factory=ObserverTax)
    opened: Opened | None = None
    inspected: Inspected | None = None
    rss_peak_bytes: int | None = None
    warmup_s: float | None = None
    warmup_requests: int | None = None


def start_worker(job: Job) -> WorkerHandle:
    """A worker process for a cell."""
    return WorkerProcess(job.environment, job.limits.memory_bytes, python=job.python)


class CellRun:
    """A cell under way. Raises :class:`WorkerError` where the cell fails.

    ``make_worker`` and ``load`` are how it reaches processes and the rest of the machine, ``owner``
    reads what only one process may.
    """

    def __init__(
        self,
        job: Job,
        record: CellRecord,
        make_worker: Callable[[Job], WorkerHandle] = start_worker,
        load: MachineLoad | None = None,
        owner: Owner | None = None,
    ) -> None:
        self.job = job
        self.record = record
        self.cell: PlannedCell = record.cell
        self.channels = record.channels
        self.warmup_mean_s = 0.0
        self.cause: Cause | None = None
        self._spent_s = record.done.measured_s
        self._worked = _Worked()
        self._stderr_tail: str | None = None
        self._make_worker = make_worker
        self._worker: WorkerHandle | None = None
        self._sampler: JointSampler | None = None
        self._owner = owner
        self._load = MachineLoad() if load is None else load
        self._faults_between: list[tuple[int, int]] = []  # t_ns, channel
        # What is integrated over samples needs one after the window.
        margins = record.accountant.margins
        self._margin_after_s = margins.after_s
        self._counted_after_ns = round(margins.counted_after_s * 1e9)
        self._traced = {
            index: 1.0 / channel.rate_hz
            for index, channel in enumerate(self.channels)
            if (channel.quantity == "power" and channel.kind == "gauge")
            or (margins.counted and channel.quantity in ("energy", "power"))
        }

    # -- a process ---------------------------------------------------------------------------

    @property
    def running(self) -> bool:
        """Whether a worker is loaded and the cell has not failed."""
        return self._worker is not None and self.cause is None

    def open(self) -> None:
        """Start a worker, load the model, start the sampler."""
        self.record.next_process += 1
        self._open()

    def reopen(self) -> None:
        """Replace a worker that went down over what is no part of the measurement."""
        self._stop_sampler()
        if self._worker is not None:
            self._worker.kill()
            self._worker.close()
        self._open()

    def _open(self) -> None:
        job = self.job
        self._worker = self._make_worker(job)
        self._worker.greet(GREETING_S)
        order = opening_order(
            self.job,
            self.cell.backend_plugin,
            self.cell.device,
            self.cell.workload_plugin,
            edge_specs(self.channels, PID_FIELD),
        )
        answer = self._ask(order.to_json(), "open_s", self.job.limits.open_s)
        opened = decoded(Opened.from_json, answer)
        self._worker.watch(opened.pid)
        self._worked.opened = opened
        self.record.list_length = opened.requests
        if self.channels:
            try:
                self._sampler = JointSampler(self.channels, self._worker.model_pid, self._owner)
            except UnavailableError:
                self._sampler = None  # each block of this process says sampler_lost

    def _ask(
        self, order: Mapping[str, Any], limit_name: str, limit_s: float, idle: Callable[[], None] = lambda: None
    ) -> dict[str, Any]:
        assert self._worker is not None  # noqa: S101
        if self.job.limits.cell_s is not None:
            left_s = max(0.1, self.job.limits.cell_s - self._spent_s)
            if left_s < limit_s:
                limit_name, limit_s = "cell_s", left_s
        start = time.monotonic()
        try:
            return self._worker.ask(order, limit_s, idle, f"limits.{limit_name}")
        finally:
            self._spent_s += time.monotonic() - start

    def _run(self, first: int, count: int, idle: Callable[[], None] = lambda: None) -> Block:
        order = {"op": "run", "first": first, "count": count}
        answer = self._ask(order, "block_s", self.job.limits.block_s, idle)
        counters = len(edge_channels(self.channels))
        return decoded(lambda data: Block.from_json(data, counters), answer)

    @property
    def facts(self) -> Mapping[str, Any]:
        """What the open session says of itself."""
        opened = self._worked.opened
        return {} if opened is None else opened.facts

    @property
    def list_length(self) -> int | None:
        """Requests in the workload's list; ``None`` before a worker has made it."""
        opened = self._worked.opened
        return None if opened is None else opened.requests

    def score(self, text: ScoredText) -> TextScore | None:
        """Perplexity of a text, by this very worker."""
        answer = self._ask(text.order(), "block_s", self.job.limits.block_s)
        return decoded(text.score, answer)

    def compare(self, folder: Path) -> Comparison:
        """Hold the worker's tokens and logits to those that a reference left in ``folder``."""
        order = {"op": "agree", "folder": str(folder)}
        answer = self._ask(order, "block_s", self.job.limits.block_s)
        return decoded(Comparison.from_json, answer)

    def warm_up(self, least_s: float, most_s: float, most: int, steady: float) -> None:
        """Repeat one request until its time no longer changes."""
        durations: list[float] = []
        start = time.monotonic()
        steady_now = False
        while not steady_now and time.monotonic() - start < most_s and len(durations) < most:
            block = self._run(0, 1)
            durations.append(block.duration_s)
            # Simulated hardware has no state that a warm-up could bring it to.
            steady_now = block.simulated or is_steady(durations, least_s, steady)
        if not steady_now:
            self.record.flags["no_steady_state"] = None
        latest = durations[-max(1, len(durations) // 2) :]
        self.warmup_mean_s = math.fsum(latest) / max(1, len(latest))
        self._worked.warmup_s = time.monotonic() - start
        self._worked.warmup_requests = len(durations)

    def pause(self) -> None:
        """Stop worker and sampler while another cell is measured."""
        if self._worker is not None:
            self._worker.pause()
        if self._sampler is not None:
            self._sampler.pause()

    def resume(self, wait_s: float = 0.0) -> None:
        """Let the sampler, and after ``wait_s`` the worker, go on.

        What the sampler saw in between is dropped, but for sensors that failed, which it says
        once. It has read every channel once before the worker goes on, so that a gauge has a
        sample before the block.
        """
        if self._sampler is not None:
            self._faults_between += self._sampler.resume()
        time.sleep(wait_s)
        if self._worker is not None:
            self._worker.resume()

    # -- a block -----------------------------------------------------------------------------

    def run_block(self, turn: Turn, contended_share: float) -> bool:
        """Measure one block and write it down; returns whether it was contended."""
        count = self.record.requests_per_block or 1
        seen = Seen()
        seen.samples.faults, self._faults_between = self._faults_between, []
        before, own_before = self._load.times(), self._own_cpu_s()
        block = self._run(turn.place * count, count, lambda: self._gather(seen))
        passed, own_s = self._load.times().since(before), self._own_cpu_s() - own_before
        self._wait_watching(seen, block.t1_ns)
        self._await_closing_samples(seen, block.t1_ns + self._counted_after_ns)
        seen.stolen_cpu_s = passed.stolen_s
        if passed.busy_s is not None:
            seen.other_cpu_s = max(0.0, passed.busy_s - own_s)
            seen.all_cpu_s = block.cpu_s + seen.other_cpu_s
        others_s = (seen.other_cpu_s or 0.0) + (seen.stolen_cpu_s or 0.0)
        contended = others_s > contended_share * block.duration_s and not block.simulated
        seen.lost = self._lost()
        self.record.add_block(block, turn, seen, contended=contended)
        return contended

    def _lost(self) -> frozenset[int]:
        """Channels that nobody samples any more."""
        return frozenset(range(len(self.channels))) if self._sampler is None else self._sampler.lost()

    def _gather(self, seen: Seen) -> None:
        if self._sampler is not None:
            seen.samples.extend(self._sampler.drain())

    def _own_cpu_s(self) -> float:
        """CPU time of the parent, the sampler and the whole worker: none is others' load.

        The worker also works outside of its windows (it collects garbage, writes its answer).
        """
        assert self._worker is not None  # noqa: S101
        sampler_s = self._sampler.cpu_s() if self._sampler is not None else None
        pids = {self._worker.pid, self._worker.model_pid}
        workers_ns = sum(process_cpu_ns(pid) or 0 for pid in pids)
        return time.process_time() + (sampler_s or 0.0) + workers_ns * 1e-9

    def _wait_watching(self, seen: Seen, end_ns: int) -> None:
        """Let the margin after a block pass, sensors watched."""
        until_ns = end_ns + round(self._margin_after_s * 1e9)
        while self._margin_after_s and (left_ns := until_ns - time.perf_counter_ns()) > 0:
            time.sleep(min(left_ns * 1e-9, _DRAIN_S))
            self._gather(seen)

    def _await_closing_samples(self, seen: Seen, end_ns: int) -> None:
        """An integral over samples needs one after the window."""
        self._gather(seen)
        waiting = self._traced.keys() - self._lost()
        deadline = time.monotonic() + _CLOSING_PERIODS * max(self._traced.values(), default=0.0)
        while waiting and time.monotonic() < deadline:
            last = {
                index: t for index, t in zip(seen.samples.channel, seen.samples.t_ns, strict=True) if index in waiting
            }
            if all(last.get(index, 0) >= end_ns for index in waiting):
                return
            waiting -= self._lost()
            time.sleep(min(self._traced.values()) / 2)
            self._gather(seen)

    # -- ending ------------------------------------------------------------------------------

    def close_worker(self) -> None:
        """Take the memory figures and end the worker and its sampler."""
        if self._worker is None:
            return
        try:
            if self.cause is None:
                self.resume()
                inspected = decoded(
                    Inspected.from_json, self._ask({"op": "inspect"}, "block_s", self.job.limits.block_s)
                )
                self._worked.inspected = inspected
                peaks = (inspected.bytes.get("rss_peak_bytes"), self._worked.rss_peak_bytes)
                self._worked.rss_peak_bytes = max((p for p in peaks if p is not None), default=None)
        except WorkerError as error:
            self.fail(error.cause)
        self._stop_sampler()
        self._worker.close()
        self._worker = None

    def _stop_sampler(self) -> None:
        if self._sampler is not None:
            self._sampler.stop()
            self._sampler.drain()
            self._worked.tax.add(self._sampler.tax())
            self._sampler = None

    def fail(self, cause: Cause) -> None:
        """Note the cause; the cell is measured no further. The first cause stays."""
        if self.cause is None:
            self.cause = cause
            if self._worker is not None:
                self._stderr_tail = self._worker.stderr_tail()

    def leave(self) -> None:
        """Kill the processes at once and leave the cell unfinished but readable."""
        if self._worker is not None:
            self._worker.kill()
            self._worker.close()
        if self._sampler is not None:
            self._sampler.stop()
        self.record.leave()

    def finish(self, quality_of: Callable[[dict[str, float]], Mapping[str, Scalar]]) -> str:
        """Make the cell's record final; returns its status."""
        status = "failed" if self.cause is not None else "ok"
        self.record.finish(self._row(status), quality_of)
        return status

    def _row(self, status: str) -> CellRow:
        cause, worked, tax, artifact = self.cause, self._worked, self._worked.tax, self.job.artifact
        inspected, opened = worked.inspected, worked.opened
        memory = {} if inspected is None else inspected.bytes
        traffic = {} if opened is None else opened.traffic
        evidence = {**self.job.evidence, **({} if inspected is None else inspected.evidence)}
        sampled = tax.wall_s > 0
        return replace(
            planned_row(self.cell, status),
            cause=cause.message if cause else None,
            cause_kind=cause.kind if cause else None,
            exit_code=cause.exit_code if cause else None,
            signal=cause.signal if cause else None,
            stderr_tail=self._stderr_tail if cause else None,
            artifact_format=artifact.format,
            artifact_hash=artifact.content_hash,
            artifact_bytes=artifact.size_bytes,
            lineage=tuple(artifact.lineage),
            evidence_json=json.dumps(evidence) if evidence else None,
            facts_json=json.dumps(dict(self.facts)) if self.facts else None,
            weights_bytes=memory.get("weights_bytes"),
            kv_allocated_bytes=memory.get("kv_allocated_bytes"),
            kv_used_bytes=memory.get("kv_used_bytes"),
            workspace_bytes=memory.get("workspace_bytes"),
            rss_peak_bytes=worked.rss_peak_bytes,
            rss_base_bytes=opened.rss_base_bytes if opened else None,
            rss_anon_bytes=memory.get("rss_anon_bytes"),
            rss_file_bytes=memory.get("rss_file_bytes"),
            rss_model_bytes=memory.get("rss_model_bytes"),
            pss_bytes=memory.get("pss_bytes"),
            device_peak_bytes=memory.get("device_peak_bytes"),
            token_weights_bytes=traffic.get("weights_bytes"),
            token_kv_bytes=traffic.get("kv_position_bytes"),
            token_operations=traffic.get("operations"),
            token_head_operations=traffic.get("head_operations"),
            load_s=opened.load_s if opened else None,
            warmup_s=worked.warmup_s,
            warmup_requests=worked.warmup_requests,
            sampler_cpu_s=tax.cpu_s if sampled else None,
            sampler_wall_s=tax.wall_s if sampled else None,
            sampler_ticks=tax.ticks if sampled else None,
            sampler_missed=tax.missed if sampled else None,
            sampler_rate_hz=tax.rate_hz(),
            sampler_late_p99_s=tax.late_p99_s(),
        )
