"""Seeded faults of sensors, each over a window of the product's meter in real time; counted."""

from __future__ import annotations

import contextlib
import json
import os
import random
import selectors
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import progress
from sensor_reader import KINDS

_CORE = Path(__file__).parents[1] / "core"
#: The slowest answer is that of a reader that hangs where it is opened: twice the sampler's 10 s.
_HANG_S = 60.0
_WRONG = ("wrong", "silent", "short total", "dragged", "traceback", "died", "hang")


class _Process:
    """A process without root's rights that measures; another takes its place when it has died or hung."""

    def __init__(self, log: Path, environment: Mapping[str, str]) -> None:
        self._log = log
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None

    def measure(self, case: dict[str, object]) -> dict[str, str]:
        """What became of a case."""
        process = self._process = self._process or self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(case).encode() + b"\n")
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            ready = selector.select(_HANG_S)
        line = process.stdout.readline() if ready else b""
        if line:
            answer: dict[str, str] = json.loads(line)
            return answer
        self.close()
        return {"outcome": "died" if ready else "hang", "words": f"exit code {process.returncode}"}

    def _start(self) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, str(Path(__file__).with_name("sensor_reader.py"))],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                bufsize=0,
                start_new_session=True,
                env={**self._environment, "PYTHONPATH": _with_toyrun(self._environment)},
            )

    def close(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


def _with_toyrun(environment: Mapping[str, str]) -> str:
    """The import path, on which the plugin of whole runs is too, and what runs it."""
    return os.pathsep.join(filter(None, [str(_CORE), environment.get("PYTHONPATH")]))


def try_sensors(
    folder: Path, environment: Mapping[str, str], counts: dict[str, int], seed: int
) -> tuple[Counter[str], list[str]]:
    """So many faults of each kind of sensor: how the figures of each window were, and what is wrong.

    Faults come in turn, so that none is left out where there are enough; everything else is drawn. ``held``
    figures are the truth within what they state, ``null`` ones have a word.
    """
    rng = random.Random(seed)
    ends: Counter[str] = Counter(dict.fromkeys(("held", "null", *_WRONG), 0))
    wrong: list[str] = []
    with contextlib.closing(_Process(folder / "log", environment)) as process:
        for kind, count in counts.items():
            faults = list(KINDS[kind][1])
            for number in range(count):
                if number % len(faults) == 0:
                    rng.shuffle(faults)
                fault = faults[number % len(faults)]
                answer = process.measure({"kind": kind, "fault": fault, "seed": rng.randrange(10**9)})
                ends[answer["outcome"]] += 1
                if answer["outcome"] in _WRONG:
                    wrong.append(f"{kind} {number}: {fault}: {answer['outcome']}: {answer['words'][:600]}")
                progress.show(f"faults of {kind}", number + 1, count, ends)
    return ends, wrong
