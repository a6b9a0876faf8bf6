"""Seeded hostile programs as backends: greeted while planning, and measured by whole runs; counted."""

from __future__ import annotations

import os
import random
import shlex
import subprocess
import sys
import time
import uuid
from collections import Counter
from pathlib import Path

import progress

from joulebench.registry.loading import default_registry
from joulebench.session import Session
from joulebench.session.upkeep import verify
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
#: A run of a dozen programs; each may take its limits of time.
_RUN_S = 240.0
_VARIABLE = "JOULEBENCH_FAULT_KIT"
_STEERING = set("\x1b\x9b\x07\u202e")

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
[protocol]
processes = 1
min_blocks = 3
max_blocks = 3
block_s = 0.02
requests_per_block = 1
idle_s = 0.0
warmup_min_s = 0.0
warmup_max_s = 0.5
warmup_requests = 4
steady = 10.0
contended = 1000.0
gate_timeout_s = 0.5
seed = 1
[sampler]
calibrate_s = 0.0
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
    text = _PROFILE
    names = {"good": ("none", "none", 0)}
    names |= {f"p{place}": program for place, program in enumerate(chosen)}
    for name, program in names.items():
        command = ", ".join(f"'{word}'" for word in shlex.split(_command(*program)))
        text += f"[backend.{name}]\nplugin = 'command'\ncommand = [{command}]\n"
    file, out = folder / f"run-{number}.toml", folder / f"out-{number}"
    file.write_text(text, encoding="utf-8")
    token = uuid.uuid4().hex
    process = subprocess.Popen(
        [sys.executable, "-m", "joulebench", "run", str(file), "--output", str(out), "--no-report", "--quiet"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, _VARIABLE: token},
    )
    try:
        output, errors = process.communicate(timeout=_RUN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return [("bad-run", "it did not end"), *_leftovers(token)]
    ends = _leftovers(token)
    if process.returncode not in (0, 1) or "Traceback" in errors or _STEERING & set(output + errors):
        ends.append(("bad-run", f"exit code {process.returncode}: {errors[-500:]!r}"))
    folders = [made.parent for made in out.glob("*/session.arrow")]
    if len(folders) != 1:
        return [*ends, ("bad-run", f"no session: {errors[-500:]!r}")]
    ends += [("bad-run", str(fault)) for fault in verify(folders[0])]
    cells = {row["backend"]: row for row in Session(folders[0]).cells().to_pylist()}
    for name, (op, behaviour, _) in names.items():
        ends.append(_cell_end(cells[name], name, op, behaviour))
    return ends


def _cell_end(row: dict[str, object], name: str, op: str, behaviour: str) -> tuple[str, str]:
    what = f"{op} {behaviour}: {row['status']} {row['cause_kind']}: {str(row['cause'])[:200]}"
    if name == "good":
        return ("ok" if row["status"] == "ok" else "dragged"), what
    if row["status"] == "ok":
        return ("believed" if behaviour in _UNASKED and op in ("prefill", "step", "reset") else "ok"), what
    told = row["cause"] and row["cause_kind"] and len(str(row["cause"])) < 2000
    return ("failed" if told and "Traceback" not in str(row["cause"]) else "untold"), what


def _leftovers(token: str, patience_s: float = 3.0) -> list[tuple[str, str]]:
    """Processes that a run has started, however indirectly, and that are still there a while after it."""
    end = time.monotonic() + patience_s
    while (left := _bearers(token)) and time.monotonic() < end:
        time.sleep(0.05)
    for pid, _ in left:
        os.kill(pid, 9)
    return [("leftover", words) for _, words in left]


def _bearers(token: str) -> list[tuple[int, str]]:
    mark = f"{_VARIABLE}={token}".encode()
    found: list[tuple[int, str]] = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (process / "environ").read_bytes():
                words = (process / "cmdline").read_bytes().decode(errors="replace").replace("\0", " ")
                found.append((int(process.name), words))
        except OSError:
            continue
    return found
