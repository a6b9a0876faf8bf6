"""Runs of the command with the toy runtime of ``tests/example_plugin``, as a user starts them."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from joulebench.session import Session

T = TypeVar("T")

EXAMPLE_PLUGIN = Path(__file__).parents[1] / "example_plugin"
PROMPTS = [f"prompt number {number} of the test, with some words" for number in range(12)]

#: Short enough for a test, every step of the protocol still there.
PROTOCOL: Mapping[str, object] = {
    "processes": 1,
    "min_blocks": 3,
    "max_blocks": 3,
    "block_s": 0.02,
    "requests_per_block": 1,
    "idle_s": 0.0,
    "warmup_min_s": 0.0,
    "warmup_max_s": 0.5,
    "warmup_requests": 4,
    "steady": 10.0,
    "contended": 1000.0,
    "gate_timeout_s": 0.5,
    "seed": 1,
}


def write_toy_checkpoint(folder: Path, **config: object) -> Path:
    """The smallest HF-format checkpoint: a config and one weight."""
    folder.mkdir(parents=True)
    whole = {"architectures": ["ToyForCausalLM"], "max_position_embeddings": 512, **config}
    (folder / "config.json").write_text(json.dumps(whole))
    header = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    data = struct.pack("<Q", len(header)) + header + b"\0" * 4
    (folder / "model.safetensors").write_bytes(data)
    return folder


def toml(value: object) -> str:
    """A value as TOML writes it; JSON is the same for all that is used here."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {toml(item)}" for key, item in value.items()) + "}"
    return json.dumps(value)


@dataclass
class Started:
    """A command under way."""

    process: subprocess.Popen[str]
    out: Path

    def session_folder(self) -> Path:
        """The folder that the run has made."""
        value = until(lambda: list(self.out.glob("*/session.arrow")), "a session")
        return value[0].parent

    def blocks(self) -> list[dict[str, object]]:
        """The finished blocks so far."""
        return Session(self.session_folder()).table("blocks").to_pylist()

    def children(self) -> list[int]:
        """Process ids of workers and samplers."""
        return children_of(self.process.pid)

    def end(self, how: int) -> tuple[int, str]:
        """Send a signal and wait: (exit code, standard error)."""
        self.process.send_signal(how)
        _, errors = self.process.communicate(timeout=30)
        return self.process.returncode, errors


@dataclass
class Done:
    """A command that has ended."""

    code: int
    output: str
    errors: str
    folder: Path | None

    @property
    def session(self) -> Session:
        """What it wrote."""
        assert self.folder is not None, self.errors
        return Session(self.folder)

    def cell(self, backend: str) -> dict[str, object]:
        """The row of the one cell of that backend entry."""
        (row,) = [row for row in self.session.cells().to_pylist() if row["backend"] == backend]
        return row

    def rows(self, table: str, backend: str | None = None) -> list[dict[str, object]]:
        """Rows of a table, of one backend entry's cell or of all."""
        cell_id = None if backend is None else str(self.cell(backend)["cell_id"])
        return self.session.table(table, cell_id).to_pylist()


def until(look: Callable[[], T], what: str, seconds: float = 120.0) -> T:
    """What ``look`` gives, as soon as that is true."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        evidence = look()
        if evidence:
            return evidence
        time.sleep(0.02)
    raise AssertionError(f"waited {seconds} s for {what}")


def children_of(pid: int) -> list[int]:
    """Process ids of the children, by the kernel (CONFIG_PROC_CHILDREN) or by search."""
    rows: list[int] = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            rows.append(int(stat.parent.name))
    return rows


def state_of(pid: int) -> str | None:
    """R, S, T (stopped), … or ``None`` where there is no such process (or a dead one)."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return None
    return None if state in "ZX" else state


def cpu_ticks_of(pid: int) -> int:
    """User and system time of a process in ticks of 10 ms; 0 if it has gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return int(fields[11]) + int(fields[12])


def command_of(pid: int) -> str:
    """The command line of a process."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except OSError:
        return ""


class Bench:
    """Writes a profile and runs it."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder = folder
        self.environment = dict(environment)
        self.model = write_toy_checkpoint(folder / "model")
        (folder / "prompts.txt").write_text("\n".join(PROMPTS) + "\n")
        self._started: list[subprocess.Popen[str]] = []

    def profile(
        self,
        backends: Mapping[str, Mapping[str, object]],
        *,
        workload: Mapping[str, Mapping[str, object]] | None = None,
        probes: Mapping[str, Mapping[str, object]] | None = None,
        limits: Mapping[str, object] | None = None,
        sampler: Mapping[str, object] | None = None,
        models: Mapping[str, str] | None = None,
        more: str = "",
        **protocol: object,
    ) -> Path:
        """A profile of toys; real sensors are switched off so that each machine sees the same."""
        work = workload or {"generate": {"prompts": "prompts.txt", "new_tokens": 4}}
        quiet = dict.fromkeys(("rapl", "nvml", "thermal", "memory", "cpu", "estimate"), None)
        given: dict[str, object] = {name: {"enabled": False} for name in quiet}
        given |= dict(probes or {})
        tables: dict[str, Mapping[str, object]] = {
            "protocol": {k: v for k, v in {**PROTOCOL, **protocol}.items() if v is not None},
            "limits": {"open_s": 20.0, "block_s": 10.0, **(limits or {})},
            "sampler": {"calibrate_s": 0.0, **(sampler or {})},
        }
        for name, source in (models or {"tiny": "path:model"}).items():
            tables[f"model.{name}"] = {"source": source}
        for name, settings in backends.items():
            tables[f"backend.{name}"] = {"plugin": "toy", **settings}
        tables |= {f"workload.{name}": settings for name, settings in work.items()}
        tables |= {f"probe.{name}": settings for name, settings in given.items()}  # type: ignore[misc]
        text = "version = 1\n"
        for name, table in tables.items():
            text += f"\n[{name}]\n" + "".join(f"{k} = {toml(v)}\n" for k, v in table.items())
        file = self.folder / "toys.toml"
        file.write_text(text + more)
        return file

    def start(self, *arguments: str | Path, **environment: str) -> Started:
        """Start ``joulebench run`` in a session of its own, as a terminal does."""
        out = self.folder / f"out-{len(self._started)}"
        words = [sys.executable, "-m", "joulebench", "run", *map(str, arguments)]
        if "--resume" not in words:
            words += ["--output", str(out)]
        process = subprocess.Popen(
            words,
            env={**self.environment, **environment},
            text=True,
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        self._started.append(process)
        return Started(process, out)

    def run(self, *arguments: str | Path, **environment: str) -> Done:
        """Run to the end."""
        started = self.start(*arguments, **environment)
        output, errors = started.process.communicate(timeout=120)
        if "--resume" in arguments:
            folder: Path | None = Path(str(arguments[arguments.index("--resume") + 1]))
        else:
            folder = next((path.parent for path in started.out.glob("*/session.arrow")), None)
        return Done(started.process.returncode, output, errors, folder)

    def stop_all(self) -> None:
        """Leave nothing behind, whatever the test did."""
        for process in self._started:
            if process.poll() is None:
                process.kill()
                process.communicate()
