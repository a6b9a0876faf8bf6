"""Random ``kill -9`` of a run, seeded and counted: what it lost and what it left behind."""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from pathlib import Path

import progress
from toyrun import Bench, Started, children_of, state_of, until

from joulebench.errors import SessionError
from joulebench.meter.live import sampler
from joulebench.session import Session
from joulebench.session.upkeep import verify

#: A quarter of the kills comes this long after the start at the latest, the others at a random block.
_EARLY_S = 3.0
_EARLY_SHARE = 0.25
_MOST_BLOCKS = 10
#: And then so much later, anywhere in a block, between two, or in what follows the last.
_LATER_S = 0.5
#: How often a run is looked at; looking costs more than the toy runtime itself.
_LOOK_S = 0.2
#: A run that has no further block after so long is killed as it is.
_PATIENCE_S = 30.0
_MEMORY = Path("/dev/shm")

Moments = dict[tuple[str, int], int]


def moments(folder: Path) -> Moments:
    """When each block of a session began, by cell and number."""
    try:
        rows = Session(folder).table("blocks").to_pylist()
    except SessionError:
        return {}
    return {(row["cell_id"], row["block"]): row["t0_ns"] for row in rows}


def kill_at_random(bench: Bench, profile: Path, kills: int, seed: int) -> Counter[str]:
    """Kill a run, go on with it, kill it again, …; a new one when one was complete.

    Counts ``kills``, ``blocks`` that were there when killed, ``lost`` blocks, ``leftovers``
    (processes, shared memory), ``complete`` runs and ``tracebacks``.
    """
    rng = random.Random(seed)
    counts: Counter[str] = Counter(kills=0, blocks=0, lost=0, leftovers=0, complete=0, tracebacks=0)
    memory_before = _shared_memory()
    folder: Path | None = None
    while counts["kills"] < kills:
        started = bench.start(*((profile,) if folder is None else ("--resume", folder)), "--quiet", "--no-report")
        before = {} if folder is None else moments(folder)
        processes, seen = _until_killed(started, folder, len(before), rng)
        _, errors = started.process.communicate(timeout=60)
        counts["tracebacks"] += "Traceback" in errors
        folder = folder or next((file.parent for file in started.out.glob("*/session.arrow")), None)
        if started.process.returncode == 0:
            counts["complete"] += 1
        elif started.process.returncode == -signal.SIGKILL:
            counts["kills"] += 1
        elif "is complete" in errors:  # the last kill came between its last block and its end
            counts["complete"] += 1
            started.process.returncode = 0
        else:
            raise AssertionError(f"the run ended by itself with {started.process.returncode}: {errors}")
        if folder is None:
            continue
        after = moments(folder)
        known = {**before, **seen}
        counts["blocks"] += len(known)
        if started.process.returncode < 0:
            progress.show(f"kills, run {seed}", counts["kills"], kills, counts)
        counts["lost"] += sum(after.get(block) != began for block, began in known.items())
        counts["leftovers"] += _left(processes | _samplers()) + len(_shared_memory() - memory_before)
        if started.process.returncode == 0:
            counts["faults"] += len(verify(folder))
            folder = None
    return counts


def _until_killed(started: Started, folder: Path | None, before: int, rng: random.Random) -> tuple[set[int], Moments]:
    """Every process that the run had, and the blocks that could be read just before the kill."""
    early = rng.random() < _EARLY_SHARE
    blocks, later_s = before + rng.randrange(1, _MOST_BLOCKS), rng.uniform(0.0, _LATER_S)
    end = time.monotonic() + (rng.uniform(0.1, _EARLY_S) if early else _PATIENCE_S)
    processes: set[int] = set()
    seen: Moments = {}
    while time.monotonic() < end and started.process.poll() is None and (early or len(seen) < blocks):
        processes.update(children_of(started.process.pid))
        known = folder or next((file.parent for file in started.out.glob("*/session.arrow")), None)
        seen = seen if known is None else moments(known)
        time.sleep(_LOOK_S)
    time.sleep(later_s)
    processes.update(children_of(started.process.pid))
    if started.process.poll() is None:
        started.process.send_signal(signal.SIGKILL)
    return processes, seen


def _left(processes: set[int]) -> int:
    """Processes that are still there a while after their parent has gone."""
    try:
        until(lambda: not any(map(state_of, processes)), "the end of all processes", 5.0)
    except AssertionError:
        return sum(state_of(pid) is not None for pid in processes)
    return 0


def _samplers() -> set[int]:
    """Samplers that nobody is the parent of any more: one that was just starting is no known child."""
    orphans: set[int] = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if parent == 1 and sampler.__file__.encode() in words:
            orphans.add(int(folder.name))
    return orphans


def _shared_memory() -> set[str]:
    return {file.name for file in _MEMORY.glob("joulebench*")} if _MEMORY.is_dir() else set()
