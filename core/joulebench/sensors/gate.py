"""The thermal gate, the end of the warm-up, and throttling: when a block may begin, and on what clock."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from joulebench.api import Channel
from joulebench.meter.live.channels import of_machine, source_spec
from joulebench.meter.live.owner import ReaderOwner
from joulebench.meter.live.sampler import edge_reader

#: How often the gate looks at the temperature, in seconds.
GATE_LOOK_S = 1.0
#: Time over which the slope is taken, in seconds.
SLOPE_S = 10.0
#: What a working sensor in a computer can show; one that fails shows 999 or -128.
_POSSIBLE_C = (-50.0, 150.0)


def hottest_c(readings: Iterable[float]) -> float | None:
    """The hottest of some temperatures in °C, of those that a computer can have."""
    lowest_c, highest_c = _POSSIBLE_C
    return max((celsius for celsius in readings if lowest_c <= celsius <= highest_c), default=None)


class Thermometer:
    """Reads the hottest temperature now, in °C; ``None`` without a temperature channel.

    ``owner`` reads what only one process may.
    """

    def __init__(self, channels: Sequence[Channel], owner: ReaderOwner | None = None) -> None:
        temperatures = {index: channel for index, channel in enumerate(channels) if channel.quantity == "temperature"}
        self._owner = owner
        self._owned = {index: channel for index, channel in temperatures.items() if of_machine(channel)}
        self._channels = [channel for index, channel in temperatures.items() if index not in self._owned]
        specs = [source_spec(i, channel.source, None) for i, channel in enumerate(self._channels)]
        self._read: Callable[[], list[int | None]] = edge_reader(specs) if specs else list

    def hottest_c(self) -> float | None:
        """The hottest channel."""
        values = [
            raw * channel.scale for raw, channel in zip(self._read(), self._channels, strict=True) if raw is not None
        ]
        if self._owned and self._owner is not None:
            readings = self._owner.now()
            values += [readings[i] * channel.scale for i, channel in self._owned.items() if i in readings]
        return hottest_c(values)


@dataclass(slots=True)
class ThermalGate:
    """Waits before a block until the machine is as warm as before the first one, and steady."""

    thermometer: Thermometer
    within_c: float
    slope_c_per_10_s: float
    timeout_s: float
    reference_c: float | None = None

    def wait(
        self, sleep: Callable[[float], None] = time.sleep, clock_s: Callable[[], float] = time.monotonic
    ) -> tuple[float, tuple[str, ...]]:
        """(seconds waited, flags). The first block sets the reference temperature."""
        now_c = self.thermometer.hottest_c()
        if now_c is None:
            return 0.0, ("no_thermal_gate",)
        if self.reference_c is None:
            self.reference_c = now_c
            return 0.0, ()
        start = clock_s()
        history = [(start, now_c)]
        while not self._open(history):
            if clock_s() - start >= self.timeout_s:
                return clock_s() - start, ("thermal_gate_timeout",)
            sleep(GATE_LOOK_S)
            now_c = self.thermometer.hottest_c()
            if now_c is not None:
                history.append((clock_s(), now_c))
        return clock_s() - start, ()

    def _open(self, history: list[tuple[float, float]]) -> bool:
        t_s, now_c = history[-1]
        if self.reference_c is not None and abs(now_c - self.reference_c) > self.within_c:
            return False
        recent = [(t, c) for t, c in history if t_s - t <= SLOPE_S]
        span = t_s - recent[0][0]
        if span < GATE_LOOK_S:  # within range at the first look: no reason to wait for a slope
            return True
        return abs(now_c - recent[0][1]) / span * 10.0 <= self.slope_c_per_10_s


def is_steady(durations_s: Sequence[float], least_s: float, share: float) -> bool:
    """Whether equal requests no longer change: the protocol's warm-up criterion.

    Looks at the latest requests that together last ``least_s`` (four at least) and compares the
    means of their two halves.
    """
    total, count = 0.0, 0
    for duration in reversed(durations_s):
        total += duration
        count += 1
        if total >= least_s and count >= 4:
            break
    else:
        return False
    latest = durations_s[-count:]
    half = count // 2
    first = math.fsum(latest[:half]) / half
    last = math.fsum(latest[-half:]) / half
    return abs(last - first) < share * first


def throttled(channels: Sequence[Channel], samples: Mapping[int, Sequence[int]], drop: float = 0.05) -> bool:
    """Whether a block was throttled, by its samples of each channel (index → raw, in order).

    A throttle counter that rose, a mask that was set, or a frequency whose last third fell by
    more than ``drop`` below its first third.
    """
    for index, raw in samples.items():
        channel = channels[index]
        if channel.quantity == "throttle" and raw:
            rose = raw[-1] > raw[0] if channel.kind == "counter" else any(raw)
            if rose:
                return True
        elif channel.quantity == "frequency" and len(raw) >= 6:
            third = len(raw) // 3
            first = math.fsum(raw[:third]) / third
            last = math.fsum(raw[-third:]) / third
            if last < first * (1 - drop):
                return True
    return False
