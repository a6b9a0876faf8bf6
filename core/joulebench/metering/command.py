"""Measures one command from its start to its end; its input, output and signals pass through."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from types import FrameType
from typing import Final

from joulebench.errors import JoulebenchError
from joulebench.meter.live.edges import EdgeReader
from joulebench.meter.live.sampling import process_cpu_ns
from joulebench.metering.figures import EnergyFigure, Measurement
from joulebench.metering.meter import Meter
from joulebench.metering.sensing import Edge
from joulebench.metering.window import RSS_UNIT, Window, cpu_seconds
from joulebench.sensors.load import MachineLoad

NOT_FOUND: Final = 127
NOT_EXECUTABLE: Final = 126
#: What a shell adds to the number of the signal that ended a command.
_SIGNAL_BASE: Final = 128
#: Others' CPU time above this share of a core makes a window ``contended``; /proc/stat counts in
#: ticks, whose rounding at both ends is no load.
_CONTENDED_SHARE: Final = 0.05
_TICKS: Final = 2
#: A command whose descendants used more than this share of its CPU time (and a tick's worth) has
#: done its work in them.
_CHILDREN_SHARE: Final = 0.05
_CHILDREN_S: Final = 0.01


class CommandError(JoulebenchError):
    """A command that cannot be started; the exit code is a shell's."""

    def __init__(self, what: str, exit_code: int, hint: str | None = None) -> None:
        super().__init__(what, hint=hint)
        self.exit_code = exit_code


@dataclass(frozen=True, slots=True)
class CommandRun:
    """What one run of a command came to. ``exit_code`` is as a shell gives it."""

    measurement: Measurement
    exit_code: int


def run_command(command: Sequence[str], meter: Meter) -> CommandRun:
    """Run a command and measure it from before its start until it has ended.

    Counters of the process (an estimate by CPU time) are read without a process before it starts,
    which is where they stand for one that has used nothing yet, and by its id when it has ended.
    """
    load = MachineLoad()
    channels = [meter.channels[index] for index in meter.of_process()]
    unborn = EdgeReader(channels, None)
    busy_before, own_before = load.busy_s(), time.process_time()
    with _passing_signals() as forwarding, meter.measure() as window:
        start: Edge = (time.perf_counter_ns(), unborn.read())
        process = _start(command)
        forwarding.to(process.pid)
        edges = EdgeReader(channels, process.pid)
        # The ended process is left unreaped, so that its CPU clock can still be read.
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        end: Edge = (time.perf_counter_ns(), edges.read())
        forwarding.to(None)
    busy_after, own_after = load.busy_s(), time.process_time()
    unborn.close()
    edges.close()
    lone_cpu_ns = process_cpu_ns(process.pid)
    _, status, usage = os.wait4(process.pid, 0)
    code = os.waitstatus_to_exitcode(status)
    process.returncode = code  # subprocess need not wait for it any more
    cpu_s = cpu_seconds(usage)
    energy = _energy(window, meter, (start, end), _children_s(cpu_s, lone_cpu_ns))
    flags = list(window.result.flags)
    if busy_before is not None and busy_after is not None:
        others_s = busy_after - busy_before - (own_after - own_before) - cpu_s
        rounding_s = _TICKS / os.sysconf("SC_CLK_TCK")
        if others_s > _CONTENDED_SHARE * window.seconds + rounding_s:
            flags.append("contended")
    # A new program inherits as its first "peak" the memory of the process that started it (Linux,
    # exec_mmap: setmax_mm_hiwater_rss), so a peak no higher than our own says only "at most".
    peak, own_peak = usage.ru_maxrss, window.result.peak_rss_bound_bytes // RSS_UNIT
    result = replace(
        window.result,
        cpu_s=cpu_s,
        children_cpu_s=0.0,
        peak_rss_bytes=peak * RSS_UNIT if peak > own_peak else None,
        peak_rss_bound_bytes=peak * RSS_UNIT,
        energy=energy,
        flags=tuple(flags),
    )
    return CommandRun(result, code if code >= 0 else _SIGNAL_BASE - code)


def _children_s(cpu_s: float, lone_cpu_ns: int | None) -> float | None:
    """CPU time of the command's descendants, where it is worth a word."""
    if lone_cpu_ns is None:
        return None
    children_s = cpu_s - lone_cpu_ns * 1e-9
    worth = children_s > max(_CHILDREN_SHARE * cpu_s, _CHILDREN_S)
    return children_s if worth else None


def _energy(
    window: Window, meter: Meter, edges: tuple[Edge, Edge], children_s: float | None
) -> tuple[EnergyFigure, ...]:
    """Machine counters from the window, those of the process from its own edges."""
    own = meter.of_process()
    own_names = {meter.channels[index].path for index in own}
    machine = [figure for figure in window.figures() if figure.name not in own_names]
    figures = list(meter.figures(*edges, {}, meter.idle, own))
    if children_s is not None:
        figures = [
            replace(
                figure,
                gross=replace(figure.gross, flags=(*figure.gross.flags, "children_not_counted")),
                note=f"{figure.note}; without {children_s:.3g} s of CPU time of its children",
            )
            for figure in figures
        ]
    return (*machine, *figures)


def _start(command: Sequence[str]) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(list(command))
    except FileNotFoundError:
        raise CommandError(f"command not found: {command[0]}", NOT_FOUND, "check its name and PATH") from None
    except OSError as error:
        raise CommandError(
            f"cannot run {command[0]}: {error.strerror}", NOT_EXECUTABLE, "is it an executable?"
        ) from None
    except ValueError as error:  # a zero byte in an argument
        raise CommandError(f"cannot run {command[0]!r}: {error}", NOT_EXECUTABLE) from None


class _Forwarding:
    """Passes signals on to a command; one that comes before the command is known waits for it."""

    def __init__(self) -> None:
        self._pid: int | None = None
        self._waiting: list[int] = []

    def pass_on(self, number: int, _frame: FrameType | None) -> None:
        """The handler."""
        self._waiting.append(number)
        self._deliver()

    def to(self, pid: int | None) -> None:
        """The command's process id, or none once it has ended (the id may become another's)."""
        self._pid = pid
        self._deliver()

    def _deliver(self) -> None:
        while self._pid is not None and self._waiting:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, self._waiting.pop())


@contextlib.contextmanager
def _passing_signals() -> Iterator[_Forwarding]:
    """Outlive the command: the terminal's signals reach it by itself, others are passed on.

    A handler (rather than ignoring) because what a process ignores, its command ignores too. What
    is ignored already (nohup) stays so.
    """
    forwarding = _Forwarding()

    def leave_it(_number: int, _frame: FrameType | None) -> None:
        return

    handlers = {
        signal.SIGINT: leave_it,
        signal.SIGQUIT: leave_it,
        signal.SIGTERM: forwarding.pass_on,
        signal.SIGHUP: forwarding.pass_on,
    }
    before = {
        number: signal.signal(number, handler)
        for number, handler in handlers.items()
        if signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        yield forwarding
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
