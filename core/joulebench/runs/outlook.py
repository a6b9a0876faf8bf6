"""How far a run is and what is left of it, as its cells are measured: for whoever shows progress."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from joulebench.api import PROVENANCES
from joulebench.plan.cells import Duration
from joulebench.profile.measurement import MeasurementProtocol
from joulebench.runs.cell import CellRun
from joulebench.runs.timeleft import Pace, Remaining, process_range, remaining, time_left
from joulebench.runs.turns import LOADING, WARMING_UP

_OF_PROCESS: Final = (LOADING, WARMING_UP)


class Outlook:
    """The cells that a run measures: which are done, at what pace, and how long the rest takes.

    It is told what happens, and when, on any clock in seconds.
    """

    def __init__(self, runs: Sequence[CellRun], protocol: MeasurementProtocol) -> None:
        self._protocol = protocol
        self._runs = {id(run): run for run in runs}
        self._places = {key: place for place, key in enumerate(self._runs, start=1)}
        #: The process of each cell that was loaded and warmed up last; what is judged is by then.
        self._loaded: dict[int, int] = {}
        self._loading: CellRun | None = None
        self._remaining: dict[int, Remaining | None] = {}
        self._pace = Pace()
        self._step, self._step_since_s = "", 0.0
        self._process_s = self._judging_s = 0.0
        self._block_end_s: float | None = None
        for run in runs:
            self._look_at(run)

    # -- what happens ------------------------------------------------------------------------------

    def step(self, run: CellRun | None, doing: str, now_s: float) -> None:
        """A step of a cell has begun (``None``: of no cell), and so the one before has ended."""
        spent_s = now_s - self._step_since_s
        if self._step in _OF_PROCESS:
            self._process_s += spent_s
        elif self._step:
            self._judging_s += spent_s
        if self._step == WARMING_UP and self._loading is not None:
            self._pace.process_s.append(self._process_s)
            if self._judging_s:
                self._pace.judging_s.append(self._judging_s)
            self._loaded[id(self._loading)] = self._loading.record.next_process - 1
            self._look_at(self._loading)
        if doing in ("", LOADING):
            self._process_s = self._judging_s = 0.0
        self._loading = run
        self._step, self._step_since_s = doing, now_s
        self._block_end_s = None

    def block(self, run: CellRun, now_s: float) -> None:
        """A block of a cell has ended."""
        seconds = run.record.done.seconds
        if self._block_end_s is not None and seconds:
            self._pace.between_s.append(max(0.0, now_s - self._block_end_s - seconds[-1]))
        self._block_end_s = now_s
        self._look_at(run)

    def _look_at(self, run: CellRun) -> None:
        loaded = self._loaded.get(id(run))
        done, rule = run.record.so_far(), self._protocol.stopping
        self._remaining[id(run)] = remaining(done, rule, judged=loaded is not None, loaded=loaded)

    # -- what is known -----------------------------------------------------------------------------

    def left(self, now_s: float) -> Duration | None:
        """The time that the run still takes; ``None`` where nothing is left to measure."""
        cells = {key: left for key, left in self._remaining.items() if left is not None}
        cells = {key: left for key, left in cells.items() if self._runs[key].cause is None}
        if not cells:
            return None
        total = time_left(list(cells.values()), self._protocol, self._pace)
        if id(self._loading) not in cells:
            return total
        # Of the process that is being loaded, a part is behind it.
        spent_s = self._process_s + (now_s - self._step_since_s if self._step in _OF_PROCESS else 0.0)
        process = process_range(self._protocol, self._pace)
        return Duration(
            total.minimum_s - min(spent_s, process.minimum_s), total.maximum_s - min(spent_s, process.maximum_s)
        )

    def named(self, run: CellRun) -> str:
        """``cell 2/4 BACKEND WORKLOAD``."""
        return f"{self._place(run)} {run.cell.label}"

    def state_of(self, run: CellRun) -> str:
        """Cell, block, precision and label; what a narrow terminal may cut comes last."""
        done = run.record.done
        left = self._remaining.get(id(run))
        blocks = len(done) + (0 if left is None else left.blocks[0])
        parts = [self._place(run), f"block {len(done)}/{blocks}"]
        width = done.interval().relative_half_width
        if width is not None:
            parts.append(f"±{_percent(width)} % of {_percent(self._protocol.stopping.target)} %")
        return " · ".join([*parts, " ".join([run.cell.label, _figure(run)]).rstrip()])

    def ended(self, run: CellRun, status: str) -> str:
        """One line for a cell that is done or has failed."""
        self._remaining[id(run)] = None
        if status != "ok":
            return f"{self._place(run)} {status}: {run.cell.label}"
        width = run.record.done.interval().relative_half_width
        spread = "" if width is None else f" ±{_percent(width)} %"
        count = len(run.record.done)
        blocks = "1 block" if count == 1 else f"{count} blocks"
        return f"{self._place(run)} done: {run.cell.label}, {blocks}, {_figure(run)}{spread}"

    def _place(self, run: CellRun) -> str:
        return f"cell {self._places[id(run)]}/{len(self._places)}"


def _figure(run: CellRun) -> str:
    """The mean of what the stopping rule looks at, with its unit and provenance."""
    done = run.record.done
    mean = done.interval().mean
    if mean is None:
        return ""
    if not done.has_joules:
        return f"{mean:.3g} s/{run.cell.unit}"
    provenance = "simulated" if done.simulated else _provenance(run)
    return f"{mean:.3g} J/{run.cell.unit} ({provenance})"


def _provenance(run: CellRun) -> str:
    """The best that any channel of joules or watts has: block totals are of that."""
    known = {channel.provenance for channel in run.channels if channel.quantity in ("energy", "power")}
    return next((provenance for provenance in PROVENANCES if provenance in known), "unknown")


def _percent(share: float) -> str:
    """Two digits of a percentage, without the sign."""
    percent = 100 * share
    return f"{percent:.0f}" if percent >= 10 else f"{percent:.2g}"
