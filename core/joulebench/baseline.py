"""The idle baseline and the calibration of channels: measured with no worker running."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from joulebench.api import Channel
from joulebench.meter.energy import Trace, gauge_energy
from joulebench.meter.idle import IdlePower, idle_from_counter, idle_from_gauge
from joulebench.meter.sampling import Drained, Sampler
from joulebench.meter.windows import Accountant


@dataclass(frozen=True, slots=True)
class Baseline:
    """Idle power by channel over one stretch of time."""

    when: str
    t0_ns: int
    t1_ns: int
    power: dict[int, IdlePower]

    def rows(self, channels: Sequence[Channel]) -> list[dict[str, Any]]:
        """As the session records it."""
        return [
            {
                "channel": channels[index].path,
                "when": self.when,
                "t0_ns": self.t0_ns,
                "t1_ns": self.t1_ns,
                "power_w": idle.power_w,
                "power_u_w": idle.u_w,
            }
            for index, idle in self.power.items()
        ]


def traces_by_channel(drained: Drained) -> dict[int, Trace]:
    """The sampler's records as a trace for each channel."""
    times: dict[int, list[int]] = {}
    raws: dict[int, list[int]] = {}
    for t_ns, channel, raw in zip(drained.t_ns, drained.channel, drained.raw, strict=True):
        times.setdefault(channel, []).append(t_ns)
        raws.setdefault(channel, []).append(raw)
    return {channel: Trace(times[channel], raws[channel]) for channel in times}


def measure_idle(
    accountant: Accountant,
    seconds: float,
    when: str,
    idle: Callable[[], None] = lambda: None,
) -> Baseline | None:
    """Idle power of every channel that yields joules; ``None`` where there is none."""
    if not accountant.indices or seconds <= 0:
        return None
    channels = accountant.channels
    with Sampler(channels, pid=None) as sampler:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            time.sleep(min(left, 0.2))
            idle()
        sampler.stop()
        traces = traces_by_channel(sampler.drain())
    power = {
        index: _idle_power(accountant, index, traces[index])
        for index in accountant.indices
        if index in traces and len(traces[index].t_ns) > 1
    }
    if not power:
        return None
    times = [t for index in power for t in (traces[index].t_ns[0], traces[index].t_ns[-1])]
    return Baseline(when, min(times), max(times), power)


def _idle_power(accountant: Accountant, index: int, trace: Trace) -> IdlePower:
    channel, spec = accountant.channels[index], accountant.spec(index)
    if channel.kind == "counter":
        return idle_from_counter(trace, spec)
    window = gauge_energy(trace.t_ns[0], trace.t_ns[-1], spec, trace, 1.0 / channel.rate_hz)
    return idle_from_gauge(trace, spec, window)
