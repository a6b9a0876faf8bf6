"""The model of a worker: opened as it was ordered, and what can be asked of it then."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from joulebench.api import (
    Artifact,
    BackendSession,
    Outcome,
    Request,
    RuntimeTechnique,
    Settings,
    Workload,
    WorkloadContext,
)
from joulebench.checkpoint import read_config
from joulebench.errors import ModelError, PluginError
from joulebench.meter.live.channels import PID_FIELD
from joulebench.meter.live.sampler import clock_ns, edge_reader
from joulebench.processes import descendants
from joulebench.protocol import OpenOrder
from joulebench.registry.loading import Registry, default_registry
from joulebench.worker.embeddings import compare_embeddings, keep_embeddings, keeps_embeddings
from joulebench.worker.memory import memory_now, reset_peak, resident_in_files, trim_memory
from joulebench.worker.recording import RequestRecorder, cost_reader
from joulebench.worker.reference import compare, keep_reference, prompt_tokens
from joulebench.worker.tokenizer import CheckpointTokenizer, SessionTokenizer, TextTokenizer

if TYPE_CHECKING:
    from joulebench.meter.live.sampler import SourceSpec


class OpenModel:
    """A model that is open in this worker, with its workload.

    Its answers are JSON objects, as :mod:`joulebench.protocol` has them.
    """

    def __init__(self, order: OpenOrder) -> None:
        registry = default_registry()
        reset_peak()
        self.rss_base_bytes = memory_now().get("rss_bytes")
        self._rss_peak_bytes = 0
        self._order = order
        artifact = order.artifact
        backend = registry.backend(order.backend)
        self._techniques = _runtime_techniques(registry, order.runtime)
        self._capabilities = backend.abilities_with(order.settings, _config(order.checkpoint))
        start = time.perf_counter()
        self.session: BackendSession = backend.open(artifact, order.device, order.settings)
        self.session.synchronize()
        self.load_s = time.perf_counter() - start
        model_pid = self.session.process_id()
        self.pid = os.getpid() if model_pid is None else model_pid
        if model_pid is not None or self.session.elsewhere:
            self.rss_base_bytes = None  # that process was not there before the model was loaded
        self._tokenizer = _tokenizer(order.checkpoint, self.session, artifact)
        self._cost = cost_reader(self.session)
        self._workload: Workload | None = None
        self._requests: list[Request] = []
        if order.workload is not None:
            self._workload = registry.workload(order.workload)
            self._requests = list(self._workload.requests(self._context(order.seed), order.workload_settings))
            if not self._requests:
                raise PluginError(f"workload '{order.workload}' made no request")
        self._read = edge_reader([_of_process(edge, self.pid) for edge in order.edges])
        gc.collect()

    def _context(self, seed: int) -> WorkloadContext:
        tokenizer = self._tokenizer
        return WorkloadContext(
            seed=seed,
            vocabulary_size=self.session.vocabulary_size,
            context_length=self.session.context_length,
            tokenize=None if tokenizer is None else tokenizer.encode,
            eos_tokens=frozenset() if tokenizer is None else tokenizer.eos_tokens,
            shuffle=self._order.shuffle,
        )

    def opened(self) -> dict[str, object]:
        """The answer to ``open``."""
        return {
            "load_s": self.load_s,
            "requests": len(self._requests),
            "facts": dict(self.session.facts()),
            "traffic": asdict(self.session.traffic()),
            "rss_base_bytes": self.rss_base_bytes,
            "pid": self.pid,
        }

    def run(self, first: int, count: int) -> dict[str, object]:
        """Do ``count`` requests from number ``first`` on, walking the list in a circle."""
        workload = self._workload
        if workload is None:
            raise PluginError("'run' without a workload")
        chosen = [self._requests[(first + request) % len(self._requests)] for request in range(count)]
        settings = self._order.workload_settings
        recorded: list[tuple[Request, RequestRecorder, Outcome]] = []
        gc.disable()  # a collection inside a window would be measured with it
        cpu_s = 0.0
        began_ns = clock_ns()
        try:
            for request in chosen:
                recorder = RequestRecorder(self._read, self._cost)
                workload.setup(self.session, request, settings)
                self.session.synchronize()
                cpu_start = self._cpu_s()
                recorder.phase("start")
                outcome = workload.perform(self.session, request, settings, recorder)
                self.session.synchronize()
                recorder.phase("end")
                cpu_s += self._cpu_s() - cpu_start
                recorded.append((request, recorder, outcome))
        finally:
            gc.enable()
        answer = {
            "cpu_s": cpu_s,
            "began_ns": began_ns,
            "elsewhere": self.session.elsewhere,
            "requests": [self._record(*request) for request in recorded],
        }
        # After the block, not before the next one: what a late counter lends a block from the
        # time before it should be the power of an idle machine.
        gc.collect()
        return answer

    def _record(self, request: Request, recorder: RequestRecorder, outcome: Outcome) -> dict[str, object]:
        response = None
        if self._tokenizer is not None and outcome.output:
            response = self._tokenizer.decode(outcome.output)
        return {
            "prompt_index": request.index,
            "edges": recorder.edges,
            "prefill_tokens": outcome.prefill_tokens,
            "decode_tokens": outcome.decode_tokens,
            "sequences": outcome.sequences,
            "units": outcome.units,
            "output": outcome.output,
            "token_t_ns": recorder.tokens,
            "values": outcome.values,
            "prompt": request.text,
            "response": response,
            "simulated": recorder.simulated(),
            "served": [asdict(served) for served in outcome.served],
        }

    def score(self, text: str, tokens: int, window: int) -> dict[str, object]:
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

    def refer(self, prompts: str, count: int, tokens: int, folder: str) -> dict[str, object]:
        """Answer prompts and keep what other sessions are compared with in ``folder``."""
        tokenize = self._tokenizer.encode if self._tokenizer is not None else None
        writes = "generate" in self._capabilities
        ahead = tokens if writes else 0
        chosen = prompt_tokens(self.session, tokenize, Path(prompts), count, ahead, self._order.seed)
        if writes:
            kept = keep_reference(self.session, chosen, tokens, Path(folder))
        else:
            kept = keep_embeddings(self.session, chosen, Path(folder))
        return {**kept, "tokens": tokens, "random": tokenize is None}

    def agree(self, folder: str) -> dict[str, object]:
        """Compare the session with what a reference has kept in ``folder``."""
        if keeps_embeddings(Path(folder)):
            return compare_embeddings(self.session, Path(folder)).to_json()
        decode = self._tokenizer.decode if self._tokenizer is not None else None
        return compare(self.session, self._capabilities, Path(folder), decode, self._batch_size()).to_json()

    def _batch_size(self) -> int:
        return 1 if self._workload is None else self._workload.batch_size(self._order.workload_settings)

    def aside(self, check: Callable[[], dict[str, object]]) -> dict[str, object]:
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

        family = (self.pid, *descendants(self.pid))
        return own_s + sum(process_cpu_ns(pid) or 0 for pid in family) * 1e-9

    def _rss_peak(self) -> int:
        return max(self._rss_peak_bytes, memory_now(self.pid)["rss_peak_bytes"] or 0)

    def inspect(self) -> dict[str, object]:
        """Memory, by the system and by the runtime, and evidence of runtime techniques."""
        if self.session.elsewhere:
            return {"evidence": {}}
        use, artifact = self.session.memory(), self._order.artifact
        return {
            **memory_now(self.pid),
            "rss_peak_bytes": self._rss_peak() or None,
            "rss_model_bytes": resident_in_files((artifact.path, *artifact.parts), self.pid),
            "weights_bytes": use.weights_bytes,
            "kv_allocated_bytes": use.kv_allocated_bytes,
            "kv_used_bytes": use.kv_used_bytes,
            "workspace_bytes": use.workspace_bytes,
            "device_peak_bytes": use.device_peak_bytes,
            "evidence": {
                technique.name: dict(technique.evidence(self.session, own)) for technique, own in self._techniques
            },
        }


def _config(checkpoint: Path | None) -> Mapping[str, object] | None:
    """``config.json`` beside the tokenizer, where there is one."""
    if checkpoint is None or not (checkpoint / "config.json").is_file():
        return None
    return read_config(checkpoint)


def _of_process(source: Mapping[str, Any], pid: int) -> SourceSpec:
    """A source with the process that runs the model filled in."""
    own = {
        key: value.replace(PID_FIELD, str(pid)) if isinstance(value, str) else value for key, value in source.items()
    }
    return cast("SourceSpec", own)


def _runtime_techniques(
    registry: Registry, steps: Iterable[tuple[str, Settings]]
) -> list[tuple[RuntimeTechnique, Settings]]:
    techniques: list[tuple[RuntimeTechnique, Settings]] = []
    for name, settings in steps:
        technique = registry.technique(name)
        if not isinstance(technique, RuntimeTechnique):
            raise PluginError(f"technique '{name}' does not act at run time")
        techniques.append((technique, settings))
    return techniques


def _tokenizer(folder: Path | None, session: BackendSession, artifact: Artifact) -> TextTokenizer | None:
    """The checkpoint's own; that of the model's file where there is no checkpoint."""
    if folder is not None:
        there = os.path.lexists(folder / "tokenizer.json")
        return CheckpointTokenizer(folder, session.vocabulary_size) if there else None
    own = session.tokenizer()
    return None if own is None else SessionTokenizer(own, str(artifact.path))
