"""The idle baseline: measured with no worker running."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

from joulebench.errors import UnavailableError
from joulebench.meter.energy import Trace
from joulebench.meter.gauges import integrated_power
from joulebench.meter.idle import IdlePower, idle_from_counter, idle_from_gauge
from joulebench.meter.live.owner import JointSampler, Owner
from joulebench.meter.live.sampling import Drained
from joulebench.meter.windows import Accountant

#: How often the ring is emptied, long before it can be full.
_DRAIN_S: Final = 5.0
#: Where a baseline stands to the blocks, as the session says it.
BEFORE: Final = "before"
AFTER: Final = "after"


@dataclass(frozen=True, slots=True)
class IdleBaseline:
    """Idle power by channel over one stretch of time."""

    when: str
    t0_ns: int
    t1_ns: int
    power: dict[int, IdlePower]


def measure_idle(accountant: Accountant, seconds: float, when: str, owner: Owner | None = None) -> IdleBaseline | None:
    """Idle power of every channel that yields joules; ``None`` where there is none.

    ``owner`` reads what only one process may.

    A sampler that does not start leaves the cell without a baseline, not the run without a cell.
    """
    if not accountant.indices or seconds <= 0:
        return None
    channels = accountant.channels
    try:
        sampler = JointSampler(channels, None, owner)
    except UnavailableError:
        return None
    drained = Drained()
    try:
        sampler.resume()
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            time.sleep(min(left, _DRAIN_S))
            drained.extend(sampler.drain())
    finally:
        sampler.stop()
    drained.extend(sampler.drain())
    traces = drained.traces()
    power = {
        index: idle_power(accountant, index, traces[index])
        for index in accountant.indices
        if index in traces and len(traces[index].t_ns) > 1
    }
    if not power:
        return None
    times = [t for index in power for t in (traces[index].t_ns[0], traces[index].t_ns[-1])]
    return IdleBaseline(when, min(times), max(times), power)


def idle_power(accountant: Accountant, index: int, trace: Trace) -> IdlePower:
    """Idle power of a channel from its readings over a baseline."""
    channel, spec = accountant.channels[index], accountant.spec(index)
    if channel.kind == "counter":
        return idle_from_counter(trace, spec)
    window = integrated_power(trace.t_ns[0], trace.t_ns[-1], spec, trace, 1.0 / channel.rate_hz)
    return idle_from_gauge(trace, spec, window)
