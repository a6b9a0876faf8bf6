"""How a run begins, for the command and for Python alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from joulebench.plan.loading import PlannedProfile, plan_profile
from joulebench.profile.measurement import MeasurementProtocol
from joulebench.runs.cell import CellRun
from joulebench.runs.folder import check_writable, new_session_folder, note_profile_file
from joulebench.runs.instruments import set_up
from joulebench.runs.runner import Run
from joulebench.runs.turns import Watcher
from joulebench.sensors.quiet import QuietGate


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


def begin(
    planned: PlannedProfile, out: Path, watcher: Watcher, *, name: str | None = None, quiet: QuietGate | None = None
) -> tuple[Run, Path]:
    """The run of a planned profile and its new folder below ``out``; sensors have been calibrated.

    ``name`` stands in place of the profile's in the folder's.
    """
    profile = planned.profile
    instruments = set_up(planned.registry, profile, watcher.say)
    folder = new_session_folder(out, profile.name if name is None else name)
    note_profile_file(folder, planned.file.resolve())
    run = Run(profile, planned.plan, planned.registry, planned.catalogue, folder, instruments, watcher, quiet=quiet)
    return run, folder


def run_profile(
    name: str, overrides: Sequence[str], out: Path, listen: Callable[[Progress], None] | None = None
) -> Path:
    """Measure a profile and return the session's folder.

    Raises :class:`~joulebench.errors.JoulebenchError` where the profile cannot run, and
    :class:`~joulebench.errors.NothingRanError` where no cell was measured.
    """
    planned = plan_profile(name, overrides)
    check_writable(out)
    run, folder = begin(planned, out, _Listener(listen))
    run.execute()
    return folder
