"""The isolated worker: ``python -m joulebench.worker``. One process, one cell, one model.

Speaks :mod:`joulebench.protocol` on standard input and output. Whatever a library prints to
standard output goes to standard error, and what it reads is empty: it cannot break the protocol.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from joulebench.api import (
    Artifact,
    BackendSession,
    Outcome,
    Request,
    RuntimeTechnique,
    Settings,
    SimulatedCost,
    Workload,
    WorkloadContext,
)
from joulebench.errors import JoulebenchError, ModelError, PluginError
from joulebench.meter.live.channels import PID_FIELD
from joulebench.meter.live.sampler import clock_ns, edge_reader
from joulebench.processes import die_with_parent
from joulebench.protocol import PROTOCOL_VERSION
from joulebench.registry.loading import Registry, default_registry
from joulebench.worker.memory import memory_now, reset_peak, resident_in_files, trim_memory
from joulebench.worker.reference import compare, keep_reference, prompt_tokens
from joulebench.worker.tokenizer import CheckpointTokenizer, SessionTokenizer, TextTokenizer

#: What simulated hardware has spent so far.
CostReader = Callable[[], SimulatedCost]


class RequestRecorder:
    """Stamps the phases and tokens of one request; reads the energy counters at its edges.

    Where hardware is simulated, ``cost`` tells what it has spent, at each edge and token.
    """

    __slots__ = ("_cost", "_read", "costs", "edges", "token", "token_costs", "tokens")

    def __init__(self, read: Callable[[], list[int | None]], cost: CostReader | None = None) -> None:
        self._read = read
        self._cost = cost
        self.edges: list[tuple[int, str, list[int | None]]] = []
        self.tokens: list[int] = []
        self.costs: list[SimulatedCost] = []
        self.token_costs: list[float] = []
        stamp, now = self.tokens.append, clock_ns
        # A closure: the decode loop calls it for each token, so it looks nothing up.
        self.token: Callable[[], None] = lambda: stamp(now())
        if cost is not None:
            self.token = self._token_and_cost

    def phase(self, name: str) -> None:
        """End the running phase and begin ``name``."""
        self.edges.append((clock_ns(), name, self._read()))
        if self._cost is not None:
            self.costs.append(self._cost())

    def _token_and_cost(self) -> None:
        self.tokens.append(clock_ns())
        if self._cost is not None:
            self.token_costs.append(self._cost().device_s)

    def simulated(self) -> dict[str, Any] | None:
        """What the hardware had spent at each edge and token, if it is simulated."""
        if self._cost is None:
            return None
        return {"edges": [asdict(cost) for cost in self.costs], "token_s": self.token_costs}


class Job:
    """The open model and workload of this worker."""

    def __init__(self, order: Mapping[str, Any]) -> None:
        registry = default_registry()
        reset_peak()
        self.rss_base_bytes = memory_now().get("rss_bytes")
        self._rss_peak_bytes = 0
        self._seed: int = order["seed"]
        self._shuffle: bool = order.get("shuffle", True)
        artifact = Artifact(
            format=order["artifact"]["format"],
            path=Path(order["artifact"]["path"]),
            content_hash=order["artifact"]["content_hash"],
            size_bytes=order["artifact"]["size_bytes"],
        )
        self._artifact_files = (artifact.path, *map(Path, order["artifact"].get("parts", ())))
        backend = registry.backend(order["backend"])
        self._techniques = _runtime_techniques(registry, order["runtime"])
        settings: Settings = order["settings"]
        self._capabilities = backend.abilities(settings)
        start = time.perf_counter()
        self.session: BackendSession = backend.open(artifact, order["device"], settings)
        self.session.synchronize()
        self.load_s = time.perf_counter() - start
        model_pid = self.session.process_id()
        self.pid = os.getpid() if model_pid is None else model_pid
        if model_pid is not None:
            self.rss_base_bytes = None  # that process was not there before the model was loaded
        self._tokenizer = _tokenizer(order["checkpoint"], self.session, artifact)
        self._cost = _cost_reader(self.session)
        self._workload_settings: Settings = order["workload_settings"]
        self._workload: Workload | None = None
        self._requests: list[Request] = []
        if order["workload"] is not None:
            self._workload = registry.workload(order["workload"])
            self._requests = list(self._workload.requests(self._context(self._seed), self._workload_settings))
            if not self._requests:
                raise PluginError(f"workload '{order['workload']}' made no request")
        self._read = edge_reader([_of_process(edge, self.pid) for edge in order["edges"]])
        gc.collect()

    def _context(self, seed: int) -> WorkloadContext:
        tokenizer = self._tokenizer
        return WorkloadContext(
            seed=seed,
            vocabulary_size=self.session.vocabulary_size,
            context_length=self.session.context_length,
            tokenize=None if tokenizer is None else tokenizer.encode,
            eos_tokens=frozenset() if tokenizer is None else tokenizer.eos_tokens,
            shuffle=self._shuffle,
        )

    def opened(self) -> dict[str, Any]:
        """The answer to ``open``."""
        return {
            "load_s": self.load_s,
            "requests": len(self._requests),
            "facts": dict(self.session.facts()),
            "traffic": asdict(self.session.traffic()),
            "rss_base_bytes": self.rss_base_bytes,
            "pid": self.pid,
        }

    def run(self, first: int, count: int) -> dict[str, Any]:
        """Do ``count`` requests from number ``first`` on, walking the list in a circle."""
        workload = self._workload
        if workload is None:
            raise PluginError("'run' without a workload")
        chosen = [self._requests[(first + request) % len(self._requests)] for request in range(count)]
        recorded: list[tuple[Request, RequestRecorder, Outcome]] = []
        gc.disable()  # a collection inside a window would be measured with it
        cpu_s = 0.0
        began_ns = clock_ns()
        try:
            for request in chosen:
                recorder = RequestRecorder(self._read, self._cost)
                workload.setup(self.session, request, self._workload_settings)
                self.session.synchronize()
                cpu_start = self._cpu_s()
                recorder.phase("start")
                outcome = workload.perform(self.session, request, self._workload_settings, recorder)
                self.session.synchronize()
                recorder.phase("end")
                cpu_s += self._cpu_s() - cpu_start
                recorded.append((request, recorder, outcome))
        finally:
            gc.enable()
        answer = {"cpu_s": cpu_s, "began_ns": began_ns, "requests": [self._record(*request) for request in recorded]}
        # After the block, not before the next one: what a late counter lends a block from the
        # time before it should be the power of an idle machine.
        gc.collect()
        return answer

    def _record(self, request: Request, recorder: RequestRecorder, outcome: Outcome) -> dict[str, Any]:
        response = None
        if self._tokenizer is not None and outcome.output:
            response = self._tokenizer.decode(outcome.output)
        return {
            "prompt_index": request.index,
            "edges": recorder.edges,
            "prefill_tokens": outcome.prefill_tokens,
            "decode_tokens": outcome.decode_tokens,
            "units": outcome.units,
            "output": outcome.output,
            "token_t_ns": recorder.tokens,
            "values": outcome.values,
            "prompt": request.text,
            "response": response,
            "simulated": recorder.simulated(),
        }

    def score(self, text: str, tokens: int, window: int) -> dict[str, Any]:
        """Negative log-likelihood of a text in windows that each start from nothing."""
        if self._tokenizer is None:
            raise ModelError("this model has no tokenizer, so its quality cannot be judged")
        ids = self._tokenizer.encode(Path(text).read_text(encoding="utf-8"), False)[:tokens]
        windows: list[tuple[float, int]] = []
        for start in range(0, len(ids) - 1, window):
            piece = ids[start : start + window]
            if len(piece) > 1:
                self.session.reset()
                scores = self.session.score(piece)
                windows.append((-sum(scores), len(scores)))
        return {
            "nll_nats": sum(nll_nats for nll_nats, _ in windows),
            "tokens": sum(count for _, count in windows),
            "windows": windows,
        }

    def refer(self, prompts: str, count: int, tokens: int, folder: str) -> dict[str, Any]:
        """Answer prompts and keep what other sessions are compared with in ``folder``."""
        tokenize = self._tokenizer.encode if self._tokenizer is not None else None
        chosen = prompt_tokens(self.session, tokenize, Path(prompts), count, tokens, self._seed)
        kept = keep_reference(self.session, chosen, tokens, Path(folder))
        return {**kept, "tokens": tokens, "random": tokenize is None}

    def agree(self, folder: str) -> dict[str, Any]:
        """Compare the session with what a reference has kept in ``folder``."""
        decode = self._tokenizer.decode if self._tokenizer is not None else None
        return compare(self.session, self._capabilities, Path(folder), decode).to_json()

    def aside(self, check: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Do what is no part of the measurement; the memory it takes is not the cell's peak."""
        self._rss_peak_bytes = self._rss_peak()
        try:
            return check()
        finally:
            self.session.reset()
            gc.collect()
            trim_memory()
            reset_peak(self.pid)

    def _cpu_s(self) -> float:
        """CPU time of this process, and of the one that runs the model where that is another."""
        own_s = time.process_time()
        if self.pid == os.getpid():
            return own_s
        from joulebench.meter.live.sampling import process_cpu_ns

        return own_s + (process_cpu_ns(self.pid) or 0) * 1e-9

    def _rss_peak(self) -> int:
        return max(self._rss_peak_bytes, memory_now(self.pid)["rss_peak_bytes"] or 0)

    def inspect(self) -> dict[str, Any]:
        """Memory, by the system and by the runtime, and evidence of runtime techniques."""
        use = self.session.memory()
        return {
            **memory_now(self.pid),
            "rss_peak_bytes": self._rss_peak() or None,
            "rss_model_bytes": resident_in_files(self._artifact_files, self.pid),
            "weights_bytes": use.weights_bytes,
            "kv_allocated_bytes": use.kv_allocated_bytes,
            "kv_used_bytes": use.kv_used_bytes,
            "workspace_bytes": use.workspace_bytes,
            "device_peak_bytes": use.device_peak_bytes,
            "evidence": {
                technique.name: dict(technique.evidence(self.session, own)) for technique, own in self._techniques
            },
        }


def _of_process(source: Mapping[str, Any], pid: int) -> dict[str, Any]:
    """A source with the process that runs the model filled in."""
    return {
        key: value.replace(PID_FIELD, str(pid)) if isinstance(value, str) else value for key, value in source.items()
    }


def _cost_reader(session: BackendSession) -> CostReader | None:
    """How to ask a session that simulates hardware; ``None`` for one that does not."""
    if session.simulated() is None:
        return None

    def read() -> SimulatedCost:
        cost = session.simulated()
        if cost is None:
            raise PluginError("a session that simulates hardware must tell what it has spent")
        return cost

    return read


def _runtime_techniques(registry: Registry, steps: list[dict[str, Any]]) -> list[tuple[RuntimeTechnique, Settings]]:
    techniques: list[tuple[RuntimeTechnique, Settings]] = []
    for step in steps:
        technique = registry.technique(step["name"])
        if not isinstance(technique, RuntimeTechnique):
            raise PluginError(f"technique '{step['name']}' does not act at run time")
        techniques.append((technique, step["settings"]))
    return techniques


def _tokenizer(checkpoint: str | None, session: BackendSession, artifact: Artifact) -> TextTokenizer | None:
    """The checkpoint's own; that of the model's file where there is no checkpoint."""
    if checkpoint is not None:
        folder = Path(checkpoint)
        there = os.path.lexists(folder / "tokenizer.json")
        return CheckpointTokenizer(folder, session.vocabulary_size) if there else None
    own = session.tokenizer()
    return None if own is None else SessionTokenizer(own, str(artifact.path))


def serve(requests: IO[str], answers: IO[str]) -> None:
    """Answer requests until ``close`` or the end of input."""
    job: Job | None = None
    for line in requests:
        order = json.loads(line)
        op = order["op"]
        answer: dict[str, Any]
        text = ""
        try:
            if op == "hello":
                answer = {"protocol": PROTOCOL_VERSION, "pid": os.getpid()}
            elif op == "open":
                job = Job(order)
                answer = job.opened()
            elif op == "close":
                answer = {}
            elif job is None:
                raise PluginError(f"'{op}' before a model is open")
            else:
                answer = _perform(job, op, order)
            text = json.dumps(answer)
        except Exception as error:  # an answer that is no JSON (a plugin's facts) included
            text = json.dumps({"error": _describe(error)})
        answers.write(text + "\n")
        answers.flush()
        if op == "close":
            break
    if job is not None:
        job.session.close()


def _perform(job: Job, op: str, order: dict[str, Any]) -> dict[str, Any]:
    if op == "run":
        return job.run(order["first"], order["count"])
    if op == "score":
        return job.aside(lambda: job.score(order["text"], order["tokens"], order["window"]))
    if op == "refer":
        parameters = (order["prompts"], order["count"], order["tokens"], order["folder"])
        return job.aside(lambda: job.refer(*parameters))
    if op == "agree":
        return job.aside(lambda: job.agree(order["folder"]))
    if op == "inspect":
        return job.inspect()
    raise PluginError(f"unknown request '{op}'")


def _describe(error: Exception) -> dict[str, Any]:
    if isinstance(error, JoulebenchError):
        return {"kind": "error", "message": str(error)}
    import traceback

    traceback.print_exc()
    memory = isinstance(error, MemoryError) or "out of memory" in str(error).lower()
    return {"kind": "memory" if memory else "error", "message": f"{type(error).__name__}: {error}"}


def main() -> None:
    """Take standard input and output for the protocol alone and serve."""
    die_with_parent()  # one that was stopped for another's turn must not outlive a killed parent
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when to stop
    requests = os.fdopen(os.dup(0), encoding="utf-8")
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)  # a library that asks its user something gets no answer
    os.close(nothing)
    os.dup2(2, 1)
    serve(requests, answers)
