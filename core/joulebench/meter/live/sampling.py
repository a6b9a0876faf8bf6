"""The parent's side of the sampler: start, pause, drain, stop, and what it cost."""

from __future__ import annotations

import contextlib
import marshal
import mmap
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import IO, Final

from joulebench.api import Channel
from joulebench.errors import UnavailableError
from joulebench.meter.energy import Trace
from joulebench.meter.live import sampler as ring
from joulebench.meter.live.channels import sampling_groups

#: Records that the ring holds: about a minute and a half at the default rates and 20 channels.
CAPACITY: Final = 1 << 16
START_TIMEOUT_S: Final = 10.0
_TICK_TIMEOUT_S: Final = 0.5


@dataclass(slots=True)
class Drained:
    """What the sampler has written since the last time: columns of equal length, and the rest."""

    t_ns: list[int] = field(default_factory=list)
    channel: list[int] = field(default_factory=list)
    raw: list[int] = field(default_factory=list)
    lateness_ns: list[int] = field(default_factory=list)
    faults: list[tuple[int, int]] = field(default_factory=list)  # t_ns, channel
    slow: list[tuple[int, int, int]] = field(default_factory=list)  # t_ns, channel, ns that a read took
    lost: int = 0
    #: Channels whose readings carry their own times.
    stamped: set[int] = field(default_factory=set)

    def extend(self, later: Drained) -> None:
        """Add what was drained after this."""
        self.t_ns += later.t_ns
        self.channel += later.channel
        self.raw += later.raw
        self.lateness_ns += later.lateness_ns
        self.faults += later.faults
        self.slow += later.slow
        self.lost += later.lost
        self.stamped |= later.stamped

    def traces(self) -> dict[int, Trace]:
        """The samples as a trace for each channel."""
        times: dict[int, list[int]] = {}
        raws: dict[int, list[int]] = {}
        for t_ns, channel, raw in zip(self.t_ns, self.channel, self.raw, strict=True):
            times.setdefault(channel, []).append(t_ns)
            raws.setdefault(channel, []).append(raw)
        return {channel: Trace(times[channel], raws[channel], channel in self.stamped) for channel in times}


@dataclass(slots=True)
class ObserverTax:
    """What the sampler itself cost and how well it kept time.

    ``cpu_s`` is ``None`` where the system does not tell; of a sampler that died it is what was
    last seen.
    """

    cpu_s: float | None = None
    wall_s: float = 0.0
    ticks: int = 0
    missed: int = 0
    #: Of the missed ticks, those that a stopped sampler did not count itself.
    silent: int = 0
    lateness_ns: list[int] = field(default_factory=list)

    def add(self, other: ObserverTax) -> None:
        """Add another process's."""
        if other.cpu_s is not None:
            self.cpu_s = (self.cpu_s or 0.0) + other.cpu_s
        self.wall_s += other.wall_s
        self.ticks += other.ticks
        self.missed += other.missed
        self.silent += other.silent
        self.lateness_ns += other.lateness_ns

    def since(self, before: ObserverTax) -> ObserverTax:
        """What has come since an earlier look at the same process."""
        known = self.cpu_s is not None and before.cpu_s is not None
        return ObserverTax(
            (self.cpu_s or 0.0) - (before.cpu_s or 0.0) if known else None,
            self.wall_s - before.wall_s,
            self.ticks - before.ticks,
            self.missed - before.missed,
            self.silent - before.silent,
            self.lateness_ns[len(before.lateness_ns) :],
        )

    def late_p99_s(self) -> float | None:
        """99th percentile of the lateness, in seconds."""
        if not self.lateness_ns:
            return None
        ordered = sorted(self.lateness_ns)
        return ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))] * 1e-9

    def rate_hz(self) -> float | None:
        """Ticks a second that were achieved."""
        return self.ticks / self.wall_s if self.wall_s > 0 else None


def process_cpu_ns(pid: int) -> int | None:
    """CPU time of a whole process, in ns, by its Linux CPU clock (kernel: posix-cpu-timers)."""
    try:
        return time.clock_gettime_ns(((~pid) << 3) | 2)
    except OSError:
        return None


class Sampler:
    """A running sampler process and its ring. Use as a context manager.

    It reads the channels with the indices ``only``, or all. ``patient`` lets slow readers go on.
    """

    def __init__(
        self,
        channels: Sequence[Channel],
        pid: int | None,
        capacity: int = CAPACITY,
        *,
        only: Collection[int] | None = None,
        patient: bool = False,
    ) -> None:
        self._capacity = capacity
        handle = _ring_memory(ring.HEADER_BYTES + capacity * ring.RECORD.size)
        self._memory = mmap.mmap(handle, 0)
        ring.WORD.pack_into(self._memory, ring.OFFSET_CAPACITY, capacity)
        self._tail = 0
        self._tax = ObserverTax()
        self._running_since_ns: int | None = None
        #: Ticks that the sampler was silent for and will not count itself, and its own count then.
        self._silent_ticks = 0
        self._missed_at_pause = 0
        groups = sampling_groups(channels, pid, only)
        self._period_ns: int = min((group["period_ns"] for group in groups), default=0)
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115  lives as long as the process
        self._process = _start(handle, groups, self._errors, patient=patient)
        try:
            self._await_ready()
        finally:
            os.close(handle)  # both sides have it mapped
        self._running_since_ns = time.perf_counter_ns()

    def _await_ready(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while self._word(ring.OFFSET_READY) == 0:
            if self._process.poll() is not None or time.monotonic() > deadline:
                self._process.kill()
                self._errors.seek(0)
                lines = self._errors.read().strip().splitlines() or ["no message"]
                raise UnavailableError(f"the sampler process did not start: {lines[-1]}")
            time.sleep(0.002)

    def _word(self, offset: int) -> int:
        value: int = ring.WORD.unpack_from(self._memory, offset)[0]
        return value

    @property
    def pid(self) -> int:
        """Process id of the sampler."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the sampler process still runs."""
        return self._process.poll() is None

    def pause(self) -> None:
        """Let it rest, from its next tick on, while another cell is measured."""
        if self.alive and self._running_since_ns is not None:
            ring.WORD.pack_into(self._memory, ring.OFFSET_CONTROL, ring.PAUSE)
            self._silent_ticks = self._ticks_of_silence()
            self._missed_at_pause = self._word(ring.OFFSET_MISSED)
            self._count_running_time()

    def resume(self) -> None:
        """Let a paused sampler go on; the pause counts no missed tick."""
        if self.alive and self._running_since_ns is None:
            self._settle_silence()
            epoch = self._word(ring.OFFSET_EPOCH) + 1
            ring.WORD.pack_into(self._memory, ring.OFFSET_EPOCH, epoch)
            self._tell(ring.RUN)
            self._running_since_ns = time.perf_counter_ns()

    def _tell(self, control: int) -> None:
        ring.WORD.pack_into(self._memory, ring.OFFSET_CONTROL, control)
        assert self._process.stdin is not None  # noqa: S101
        with contextlib.suppress(OSError):  # it may have died meanwhile
            self._process.stdin.write(b"\n")  # any byte wakes a paused one
            self._process.stdin.flush()

    def _ticks_of_silence(self) -> int:
        """Ticks since the last that was served: of a sampler that somebody has stopped, many."""
        now_ns = time.perf_counter_ns()
        if self._running_since_ns is None or not self._period_ns:
            return 0
        last_ns = max(self._word(ring.OFFSET_SERVED), self._running_since_ns)
        return max(0, (now_ns - last_ns) // self._period_ns - 1)

    def _settle_silence(self) -> None:
        """Count the silence before a pause, but for what the sampler has counted since.

        It drops the deadlines before a pause when it goes on, so one that was stopped until then
        says nothing of them.
        """
        self._tax.silent += max(0, self._silent_ticks - (self._word(ring.OFFSET_MISSED) - self._missed_at_pause))
        self._silent_ticks = 0

    def _count_running_time(self) -> None:
        if self._running_since_ns is not None:
            self._tax.wall_s += (time.perf_counter_ns() - self._running_since_ns) * 1e-9
            self._running_since_ns = None

    def await_tick(self) -> None:
        """Wait until every source has been read once more, if the sampler lives to do it."""
        before = self._word(ring.OFFSET_ROUNDS)
        deadline = time.monotonic() + _TICK_TIMEOUT_S
        while self._word(ring.OFFSET_ROUNDS) == before and time.monotonic() < deadline:
            if not self.alive:
                return
            time.sleep(0.0005)

    def drain(self) -> Drained:
        """Take what has been written since the last call."""
        head = self._word(ring.OFFSET_HEAD)
        result = Drained()
        if head - self._tail > self._capacity:
            result.lost = head - self._tail - self._capacity
            self._tail = head - self._capacity
        records = self._records(head)
        # What was overwritten while it was being copied is lost as well.
        torn = self._word(ring.OFFSET_HEAD) - self._tail - self._capacity
        if torn > 0:
            result.lost += min(torn, len(records))
            records = records[torn:]
        for t_ns, raw, channel, kind in records:
            if kind in (ring.KIND_SAMPLE, ring.KIND_STAMPED):
                result.t_ns.append(t_ns)
                result.channel.append(channel)
                result.raw.append(raw)
                if kind == ring.KIND_STAMPED:
                    result.stamped.add(channel)
            elif kind == ring.KIND_LATENESS:
                result.lateness_ns.append(raw)
            elif kind == ring.KIND_SLOW:
                result.slow.append((t_ns, channel, raw))
            else:
                result.faults.append((t_ns, channel))
        self._tail = head
        self._tax.lateness_ns.extend(result.lateness_ns)
        self.cpu_s()
        return result

    def _records(self, head: int) -> list[tuple[int, int, int, int]]:
        size = ring.RECORD.size
        first, last = self._tail % self._capacity, head % self._capacity
        base = ring.HEADER_BYTES
        if self._tail == head:
            return []
        if first < last:
            spans = [self._memory[base + first * size : base + last * size]]
        else:
            spans = [
                self._memory[base + first * size : base + self._capacity * size],
                self._memory[base : base + last * size],
            ]
        return [record for span in spans for record in ring.RECORD.iter_unpack(span)]

    def cpu_s(self) -> float | None:
        """Its CPU time so far; of a sampler that died, what was last seen."""
        cpu_ns = process_cpu_ns(self._process.pid) if self.alive else None
        if cpu_ns is not None:
            self._tax.cpu_s = cpu_ns * 1e-9
        return self._tax.cpu_s

    def tax(self) -> ObserverTax:
        """What it has cost so far."""
        self.cpu_s()
        self._tax.ticks = self._word(ring.OFFSET_TICKS)
        self._tax.missed = self._word(ring.OFFSET_MISSED) + self._tax.silent
        if self._running_since_ns is not None:
            self._count_running_time()
            self._running_since_ns = time.perf_counter_ns()
        return self._tax

    def stop(self) -> None:
        """End the process; what it wrote can still be drained."""
        if self.alive:
            self.tax()
            self._silent_ticks += self._ticks_of_silence()
            self._missed_at_pause = self._word(ring.OFFSET_MISSED)
            self._tell(ring.STOP)
            self._process.send_signal(signal.SIGCONT)  # somebody else may have stopped it
            try:
                self._process.wait(timeout=1.0)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._settle_silence()
            self._tax.missed = self._word(ring.OFFSET_MISSED) + self._tax.silent
        self._count_running_time()
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()

    def __enter__(self) -> Sampler:
        return self

    def __exit__(self, *_error: object) -> None:
        self.stop()


def _ring_memory(size: int) -> int:
    """A descriptor of shared memory without a name, so that a killed run leaves nothing behind.

    All of it is allocated now: of memory that is promised only, a full machine would take the
    process by SIGBUS.
    """
    try:
        handle = os.memfd_create("joulebench-ring", os.MFD_CLOEXEC)
        os.posix_fallocate(handle, 0, size)
    except OSError as error:
        raise UnavailableError(f"no memory for the sampler: {error.strerror}") from None
    return handle


def _start(
    ring_handle: int, groups: list[ring.GroupSpec], errors: IO[str], *, patient: bool
) -> subprocess.Popen[bytes]:
    needs_modules = any("factory" in source for group in groups for source in group["sources"])
    job = {
        "ring": f"/proc/self/fd/{ring_handle}",
        "groups": groups,
        "patient": patient,
        # Named here: a parent that is killed before the sampler runs would not be missed by it.
        "parent": os.getpid(),
        # Only a reader module needs the site's packages; files are read without any.
        "sys_path": [entry for entry in sys.path if entry] if needs_modules else [],
    }
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", ring.__file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=errors,
        pass_fds=(ring_handle,),
        process_group=0,
    )
    assert process.stdin is not None  # noqa: S101
    with contextlib.suppress(OSError):  # one that died at once is found by _await_ready
        process.stdin.write(marshal.dumps(job))
        process.stdin.flush()
    return process
