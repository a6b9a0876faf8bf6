"""Groups of cells on fake workers: a run's scheduling without a process."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from joulebench.api import Artifact
from joulebench.meter.windows import Accountant
from joulebench.plan.cells import PlannedCell, PreparedSession
from joulebench.profile.measurement import MeasurementProtocol, RunLimits
from joulebench.profile.sections import PROTOCOL_OPTIONS
from joulebench.runs.cell import CellRun
from joulebench.runs.orders import Job
from joulebench.runs.record import CellRecord
from joulebench.runs.turns import GroupRun, IdleBaselines, Rounds, Watcher, take_legs
from joulebench.session import Session
from joulebench.session.tables import SessionRow
from joulebench.session.writing import SessionWriter
from joulebench.testing.workers import FakeWorkers, ScriptedLoad, WorkerScript

DEFAULTS = {option.name: option.default for option in PROTOCOL_OPTIONS if option.default is not None}
#: No waiting: the time of these runs is virtual.
QUICK: Mapping[str, object] = {"idle_s": 0.0, "warmup_min_s": 0.0, "requests_per_block": 1, "target": 0.5}


def planned(name: str) -> PlannedCell:
    return PlannedCell(
        name, name, "m", "shape:m", "none", name, "fake", "cpu", {}, "generate", "generate", {}, "token", (), ()
    )


def job(folder: Path) -> Job:
    return Job(
        artifact=Artifact("hf", folder, "0" * 64, 1),
        checkpoint=None,
        environment={},
        session=PreparedSession({}),
        evidence={},
        can_score=False,
        judged=False,
        seed=1,
        shuffle=False,
        limits=RunLimits(memory_bytes=None, open_s=1.0, block_s=1.0, cell_s=None),
    )


@dataclass
class Listening:
    """What a run says."""

    lines: list[str] = field(default_factory=list)

    def say(self, text: str) -> None:
        self.lines.append(text)

    def note(self, text: str) -> None:
        self.lines.append(text)

    def cells(self, runs: Sequence[CellRun], protocol: MeasurementProtocol) -> None:
        pass

    def step(self, run: CellRun, doing: str) -> None:
        self.lines.append(f"{run.cell.label}: {doing}")

    def measuring(self, doing: str) -> None:
        self.lines.append(doing)

    def block(self, run: CellRun) -> None:
        pass

    def done(self, run: CellRun, status: str) -> None:
        self.lines.append(f"{run.cell.label}: {status}")


class FakeRun:
    """Groups of cells with their scripts, run to the end."""

    def __init__(
        self,
        folder: Path,
        resumed: Session | None = None,
        watcher: Callable[[FakeWorkers], Watcher] | None = None,
        **protocol: object,
    ) -> None:
        self.folder = folder
        self.workers = FakeWorkers()
        self.heard = Listening()
        self.watcher: Watcher = self.heard if watcher is None else watcher(self.workers)
        self.runs: dict[str, CellRun] = {}
        self._resumed = resumed
        SessionWriter(folder).write_session(SessionRow(status="running"))
        self.numbers = MeasurementProtocol.of({**DEFAULTS, **QUICK, **protocol})  # type: ignore[dict-item]
        self._accountant = Accountant([], [], {})
        self._groups: list[GroupRun] = []
        self._rounds = Rounds()

    def group(
        self,
        scripts: Mapping[str, WorkerScript | None],
        loads: Mapping[str, ScriptedLoad] | None = None,
        anchor: str | None = None,
    ) -> FakeRun:
        """Add a group; its ``anchor`` is a cell of one before."""
        writer, quiet = SessionWriter(self.folder), loads or {}
        runs = [
            CellRun(
                job(self.folder),
                CellRecord(planned(name), writer, self._accountant, self._resumed),
                self.workers.of(name, script),
                quiet.get(name, ScriptedLoad()),
            )
            for name, script in scripts.items()
        ]
        self.runs |= dict(zip(scripts, runs, strict=True))
        baselines = IdleBaselines(self._accountant, self.numbers, self.watcher)
        if self._resumed is not None:
            self._rounds = Rounds(runs)
        self._groups.append(
            GroupRun(
                runs,
                self.numbers,
                self._accountant,
                baselines,
                self.watcher,
                {"m": ()},
                random.Random(1),
                self._rounds,
                None if anchor is None else self.runs[anchor],
            )
        )
        return self

    def execute(self) -> FakeRun:
        """Run all groups to their ends."""

        self.watcher.cells(list(self.runs.values()), self.numbers)
        take_legs(self._groups, lambda group: None, lambda group: None)
        for run in self.runs.values():
            self.watcher.done(run, run.finish(lambda totals: {}))
        return self

    def rows(self, cell: str, table: str = "blocks") -> list[dict[str, object]]:
        """Rows of a cell's table as the session has them."""
        return Session(self.folder).table(table, cell).to_pylist()

    def flags(self, cell: str) -> Sequence[str]:
        """The cell's flags."""
        return list(self.runs[cell].record.flags)

    def asked(self, *what: str) -> list[tuple[str, str]]:
        """What the workers were asked, of these beginnings."""
        return [(cell, text) for cell, text in self.workers.log if text.split()[0] in what]
