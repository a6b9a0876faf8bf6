"""Machines, sensors and workloads for the virtual rail, as plain values.

:mod:`joulebench.rail.files` reads them from TOML; docs/rail.md lists the keys.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from joulebench.rail.power import Line, Noise, Part, Pulses, Ramp

#: Grid steps of noise in its correlation time.
GRID_STEPS = 4


@dataclass(frozen=True, slots=True)
class Level:
    """Power on a line from ``from_w`` to ``to_w``; no two levels of a machine overlap in time."""

    start_s: float
    end_s: float
    from_w: float
    to_w: float


@dataclass(frozen=True, slots=True)
class PulseTrain:
    """``power_w`` for the first ``on_s`` of each ``period_s``, on top of the level."""

    power_w: float
    period_s: float
    on_s: float
    phase_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Wander:
    """Noise of standard deviation ``sd_w`` that forgets itself within ``correlation_s``."""

    sd_w: float
    correlation_s: float


@dataclass(frozen=True, slots=True)
class Drift:
    """Power that rises by ``w_per_s`` from ``start_s`` on."""

    w_per_s: float
    start_s: float = 0.0


Segment = Level | PulseTrain | Wander | Drift


@dataclass(frozen=True, slots=True)
class Sensor:
    """A counter (raw µJ) or a gauge (raw mW) on the rail; see :mod:`joulebench.rail.power`.

    ``declared_period_s`` is what its probe says of ``period_s``; ``None``: the truth.
    """

    kind: Literal["counter", "gauge"] = "counter"
    period_s: float = 0.001
    quantum_j: float = 61e-6
    wraps_at_j: float | None = None
    jitter: float = 0.1
    stale_share: float = 0.0
    averaging_s: float = 0.025
    delay_s: float = 0.0
    phase_s: float = 0.0
    #: Sampling by the meter within blocks; ``None``: none (a counter needs it only for wraps).
    sampling_s: float | None = None
    declared_period_s: float | None = None
    #: A counter starts again from 0 so often (a driver is reloaded); ``None``: never.
    restarts_each_s: float | None = None

    @property
    def wraps_at(self) -> int | None:
        """Raw counts at which the counter starts again."""
        return None if self.wraps_at_j is None else round(self.wraps_at_j * 1e6)


@dataclass(frozen=True, slots=True)
class Work:
    """What a cell does. ``noise``, ``pink_noise``, ``states`` and ``process_noise`` are shares of its power.

    ``noise`` is a block's scatter (``heavy_tails``: Student's t with three degrees, of that standard
    deviation), ``pink_noise`` scatter of equal strength in each octave of time, ``states`` half the
    distance of two states that the machine stays in for some ``state_blocks`` blocks.
    """

    requests: int = 2
    prefill_tokens: int = 40
    decode_tokens: int = 60
    token_spread: float = 0.2
    prefill_s_per_token: float = 0.002
    decode_s_per_token: float = 0.005
    prefill_w: float = 60.0
    decode_w: float = 40.0
    gap_s: float = 0.05
    setup_s: float = 0.0
    noise: float = 0.02
    correlation_s: float = 0.0
    heavy_tails: bool = False
    pink_noise: float = 0.0
    states: float = 0.0
    state_blocks: float = 15.0
    processes: int = 1
    process_noise: float = 0.0
    burst_period_s: float | None = None
    burst_share: float = 1.0


@dataclass(frozen=True, slots=True)
class Protocol:
    """How the cell is measured. ``target`` is a relative half-width; ``None``: always ``blocks``.

    With a target the cell may end at the looks of the protocol from ``blocks`` on (40, 80, …).
    """

    blocks: int = 40
    target: float | None = None
    dither: bool = True
    idle_s: float = 10.0


@dataclass(frozen=True, slots=True)
class Scenario:
    """A machine, its sensor, a cell's work and the protocol.

    ``least_coverage`` is the least that is promised of its 95 % intervals where that is not 93 %:
    of what no interval from so few blocks can cover, coverage is published and held to that.
    """

    name: str
    what: str
    machine: tuple[Segment, ...]
    sensor: Sensor = field(default_factory=Sensor)
    work: Work = field(default_factory=Work)
    protocol: Protocol = field(default_factory=Protocol)
    least_coverage: float | None = None

    def certain_parts(self) -> list[Part]:
        """The machine's power without its noise."""
        return list(_certain(self.machine))

    def noise_parts(self, seeds: Iterator[int]) -> list[Part]:
        """The machine's noise, each part with a seed of its own."""
        return [
            Noise(part.sd_w, part.correlation_s, part.correlation_s / GRID_STEPS, next(seeds))
            for part in self.machine
            if isinstance(part, Wander)
        ]


def _certain(segments: tuple[Segment, ...]) -> Iterator[Part]:
    for segment in segments:
        if isinstance(segment, Level):
            yield Line(segment.start_s, segment.end_s, segment.from_w, segment.to_w)
        elif isinstance(segment, PulseTrain):
            yield Pulses(segment.power_w, segment.period_s, segment.on_s, segment.phase_s)
        elif isinstance(segment, Drift):
            yield Ramp(segment.start_s, segment.w_per_s, math.inf)
