"""A whole run of the command over what is hostile: how it ended, what it wrote and what it left behind."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import uuid
from pathlib import Path

from joulebench.session import Session
from joulebench.session.tables import CellRow
from joulebench.session.upkeep import verify

#: A dozen cells, each of which may take its limits of time.
_RUN_S = 240.0
_VARIABLE = "JOULEBENCH_FAULT_KIT"
_STEERING = set("\x1b\x9b\x07\u202e")
_LONGEST_CAUSE = 2000

#: What every run has besides its models, backends and prompts.
PROTOCOL = """
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


def run_profile(folder: Path, name: str, text: str) -> tuple[list[tuple[str, str]], list[CellRow]]:
    """Run a profile: (``bad-run`` or ``leftover``, and what was wrong) and the rows of its cells."""
    file, out = folder / f"{name}.toml", folder / f"out-{name}"
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
        return [("bad-run", "it did not end"), *_leftovers(token)], []
    ends = _leftovers(token)
    if process.returncode not in (0, 1) or "Traceback" in errors or _STEERING & set(output + errors):
        ends.append(("bad-run", f"exit code {process.returncode}: {errors[-500:]!r}"))
    folders = [made.parent for made in out.glob("*/session.arrow")]
    if len(folders) != 1:
        return [*ends, ("bad-run", f"no session: {errors[-500:]!r}")], []
    ends += [("bad-run", str(fault)) for fault in verify(folders[0])]
    return ends, Session(folders[0]).rows(CellRow)


def end_of(row: CellRow) -> str:
    """``ok``, or ``failed`` with a cause; ``untold`` without one, or with one that is a traceback."""
    if row.status == "ok":
        return "ok"
    told = row.cause and len(row.cause) < _LONGEST_CAUSE and "Traceback" not in row.cause
    return "failed" if told and (row.cause_kind or row.status == "skipped") else "untold"


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
    rows: list[tuple[int, str]] = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (process / "environ").read_bytes():
                words = (process / "cmdline").read_bytes().decode(errors="replace").replace("\0", " ")
                rows.append((int(process.name), words))
        except OSError:
            continue
    return rows
