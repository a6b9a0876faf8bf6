"""Seeded hostile models before everything that reads a model, counted."""

from __future__ import annotations

import contextlib
import json
import random
import selectors
import subprocess
import sys
from collections import Counter
from pathlib import Path

import progress
from hostile_models import MARKER, make_hostile
from runs import PROTOCOL, end_of, run_profile

from joulebench.testing.models import write_tiny_checkpoint

#: Longer than all readings of a small model take on a busy machine.
_HANG_S = 60.0
#: The first model brings in the libraries.
_START_S = 300.0


class ReaderProcess:
    """A process that reads models; another takes its place when it has died or hung."""

    def __init__(self, log: Path, good: Path) -> None:
        self._log = log
        self._good = good
        self._process: subprocess.Popen[bytes] | None = None

    def _start(self) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, str(Path(__file__).with_name("model_reader.py"))],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                bufsize=0,
            )
        first = self._ask(process, self._good, _START_S)
        assert first["outcome"] == "read", first
        return process

    def read(self, model: Path) -> dict[str, str]:
        """What became of a model; ``died`` and ``hang`` where nothing was answered."""
        if self._process is None:
            self._process = self._start()
        answer = self._ask(self._process, model, _HANG_S)
        if answer["outcome"] in ("died", "hang"):
            self.close()
        return answer

    @staticmethod
    def _ask(process: subprocess.Popen[bytes], model: Path, limit_s: float) -> dict[str, str]:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(str(model)).encode() + b"\n")
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            if not selector.select(limit_s):
                return {"outcome": "hang", "stage": "", "words": f"nothing in {limit_s:g} s"}
        line = process.stdout.readline()
        if not line:
            return {"outcome": "died", "stage": "", "words": f"exit code {process.wait()}"}
        answer: dict[str, str] = json.loads(line)
        return answer

    def close(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


_PROFILE = """version = 1
[backend.{backend}]
[workload.generate]
prompts = "prompts.txt"
new_tokens = 4
[limits]
open_s = 60.0
block_s = 20.0
make_s = 60.0
memory = "4GiB"
"""


def run_models(folder: Path, backend: str, count: int, seed: int) -> tuple[Counter[str], list[str]]:
    """A run of so many hostile models that the plan takes, beside the good one, on a backend.

    ``failed`` and ``skipped`` cells have a cause. Wrong are ``untold`` causes, a ``bad-run``, the good cell
    ``dragged`` along, ``leftover`` processes, and code that was ``executed``.
    """
    good, gguf = _good_model(folder)
    rng = random.Random(seed)
    words: dict[str, str] = {}
    with contextlib.closing(ReaderProcess(folder / "log", good)) as reader:
        while len(words) < count:
            model, what = make_hostile(good, gguf, folder / f"m{len(words)}", rng)
            if reader.read(model)["stage"] != "plan":
                words[str(model)] = what
    (folder / "prompts.txt").write_text("the cat\nthe dog\n", encoding="utf-8")
    text = _PROFILE.format(backend=backend) + PROTOCOL + f'[model.good]\nsource = "path:{good}"\n'
    for place, model in enumerate(words):
        text += f'[model.m{place}]\nsource = "path:{model}"\n'
    ends, rows = run_profile(folder, backend, text)
    whats = ["good", *words.values()]
    for row in rows:
        what = whats[0 if row.model == "good" else 1 + int(row.model[1:])]
        end = end_of(row)
        ends.append(("dragged" if row.model == "good" and end != "ok" else end, f"{what}: {row.cause}"))
    ends += [("executed", str(mark)) for mark in folder.glob(f"m*/{MARKER}")]
    counts = Counter(end for end, _ in ends)
    return counts, [f"{what}: {end}" for end, what in ends if end not in ("ok", "failed", "skipped")]


def _good_model(folder: Path) -> tuple[Path, Path]:
    """A checkpoint, and the same as GGUF."""
    from joulebench.registry.loading import default_registry

    checkpoint = write_tiny_checkpoint(folder / "good" / "model")
    default_registry().converter("gguf-export").convert(checkpoint, folder / "good", {})
    return checkpoint, folder / "good" / "model.gguf"


def try_models(folder: Path, count: int, seed: int) -> tuple[Counter[str], list[str]]:
    """So many hostile models: counts of how reading each ended, and what went wrong.

    ``refused`` names the file, ``read`` was taken as it is; ``vague``, ``traceback``, ``panic``, ``died``,
    ``hang`` and ``executed`` are wrong.
    """
    checkpoint, gguf = _good_model(folder)
    rng = random.Random(seed)
    wrong_ends = ("vague", "traceback", "panic", "died", "hang", "executed")
    counts: Counter[str] = Counter(dict.fromkeys(("refused", "read", *wrong_ends), 0))
    wrong: list[str] = []
    with contextlib.closing(ReaderProcess(folder / "log", checkpoint)) as reader:
        for number in range(count):
            model, what = make_hostile(checkpoint, gguf, folder / "tried", rng)
            answer = reader.read(model)
            outcome = "executed" if (folder / "tried" / MARKER).exists() else answer["outcome"]
            counts[outcome] += 1
            if outcome in wrong_ends:
                wrong.append(f"{number}: {what}: {outcome} in {answer['stage']}: {answer['words']}")
            progress.show("hostile models", number + 1, count, counts)
    return counts, wrong
