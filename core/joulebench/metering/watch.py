"""The sampler beside a meter: the ticks of its counters and gauges, kept for the windows that are open.

Counters are read at a window's edges; what they did in between and just before tells whether they
wrapped, stood still or came back, how often they change, and the power at the edges. A power gauge with
no counter of its domain is sampled alone: then a window waits for a sample before it begins and after it
ends, outside of its own time.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
import weakref
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from joulebench.api import Channel
from joulebench.errors import UnavailableError
from joulebench.meter.energy import Trace
from joulebench.meter.live.channels import of_machine
from joulebench.meter.live.sampling import Drained, ObserverTax, Sampler

#: Longest wait for a gauge's sample beside a window, beyond its own period.
_SAMPLE_TIMEOUT_S: Final = 1.0
#: How far back before a window its ticks are kept, in s and in update periods.
_BEFORE_S: Final = 1.0
_BEFORE_PERIODS: Final = 8
#: The ring holds minutes; it is emptied so often where windows are long, in s.
_EMPTIED_EVERY_S: Final = 20.0
#: With no window for so long the sampler rests, in s.
_REST_AFTER_S: Final = 60.0

_clock_ns = time.perf_counter_ns


class Watch:
    """A sampler of some channels, by their index, and what it has read.

    ``open_since`` gives the starts of the windows that are open, in ns.
    """

    def __init__(self, sampled: Mapping[int, Channel], open_since: Callable[[], Sequence[int]]) -> None:
        self._indices = list(sampled)
        self.gauges = [index for index, channel in sampled.items() if channel.kind == "gauge"]
        #: What needs a reading before a window begins: these, and counters that nobody else reads.
        held = [index for index, channel in sampled.items() if channel.kind == "counter" and of_machine(channel)]
        self.awaited = [*self.gauges, *held]
        #: What no second process may read.
        self.owned = frozenset(index for index, channel in sampled.items() if of_machine(channel))
        self._stamped: set[int] = set()
        self._awaited_period_s = max((1.0 / sampled[index].rate_hz for index in self.awaited), default=0.0)
        slowest_s = max((channel.update_period_s or 0.0 for channel in sampled.values()), default=0.0)
        self._before_ns = int(max(_BEFORE_S, _BEFORE_PERIODS * slowest_s) * 1e9)
        self._open_since = open_since
        self._store: dict[int, tuple[array[int], array[int]]] = {}
        self._lock = threading.Lock()
        self._gauging = 0
        self._used_ns = _clock_ns()
        #: Whether the sampler rests, since no window was open for a while.
        self.resting = False
        self._closed = threading.Event()
        self._sampler = self._start(list(sampled.values()))
        if self._sampler is not None and not self.gauges:
            keeper = threading.Thread(target=_keep, args=(weakref.ref(self), self._closed), daemon=True)
            keeper.start()

    def _start(self, channels: Sequence[Channel]) -> Sampler | None:
        try:
            sampler = Sampler(channels, os.getpid())
        except (UnavailableError, OSError):
            return None
        if self.gauges:
            sampler.pause()
        elif self.awaited:
            sampler.await_tick()
        return sampler

    @property
    def alive(self) -> bool:
        """Whether the sampler runs."""
        return self._sampler is not None and self._sampler.alive

    @property
    def pid(self) -> int | None:
        """The sampler's process id; ``None`` where it did not start."""
        return None if self._sampler is None else self._sampler.pid

    def wake(self) -> None:
        """Let a resting sampler go on."""
        with self._lock:
            if self.resting and self._sampler is not None:
                self._sampler.resume()
                self._sampler.await_tick()
            self.resting = False

    def begin_gauges(self) -> None:
        """Let the sampler run and wait for a sample of each gauge."""
        with self._lock:
            self._gauging += 1
            if self._sampler is not None:
                self._sampler.resume()
                self._await_samples(self.awaited, _clock_ns())

    def collect(self, start_ns: int, end_ns: int) -> tuple[dict[int, Trace], bool]:
        """Readings in and just before a window that has ended, by channel, and whether they are lost."""
        if self._sampler is None:
            return {}, True
        with self._lock:
            self._used_ns = end_ns
            if self.gauges:
                self._await_samples(self.gauges, end_ns)
                self._gauging -= 1
                if self._gauging == 0:
                    self._sampler.pause()
            else:
                self._drain()
            traces = {index: self._cut(index, start_ns - self._before_ns, end_ns) for index in self._store}
            self._forget()
        return traces, not self._sampler.alive

    def empty(self) -> None:
        """Empty the ring while windows are open; let the sampler rest where none was for a while."""
        with self._lock:
            if self._sampler is None or self.resting:
                return
            self._drain()
            self._forget()
            now = _clock_ns()
            if self._open_since():
                self._used_ns = now
            elif (now - self._used_ns) * 1e-9 > _REST_AFTER_S:
                self._sampler.pause()
                self.resting = True

    def close(self, *, kill: bool = True) -> None:
        """End the sampler, but for one that belongs to a parent process."""
        self._closed.set()
        if self._sampler is not None and kill:
            # It may sleep until its next tick, and nothing of it is needed any more.
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._sampler.pid, signal.SIGKILL)
            self._sampler.stop()
        self._sampler = None

    def _await_samples(self, indices: Sequence[int], after_ns: int) -> None:
        """Drain until every one of these has a sample not before ``after_ns``, or it takes too long."""
        deadline = time.monotonic() + 2 * self._awaited_period_s + _SAMPLE_TIMEOUT_S
        while time.monotonic() < deadline:
            alive = self.alive
            self._drain()
            stores = [self._store.get(index) for index in indices]
            if all(store is not None and store[0][-1] >= after_ns for store in stores):
                return
            if not alive:
                return
            time.sleep(self._awaited_period_s / 20)

    def _drain(self) -> None:
        assert self._sampler is not None  # noqa: S101
        fresh = self._sampler.drain()
        self._stamped.update(self._indices[place] for place in fresh.stamped)
        for t_ns, place, raw in zip(fresh.t_ns, fresh.channel, fresh.raw, strict=True):
            times, raws = self._store.setdefault(self._indices[place], (array("q"), array("q")))
            times.append(t_ns)
            raws.append(raw)

    def _cut(self, index: int, start_ns: int, end_ns: int) -> Trace:
        """A channel's readings that bracket a stretch of time."""
        times, raws = self._store[index]
        first = max(bisect_right(times, start_ns) - 1, 0)
        last = bisect_left(times, end_ns) + 1
        return Trace(times[first:last], raws[first:last], index in self._stamped)

    def _forget(self) -> None:
        """Drop readings from well before the oldest window that is still open."""
        oldest = min(self._open_since(), default=_clock_ns()) - self._before_ns
        for times, raws in self._store.values():
            old = bisect_left(times, oldest) - 1
            if old > 0:
                del times[:old], raws[:old]


def _keep(watch: weakref.ref[Watch], closed: threading.Event) -> None:
    while not closed.wait(_EMPTIED_EVERY_S):
        kept = watch()
        if kept is None:
            return
        kept.empty()
        del kept


class LentWatch:
    """A watch's readings of what no second process may read, for another sampler beside it."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self.indices = watch.owned
        self._from_ns = 0
        self._drained = Drained()

    @property
    def alive(self) -> bool:
        """Whether the watch's sampler runs."""
        return self._watch.alive

    def resume(self) -> None:
        """Begin as a window does."""
        if self._watch.gauges:
            self._watch.begin_gauges()
        elif self._watch.resting:
            self._watch.wake()
        self._from_ns = _clock_ns()

    def pause(self) -> None:
        """End as a window does."""
        traces, _ = self._watch.collect(self._from_ns, _clock_ns())
        for index in self.indices & traces.keys():
            trace = traces[index]
            self._drained.t_ns += trace.t_ns
            self._drained.raw += trace.raw
            self._drained.channel += [index] * len(trace.raw)
            self._drained.stamped |= {index} if trace.stamped else set()

    def drain(self) -> Drained:
        """What has been read, once it has ended."""
        drained, self._drained = self._drained, Drained()
        return drained

    def tax(self) -> ObserverTax:
        """Nothing: the watch would have run anyway."""
        return ObserverTax()

    def cpu_s(self) -> float:
        """Nothing."""
        return 0.0
