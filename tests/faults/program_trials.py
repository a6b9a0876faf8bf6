"""Seeded hostile programs as backends: greeted while planning, and measured by whole runs; counted."""

from __future__ import annotations

import random
import shlex
import sys
import time
from collections import Counter
from pathlib import Path

import progress
from runs import PROTOCOL, end_of, run_profile

from joulebench.registry.loading import default_registry
from joulebench.session.tables import CellRow
from joulebench.testing.models import write_tiny_checkpoint

PROGRAM = Path(__file__).with_name("hostile_program.py")
_ENDS = ("exit", "signal", "words", "garbage", "deep", "kind", "error", "nolist", "twice", "many", "closes", "group")
_LASTS = ("cut", "endless", "lines", "drip", "silent", "stubborn", "deaf", "stops")
_GOES_ON = ("late", "flood", "forks", "sessions", "daemons")
#: Answers that nobody asked for would be taken for later ones: such a cell must not be believed.
_UNASKED = frozenset({"twice", "many", "lines"})
_OPS = ("open", "prefill", "step", "reset", "memory", "close")
#: Kill or stop the process that asks: while planning that is the user's command, which no program is kept from.
_AGAINST_THE_WORKER = ("parent",)
#: What the tries wait for a greeting and an end, instead of the product's 10 and 5 s.
_SHORT_S = 0.5

_PROFILE = """version = 1
[model.m]
source = "path:model"
[workload.generate]
prompts = "prompts.txt"
new_tokens = 4
chat = false
[limits]
open_s = 5.0
block_s = 1.5
"""


def _command(op: str, behaviour: str, seed: int) -> str:
    return shlex.join([sys.executable, "-I", "-S", str(PROGRAM), op, behaviour, str(seed)])


# -- while planning -------------------------------------------------------------------------------


def greet_programs(count: int, seed: int) -> tuple[Counter[str], list[str]]:
    """So many programs, asked what they are: ``refused``, ``taken``; ``traceback``, ``slow``, ``long`` are wrong."""
    from joulebench_plugins.command import link

    rng = random.Random(seed)
    counts: Counter[str] = Counter(refused=0, taken=0, traceback=0, slow=0, long=0)
    wrong: list[str] = []
    backend = default_registry().backend("command")
    patience_s = link.GREETING_S, link._END_S
    link.GREETING_S, link._END_S = _SHORT_S, _SHORT_S
    try:
        for number in range(count):
            op, behaviour = rng.choice(("hello", "hello", "close")), rng.choice((*_ENDS, *_LASTS, *_GOES_ON))
            settings = {"command": _command(op, behaviour, rng.randrange(10**6))}
            begin = time.monotonic()
            try:
                fault = backend.check("cpu", settings, {}) or ""
                texts = [fault, *backend.formats(settings), *backend.abilities(settings)]
                outcome = "refused" if fault else "taken"
            except Exception as error:
                texts, outcome = [f"{type(error).__name__}: {error}"], "traceback"
            if max(map(len, texts)) > 1000:
                outcome = "long"
            if time.monotonic() - begin > 20.0:
                outcome = "slow"
            counts[outcome] += 1
            if outcome not in ("refused", "taken"):
                wrong.append(f"{number}: {op} {behaviour}: {outcome}: {' '.join(texts)[:300]}")
            progress.show("programs greeted", number + 1, count, counts)
    finally:
        link.GREETING_S, link._END_S = patience_s
    return counts, wrong


# -- measured -------------------------------------------------------------------------------------


def run_programs(folder: Path, runs: int, programs: int, seed: int) -> tuple[Counter[str], list[str]]:
    """Runs of so many programs each, beside a good one: how their cells ended, and what went wrong.

    ``failed`` cells have a cause, ``ok`` ones were measured. Wrong are ``untold`` causes, ``believed`` answers
    that nobody asked for, ``bad-run`` (its exit code, its time, its session, what it printed), ``dragged``
    (the good cell failed) and ``leftover`` processes.
    """
    rng = random.Random(seed)
    wrong_ends = ("untold", "believed", "bad-run", "dragged", "leftover")
    counts: Counter[str] = Counter(dict.fromkeys(("failed", "ok", *wrong_ends), 0))
    wrong: list[str] = []
    folder.mkdir(parents=True, exist_ok=True)
    write_tiny_checkpoint(folder / "model")
    (folder / "prompts.txt").write_text("the cat\nthe dog\n", encoding="utf-8")
    for number in range(runs):
        chosen = [_chosen(rng) for _ in range(programs)]
        for outcome, what in _one_run(folder, number, chosen):
            counts[outcome] += 1
            if outcome in wrong_ends:
                wrong.append(f"run {number}: {what}: {outcome}")
        progress.show("programs measured", (number + 1) * programs, runs * programs, counts)
    return counts, wrong


def _chosen(rng: random.Random) -> tuple[str, str, int]:
    behaviour = rng.choice((*_ENDS, *_ENDS, *_LASTS, *_GOES_ON, *_AGAINST_THE_WORKER))
    ops = _OPS[:-1] if behaviour in _AGAINST_THE_WORKER else _OPS
    return rng.choice(ops), behaviour, rng.randrange(10**6)


def _one_run(folder: Path, number: int, chosen: list[tuple[str, str, int]]) -> list[tuple[str, str]]:
    text = _PROFILE + PROTOCOL
    names = {"good": ("none", "none", 0)}
    names |= {f"p{place}": program for place, program in enumerate(chosen)}
    for name, program in names.items():
        command = ", ".join(f"'{word}'" for word in shlex.split(_command(*program)))
        text += f"[backend.{name}]\nplugin = 'command'\ncommand = [{command}]\n"
    ends, rows = run_profile(folder, f"run-{number}", text)
    return ends + [_cell_end(row, *names[row.backend][:2]) for row in rows]


def _cell_end(row: CellRow, op: str, behaviour: str) -> tuple[str, str]:
    what = f"{op} {behaviour}: {row.status} {row.cause_kind}: {str(row.cause)[:200]}"
    end = end_of(row)
    if row.backend == "good" and end != "ok":
        return "dragged", what
    if end == "ok" and behaviour in _UNASKED and op in ("prefill", "step", "reset"):
        return "believed", what
    return end, what
