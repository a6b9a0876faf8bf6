"""Random ``kill -9`` of a run, seeded and counted: what it lost and what it left behind."""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from pathlib import Path

from toyrun import Bench, Started, children_of, state_of, until

from joulebench.errors import SessionError
from joulebench.session import Session
from joulebench.session.upkeep import verify

#: A kill comes this long after the start at the latest: start, calibration, idle, blocks and end all lie within.
_LATEST_S = 6.0
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
        processes, seen = _until_killed(started, folder, rng.uniform(0.3, _LATEST_S))
        _, errors = started.process.communicate(timeout=60)
        counts["tracebacks"] += "Traceback" in errors
        folder = folder or next((file.parent for file in started.out.glob("*/session.arrow")), None)
        if started.process.returncode == 0:
            counts["complete"] += 1
        else:
            counts["kills"] += 1
        if folder is None:
            continue
        after = moments(folder)
        known = {**before, **seen}
        counts["blocks"] += len(known)
        counts["lost"] += sum(after.get(block) != began for block, began in known.items())
        counts["leftovers"] += _left(processes) + len(_shared_memory() - memory_before)
        if started.process.returncode == 0:
            counts["faults"] += len(verify(folder))
            folder = None
    return counts


def _until_killed(started: Started, folder: Path | None, seconds: float) -> tuple[set[int], Moments]:
    """Every process that the run had, and the blocks that could be read just before the kill."""
    end = time.monotonic() + seconds
    processes: set[int] = set()
    while time.monotonic() < end and started.process.poll() is None:
        processes.update(children_of(started.process.pid))
        time.sleep(0.02)
    known = folder or next((file.parent for file in started.out.glob("*/session.arrow")), None)
    seen = {} if known is None else moments(known)
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


def _shared_memory() -> set[str]:
    return {file.name for file in _MEMORY.glob("joulebench*")} if _MEMORY.is_dir() else set()
