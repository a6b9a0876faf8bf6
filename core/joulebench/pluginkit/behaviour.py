"""In the child: whether figures are what they are called, and whether anything is left behind.

Bounds are wide on purpose: they find a wrong unit (a thousand, a million), not a poor sensor.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from joulebench.api import Backend, BackendSession, Channel, Probe, ReaderSource
from joulebench.processes import resident_bytes
from joulebench.testing.contracts import BrokenContractError, Subject
from joulebench.testing.contracts.backend import opened
from joulebench.testing.contracts.base import expect, not_here
from joulebench.testing.contracts.probe import fell

Checks = Iterator[tuple[str, Callable[[], Mapping[str, Any]]]]

#: How long a probe's channels are watched: idle, then with one core busy, in seconds.
IDLE_S: Final = 0.8
BUSY_S: Final = 1.7
_LOOK_S: Final = 0.02
#: Least power of anything that a busy core is part of: a small core of a phone takes about so much.
LEAST_W: Final = 0.05
#: Most power of a core and what belongs to it, of the rest of a machine, and of each accelerator.
MOST_W_PER_CORE: Final = 40.0
MOST_W_BESIDE: Final = 300.0
MOST_W_PER_ACCELERATOR: Final = 1500.0
#: Plausible figures of the other quantities, in their units.
BOUNDS: Final[Mapping[str, tuple[float, float]]] = {
    "temperature": (-60.0, 150.0),
    "frequency": (1e6, 2e10),
    "utilization": (0.0, 1.05),
    "memory": (0.0, 2.0**46),
}
#: Rounds of requests, and what the resident memory may grow by in each third of them, in bytes.
_ROUNDS: Final = 12
_GROWTH_BYTES: Final = 2 * 2**20
_READS: Final = 3000
#: A source may block for this share of the time between two of its samples.
_BLOCKING_SHARE: Final = 0.5
_TIMED_READS: Final = 5


def checks_of(kind: str, subject: Subject[Any]) -> Checks:
    """What of a kind is checked beyond its contract."""
    if kind == "probe":
        yield "its energy counters change", lambda: _changes(subject)
        yield "its counters go forward while work is done", lambda: _forward(subject)
        yield "its figures are of the right order", lambda: _order(subject)
        yield "reading it takes little of the time between samples", lambda: _blocking(subject)
        yield "reading it leaves nothing behind", lambda: _reading(subject)
    if kind == "backend":
        yield "requests leave nothing behind", lambda: _requests(subject)


# -- probes ---------------------------------------------------------------------------------------


@dataclass
class Watched:
    """One channel's raw values, with times in ns and the CPU time of this process in s."""

    channel: Channel
    t_ns: list[int] = field(default_factory=list)
    raw: list[int] = field(default_factory=list)

    @property
    def values(self) -> list[float]:
        """In the channel's unit."""
        return [value * self.channel.scale for value in self.raw]


def _watch(subject: Subject[Probe]) -> list[Watched]:
    return _watched(subject.plugin, tuple(sorted(subject.complete_settings().items())))


def _present_channels(probe: Probe, settings: Mapping[str, Any]) -> Sequence[Channel]:
    """The channels; a skip where the sensor is not here."""
    availability = probe.inspect(settings)
    if not availability.ok:
        not_here(f"it cannot be read here: {availability.reason}")
    return probe.channels(settings)


@cache
def _watched(probe: Probe, settings_items: tuple[tuple[str, Any], ...]) -> list[Watched]:
    """All channels, read while this process is idle and then busy on one core."""
    from joulebench.meter.live.channels import source_spec
    from joulebench.meter.live.sampler import edge_reader

    channels = [Watched(channel) for channel in _present_channels(probe, dict(settings_items))]
    read = edge_reader([source_spec(n, watched.channel.source, os.getpid()) for n, watched in enumerate(channels)])

    def look() -> None:
        now = time.perf_counter_ns()
        for watched, raw in zip(channels, read(), strict=True):
            if raw is not None:
                watched.t_ns.append(now)
                watched.raw.append(raw)

    end = time.monotonic() + IDLE_S
    while time.monotonic() < end:
        look()
        time.sleep(_LOOK_S)
    end = time.monotonic() + BUSY_S
    while time.monotonic() < end:
        look()
        _work(time.monotonic() + _LOOK_S)
    look()
    return channels


def _work(until: float) -> None:
    while time.monotonic() < until:
        sum(range(1000))


def _changes(subject: Subject[Probe]) -> Mapping[str, Any]:
    counters = [
        watched
        for watched in _watch(subject)
        if watched.channel.kind == "counter" and watched.channel.quantity == "energy"
    ]
    if not counters:
        not_here("it has no counter of energy")
    for counter in counters:
        expect(
            len(set(counter.raw)) > 1,
            f"{counter.channel.path} stayed at {counter.raw[:1]} for {IDLE_S + BUSY_S:g} s, a core busy",
            "read the sensor anew each time: the energy of a frozen counter is withheld",
        )
    return {"watched": len(counters)}


def _forward(subject: Subject[Probe]) -> Mapping[str, Any]:
    counters = [watched for watched in _watch(subject) if watched.channel.kind == "counter"]
    if not counters:
        not_here("it has no counter")
    for counter in counters:
        for before, after in pairwise(counter.raw):
            expect(
                not fell(counter.channel, before, after),
                f"the counter {counter.channel.path} went from {before} back to {after}",
                "a counter only grows; state wraps_at where it starts again, or call it a gauge",
            )
    return {"watched": len(counters)}


def _order(subject: Subject[Probe]) -> Mapping[str, Any]:
    last_raw: dict[str, float] = {}
    for watched in _watch(subject):
        if len(watched.raw) < 2:
            continue
        channel, figure = watched.channel, _figure(watched)
        frozen = channel.kind == "counter" and len(set(watched.raw)) == 1
        if figure is None or frozen:  # of a frozen one another check tells
            continue
        least, most = _bounds(channel)
        last_raw[channel.path] = figure
        expect(
            least <= figure <= most,
            f"{channel.path} shows {figure:.4g} {_unit(channel)}, which lies outside of {least:.3g} to {most:.3g}",
            f"check the scale: raw count × scale must be in {channel.unit} (a factor of 1,000 is "
            "milli, of 1,000,000 micro)",
        )
    if not last_raw:
        not_here("it has no quantity with known bounds")
    return {"figures": last_raw}


def _figure(watched: Watched) -> float | None:
    """The mean power of energy and power, the rate of CPU time, the mean of gauges; in its unit."""
    channel, values = watched.channel, watched.values
    seconds = (watched.t_ns[-1] - watched.t_ns[0]) * 1e-9
    if channel.kind == "counter":
        if channel.quantity not in ("energy", "cpu_time"):
            return None
        steps = pairwise(watched.raw)
        gained = sum(
            after - before if after >= before else after - before + (channel.wraps_at or 0) for before, after in steps
        )
        return gained * channel.scale / seconds
    known = channel.quantity in ("power", *BOUNDS)
    return sum(values) / len(values) if known else None


def _bounds(channel: Channel) -> tuple[float, float]:
    cores = os.cpu_count() or 1
    if channel.quantity in ("energy", "power"):
        # What is not counted may be a part that has nothing to do with the busy core.
        least = LEAST_W if channel.counted else 0.0
        accelerators = len([*Path("/dev").glob("nvidia[0-9]*"), *Path("/dev/accel").glob("*")])
        return least, (MOST_W_PER_CORE * cores + MOST_W_BESIDE + MOST_W_PER_ACCELERATOR * accelerators)
    if channel.quantity == "cpu_time":
        return 0.0, 1.1 * cores
    return BOUNDS[channel.quantity]


def _unit(channel: Channel) -> str:
    return {"energy": "W", "cpu_time": "cores"}.get(channel.quantity, channel.unit)


def _blocking(subject: Subject[Probe]) -> Mapping[str, Any]:
    """Each source's own time: one that blocks delays every channel that is sampled beside it."""
    from joulebench.meter.live.channels import source_spec
    from joulebench.meter.live.sampler import edge_reader

    longest_s: dict[str, float] = {}
    by_source: dict[Any, list[Channel]] = {}
    for channel in _present_channels(subject.plugin, subject.complete_settings()):
        source = channel.source
        key = (source.factory, source.argument) if isinstance(source, ReaderSource) else channel.path
        by_source.setdefault(key, []).append(channel)
    for channels in by_source.values():
        read = edge_reader([source_spec(n, channel.source, os.getpid()) for n, channel in enumerate(channels)])
        times_s: list[float] = []
        for _ in range(_TIMED_READS):
            begin = time.perf_counter()
            read()
            times_s.append(time.perf_counter() - begin)
        fastest_s, rate_hz = min(times_s), max(channel.rate_hz for channel in channels)
        longest_s[channels[0].path] = fastest_s
        expect(
            fastest_s <= _BLOCKING_SHARE / rate_hz,
            f"a reading of {channels[0].path} takes {fastest_s:.3g} s; it is sampled every {1 / rate_hz:g} s",
            "read in a thread of the reader's own and let read() return the last value at once, or lower rate_hz",
        )
    return {"read_s": longest_s}


def _reading(subject: Subject[Probe]) -> Mapping[str, Any]:
    from joulebench.meter.live.channels import source_spec
    from joulebench.meter.live.sampler import edge_reader

    channels = [watched.channel for watched in _watch(subject)]
    read = edge_reader([source_spec(n, c.source, os.getpid()) for n, c in enumerate(channels)])
    deadline = time.monotonic() + 10.0

    def reads() -> None:
        for _ in range(_READS):
            read()
            if time.monotonic() > deadline:
                return

    return _expect_no_leak(reads, "reads", _READS)


# -- backends -------------------------------------------------------------------------------------


def _requests(subject: Subject[Backend]) -> Mapping[str, Any]:
    with opened(subject, "generate") as session:
        pid = session.process_id()
        return _expect_no_leak(lambda: _some_requests(session), "requests", _ROUNDS, pid)


def _some_requests(session: BackendSession) -> None:
    for number in range(_ROUNDS):
        session.reset()
        session.prefill([5 + number, 17, 33, 8])
        for _ in range(6):
            session.step()


def _expect_no_leak(work: Callable[[], None], what: str, count: int, pid: int | None = None) -> Mapping[str, Any]:
    """Do the work four times: after the first, memory must not go on growing each time."""
    sizes: list[int] = []
    for _ in range(4):
        work()
        sizes.append(resident_bytes(pid))
    steps: Sequence[int] = [after - before for before, after in pairwise(sizes)]
    if min(steps) > _GROWTH_BYTES:
        raise BrokenContractError(
            f"memory grows by {min(steps) / count / 1024:,.0f} KiB and more with each of {what}",
            "let go of what a request made: lists that grow, caches without limit, native objects that are never freed",
        )
    return {"growth_bytes": steps[-1]}
