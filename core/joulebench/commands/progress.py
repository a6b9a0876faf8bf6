"""How a run goes on, on standard error: a live line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, TextIO

from joulebench.commands.common import duration_text, range_text

if TYPE_CHECKING:
    from joulebench.profile.measurement import MeasurementProtocol
    from joulebench.runs.cell import CellRun
    from joulebench.runs.outlook import Outlook

#: Seconds between two signs of life in a long step, on a terminal and elsewhere.
LIVE_BEAT_S: Final = 1.0
PLAIN_BEAT_S: Final = 30.0
#: A step that is shorter shows no seconds.
_SHORT_STEP_S: Final = 2.0
_CLEAR: Final = "\r\x1b[K"
#: What a terminal without Unicode shows instead.
_ASCII: Final = str.maketrans({"±": "+-", "–": "-", "…": "...", "·": "-", "→": "->", "×": "x"})


class Heartbeat:
    """Calls ``beat`` every so many seconds while it is let; a thread that sleeps otherwise.

    While something is measured it does not even wake up: its work would be in the joules.
    """

    def __init__(self, beat: Callable[[], None], period_s: float) -> None:
        self._beat = beat
        self._period_s = period_s
        self._beating = threading.Event()
        self._ended = threading.Event()
        threading.Thread(target=self._run, name="joulebench-progress", daemon=True).start()

    def start(self) -> None:
        """Beat from now on."""
        self._beating.set()

    def stop(self) -> None:
        """Be still until the next start."""
        self._beating.clear()

    def end(self) -> None:
        """Never beat again."""
        self._beating.clear()
        self._ended.set()
        self._beating.set()

    def _run(self) -> None:
        while self._beating.wait():
            if self._ended.wait(self._period_s):
                return
            if self._beating.is_set():
                self._beat()


class ProgressDisplay:
    """Shows a run: what is done now and for how long, cell and block, and a range of the time left.

    ``clock`` and ``stream`` are time and terminal; ``heartbeat`` is off where time is virtual.
    """

    def __init__(
        self,
        *,
        quiet: bool = False,
        clock: Callable[[], float] = time.monotonic,
        stream: TextIO | None = None,
        heartbeat: bool = True,
    ) -> None:
        self._quiet = quiet
        self._clock = clock
        self._stream = sys.stderr if stream is None else stream
        self._live = self._stream.isatty() and not quiet
        self._lock = threading.RLock()
        self._start_s = clock()
        self._doing = ""
        self._since_s = self._start_s
        self._shown_s = self._start_s
        self._outlook: Outlook | None = None
        beats = heartbeat and not quiet
        self._heart = Heartbeat(self.beat, LIVE_BEAT_S if self._live else PLAIN_BEAT_S) if beats else None

    # -- what a run tells ------------------------------------------------------------------------

    def say(self, text: str) -> None:
        """Something has begun that may take long."""
        with self._lock:
            self._print(text)
            self._begin(text)

    def note(self, text: str) -> None:
        """A line of news; what is under way goes on."""
        with self._lock:
            self._print(text)

    def cells(self, runs: Sequence[CellRun], protocol: MeasurementProtocol) -> None:
        """The cells that will be measured."""
        with self._lock:
            from joulebench.runs.outlook import Outlook

            self._outlook = Outlook(runs, protocol)

    def step(self, run: CellRun, doing: str) -> None:
        """Something before the blocks of a cell has begun."""
        with self._lock:
            if self._outlook is not None:
                self._outlook.step(run, doing, self._clock())
            self._begin(f"{self._named(run)}: {doing}")
            if self._live:
                self._draw()
            elif doing == "loading":
                self._print(f"{self._doing} (process {run.record.next_process + 1})")

    def measuring(self, doing: str) -> None:
        """From now on the machine is measured: nothing but the measurement is to run on it."""
        with self._lock:
            self._begin(doing)
            if self._heart is not None:
                self._heart.stop()
            if self._outlook is not None:
                self._outlook.step(None, "", self._clock())
            if self._live:
                self._draw()

    def block(self, run: CellRun) -> None:
        """A block has been measured."""
        with self._lock:
            if self._outlook is None:
                return
            self._outlook.block(run, self._clock())
            self._doing = self._outlook.state_of(run)
            self._since_s = self._clock()
            if self._live:
                self._draw()
            elif self._clock() - self._shown_s >= PLAIN_BEAT_S:
                self._print(self._doing + self._left())

    def done(self, run: CellRun, status: str) -> None:
        """A cell is measured, or has failed."""
        with self._lock:
            if self._outlook is not None:
                self._print(self._outlook.ended(run, status))

    def beat(self) -> None:
        """A sign of life in a long step."""
        with self._lock:
            if self._live:
                self._draw()
            elif self._clock() - self._shown_s >= PLAIN_BEAT_S:
                self._print(self._doing + self._elapsed() + self._left())

    def end(self) -> None:
        """Leave the terminal tidy."""
        with self._lock:
            if self._heart is not None:
                self._heart.end()
                self._heart = None
            self._clear()

    # -- writing ---------------------------------------------------------------------------------

    def _begin(self, doing: str) -> None:
        self._doing = doing
        self._since_s = self._clock()
        if self._heart is not None:
            self._heart.start()

    def _named(self, run: CellRun) -> str:
        return run.cell.label if self._outlook is None else self._outlook.named(run)

    def _elapsed(self) -> str:
        spent_s = self._clock() - self._since_s
        return "" if spent_s < _SHORT_STEP_S else f" ({duration_text(spent_s)})"

    def _left(self) -> str:
        left = None if self._outlook is None else self._outlook.left(self._clock())
        return "" if left is None else f" · {range_text(left.minimum_s, left.maximum_s)} left"

    def _print(self, text: str) -> None:
        if self._quiet:
            return
        self._clear()
        self._shown_s = self._clock()
        self._write(f"[{self._clock() - self._start_s:6.1f} s] {text}\n")

    def _draw(self) -> None:
        """The live line: what is done, for how long, and how long all still takes."""
        tail = self._elapsed() + self._left()
        room = max(20, self._columns() - 1)
        head = self._doing if len(self._doing) + len(tail) <= room else self._shortened(room - len(tail))
        self._shown_s = self._clock()
        self._write(_CLEAR + f"{head}{tail}"[:room])

    def _shortened(self, room: int) -> str:
        return self._doing[: max(0, room - 1)] + "…"

    def _columns(self) -> int:
        try:
            return os.get_terminal_size(self._stream.fileno()).columns or 80
        except (OSError, ValueError, AttributeError):
            return 80

    def _clear(self) -> None:
        if self._live:
            self._write(_CLEAR)

    def _write(self, text: str) -> None:
        encoding = (getattr(self._stream, "encoding", None) or "utf-8").lower()
        # A terminal that is gone is no reason to stop measuring.
        with contextlib.suppress(OSError):
            self._stream.write(text if encoding.startswith("utf") else text.translate(_ASCII))
            self._stream.flush()
