"""What a step costs beside the model: in this process, in a worker, in a program behind a pipe.

The model is nothing (a counter), so that all time is the protocol's. ``in this process`` calls the
session's ``step``; ``worker`` is the same session in the isolated worker, by the time stamps of its
own record (what a cell's figures rest on); ``worker, answer included`` adds what the parent waits
for; ``program`` is the backend ``command`` on a program in C (tests/plugin_examples/bigram), one
line there and one back for each token. A worker in another environment speaks the same protocol
from another interpreter: ``--python`` names it.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from joulebench.models.store import hash_content
from joulebench.testing.models import write_tiny_checkpoint
from joulebench.testing.sessions import ScriptedSession
from joulebench.worker.process import WorkerProcess

STEPS, ROUNDS = 256, 30
ROOT = Path(__file__).parents[1]
BIGRAM = ROOT / "tests" / "plugin_examples" / "bigram" / "bigram.c"
PLUGIN = """
from joulebench.api import Backend, Device
from joulebench.hookspecs import hookimpl
JOULEBENCH_API = 1
class Nothing(Backend):
    name, accepts, capabilities = "bench-nothing", ("hf",), frozenset({"generate"})
    def devices(self): return (Device("cpu"),)
    def open(self, artifact, device, settings):
        from joulebench.testing.sessions import ScriptedSession
        return ScriptedSession()
@hookimpl
def joulebench_backends(): return [Nothing]
"""


def in_this_process() -> list[float]:
    """µs of a call of step()."""
    session = ScriptedSession()
    seconds = []
    for _ in range(ROUNDS):
        session.prefill([1])
        session.log.clear()
        start = time.perf_counter_ns()
        for _ in range(STEPS):
            session.step()
        seconds.append((time.perf_counter_ns() - start) / STEPS / 1e3)
    return seconds


def in_a_worker(
    folder: Path, backend: str, settings: dict[str, object], python: str | None
) -> tuple[list[float], list[float]]:
    """(µs between tokens as recorded, µs a token of the whole request as the parent sees it)."""
    digest, size = hash_content(folder / "model")
    command = None if python is None else [python, "-m", "joulebench.worker"]
    worker = WorkerProcess({"PYTHONPATH": str(folder)}, command=command)
    try:
        worker.greet(60)
        worker.ask(
            {
                "op": "open",
                "backend": backend,
                "device": "cpu",
                "runtime": [],
                "seed": 1,
                "artifact": {"format": "hf", "path": str(folder / "model"), "content_hash": digest, "size_bytes": size},
                "checkpoint": None,
                "settings": settings,
                "workload": "generate",
                "workload_settings": {
                    "prompts": str(folder / "prompts.txt"),
                    "chat": False,
                    "new_tokens": STEPS + 1,
                    "stop": False,
                    "max_prompt_tokens": 8,
                },
                "edges": [],
            },
            60,
        )
        recorded, waited = [], []
        for _ in range(ROUNDS):
            start = time.perf_counter_ns()
            answer = worker.ask({"op": "run", "first": 0, "count": 1}, 60)
            waited.append((time.perf_counter_ns() - start) / STEPS / 1e3)
            stamps = answer["requests"][0]["token_t_ns"]
            recorded.append((stamps[-1] - stamps[0]) / STEPS / 1e3)
        return recorded, waited
    finally:
        worker.close()


def show(what: str, costs: list[float], base: float | None) -> float:
    """A line: median, least, and what it is above the base."""
    middle = statistics.median(costs)
    above = "" if base is None else f"{middle - base:+10.2f}"
    print(f"{what:<44} {middle:9.2f} {min(costs):9.2f} {above}", flush=True)
    return middle


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", help="another interpreter in which joulebench is installed")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_tiny_checkpoint(folder / "model")
        (folder / "prompts.txt").write_text("one\n")
        (folder / "bench_nothing.py").write_text(PLUGIN)
        info = folder / "bench_nothing-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: bench-nothing\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text("[joulebench]\nbench = bench_nothing\n")
        head = f"µs a token, {ROUNDS} × {STEPS}"
        print(f"{head:<44} {'median':>9} {'least':>9} above")
        base = show("in this process", in_this_process(), None)
        contenders: list[tuple[str, str, dict[str, object], str | None]] = [("worker", "bench-nothing", {}, None)]
        if options.python:
            contenders.append(("worker of another environment", "bench-nothing", {}, options.python))
        compiler = shutil.which("cc") or shutil.which("gcc")
        if compiler is not None:
            program = folder / "bigram"
            subprocess.run([compiler, "-O2", "-o", program, BIGRAM, "-lm"], check=True)
            contenders.append(("program in C (command)", "command", {"command": str(program)}, None))
        for what, backend, given_settings, python in contenders:
            recorded, waited = in_a_worker(folder, backend, given_settings, python)
            show(what, recorded, base)
            show(f"{what}, answer included", waited, base)


if __name__ == "__main__":
    main()
