"""A run started from Python: what ``joulebench run`` does, without a terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from joulebench.plan.loading import plan_profile
from joulebench.profile.measurement import MeasurementProtocol
from joulebench.runs.cell import CellRun
from joulebench.runs.folder import check_writable, new_session_folder, note_profile_file
from joulebench.runs.instruments import set_up
from joulebench.runs.runner import Run


@dataclass(frozen=True, slots=True)
class Progress:
    """One step of a run: ``text`` says what is done; of a block its cell's label and number so far."""

    text: str
    cell: str | None = None
    blocks: int | None = None


class _Listener:
    """Passes on what a run tells its watcher."""

    def __init__(self, listen: Callable[[Progress], None] | None) -> None:
        self._listen = listen or (lambda progress: None)

    def say(self, text: str) -> None:
        self._listen(Progress(text))

    def note(self, text: str) -> None:
        self._listen(Progress(text))

    def cells(self, runs: Sequence[CellRun], protocol: MeasurementProtocol) -> None:
        self._listen(Progress(f"{len(runs)} cells are measured in turns"))

    def step(self, run: CellRun, doing: str) -> None:
        self._listen(Progress(doing, run.cell.label))

    def measuring(self, doing: str) -> None:
        self._listen(Progress(doing))

    def block(self, run: CellRun) -> None:
        self._listen(Progress("block", run.cell.label, run.record.done.measured))

    def done(self, run: CellRun, status: str) -> None:
        self._listen(Progress(status, run.cell.label, run.record.done.measured))


def run_profile(
    name: str, overrides: Sequence[str], out: Path, listen: Callable[[Progress], None] | None = None
) -> Path:
    """Measure a profile and return the session's folder.

    Raises :class:`~joulebench.errors.JoulebenchError` where the profile cannot run, and
    :class:`~joulebench.errors.NothingRanError` where no cell was measured.
    """
    planned = plan_profile(name, overrides)
    check_writable(out)
    watcher = _Listener(listen)
    instruments = set_up(planned.registry, planned.profile, watcher.say)
    folder = new_session_folder(out, planned.profile.name)
    note_profile_file(folder, planned.file.resolve())
    run = Run(planned.profile, planned.plan, planned.registry, planned.catalogue, folder, instruments, watcher)
    run.execute()
    return folder
