"""Whole cells on the virtual rail, and how often their intervals hold the truth.

**What is estimated.** A cell stands for more blocks of the same kind, so the truth of a mean is
its *expectation*: over the requests that a block may draw, over the stationary noise of the
machine and over processes. A drift has no such expectation; its truth is the drift's own
mean over the blocks that were really run. The truth of energy per token is the ratio of the two
expectations (Σ joules over Σ tokens of ever more blocks), that of net leaves the idle power out.

The readings go through the real arithmetic: :mod:`joulebench.meter.energy`, ``idle``, ``fit``
and ``uncertainty``.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from joulebench.meter.energy import (
    Read,
    SensorSpec,
    Trace,
    WindowEnergy,
    corrected_for_late_edges,
    counter_energy,
    counter_energy_for_fit,
    gauge_energy,
    phase_energy,
)
from joulebench.meter.fit import EnergyFit, fit_energy
from joulebench.meter.idle import (
    IdlePower,
    combined_idle,
    idle_from_counter,
    idle_from_gauge,
    net_energy,
    with_idle_uncertainty,
)
from joulebench.meter.uncertainty import (
    LOOKS,
    Interval,
    by_process,
    mean_interval,
    process_interval,
    ratio_interval,
    should_stop,
)
from joulebench.testing.rail import (
    Constant,
    Counter,
    Gauge,
    Noise,
    Part,
    Rail,
    Ramp,
    Schedule,
    Step,
)
from joulebench.testing.rail_scenarios import Scenario

#: The gauge's update falls so that its 25 ms lie inside the first 60 ms of each period.
_GAUGE_PHASE_S: Final = 0.04


@dataclass(frozen=True, slots=True)
class Truth:
    """What a cell should have found; see the module's text for what is meant."""

    gross_j: float
    net_j: float
    j_per_token: float
    j_per_prefill_token: float


@dataclass(frozen=True, slots=True)
class SimulatedCell:
    """What the meter gives for a simulated cell. ``None`` where it refuses."""

    truth: Truth
    blocks: tuple[WindowEnergy, ...]
    prefill: tuple[WindowEnergy, ...]
    idle: IdlePower
    gross: Interval | None
    net: Interval | None
    j_per_token: Interval | None
    fit: EnergyFit | None
    flags: frozenset[str]


@dataclass(slots=True)
class _Blocks:
    """What is noted of the blocks while they run, by column."""

    t0_ns: list[int] = field(default_factory=list)
    t1_ns: list[int] = field(default_factory=list)
    energies: list[WindowEnergy] = field(default_factory=list)
    prefills: list[WindowEnergy] = field(default_factory=list)
    tokens: list[float] = field(default_factory=list)
    process: list[int] = field(default_factory=list)
    requests: list[tuple[float, int, int]] = field(default_factory=list)


class _Machine:
    """The rail of a scenario, its sensor, and virtual time."""

    def __init__(self, scenario: Scenario, seed: int) -> None:
        self.scenario = scenario
        self.random = random.Random(f"{scenario.name}/{seed}")  # noqa: S311 - a simulation
        self.now_s = self.random.uniform(0.0, scenario.period_s) + 1.0
        self.work = Schedule()
        self.drift = Ramp(scenario.idle_s, scenario.drift_w_per_s)
        noise_seed = self.random.randrange(1 << 32)
        grid_s = scenario.idle_correlation_s / 4
        parts: list[Part] = [
            Constant(scenario.idle_w),
            Noise(scenario.idle_noise_w, scenario.idle_correlation_s, grid_s, noise_seed),
            self.work,
            self.drift,
        ]
        if scenario.idle_shift_w:
            parts.append(Step(scenario.idle_s + 5.0, scenario.idle_shift_w))
        self.rail = Rail(parts)
        self.sensor: Counter | Gauge = (
            self._gauge() if scenario.sensor == "gauge" else self._count()
        )
        #: Idle power as the first baseline gave it.
        self.idle_w: float | None = None

    def _count(self) -> Counter:
        s = self.scenario
        wraps_at = s.wraps_at or None
        return Counter(
            self.rail,
            period_s=s.period_s,
            wraps_at=wraps_at,
            start=self.random.randrange(wraps_at or 1 << 40),
            jitter=s.jitter,
            stale_share=s.stale_share,
            seed=self.random.randrange(1 << 32),
        )

    def _gauge(self) -> Gauge:
        return Gauge(self.rail, period_s=self.scenario.period_s, phase_s=_GAUGE_PHASE_S)

    @property
    def spec(self) -> SensorSpec:
        """What the meter knows of the sensor."""
        s = self.scenario
        if s.sensor == "gauge":
            return SensorSpec(1e-3, s.period_s, method="integrated", relative_u=0.05)
        return SensorSpec(1e-6, s.period_s, 61e-6, s.wraps_at or None, s.max_power_w)

    def read(self, t_s: float) -> Read:
        """An edge read at ``t_s``."""
        t_ns = round(t_s * 1e9)
        return t_ns, self.sensor.read(t_ns)

    def ticks(self, start_s: float, end_s: float, every_s: float) -> Trace:
        """The sampler's readings from one tick before ``start_s`` to one after ``end_s``."""
        count = math.ceil((end_s - start_s) / every_s) + 2
        reads = [self.read(start_s + (i - 0.5) * every_s) for i in range(count)]
        return Trace([t for t, _ in reads], [raw for _, raw in reads])

    def window(self, start: Read, end: Read, trace: Trace) -> WindowEnergy:
        """What the meter makes of a block that followed an idle wait."""
        if self.scenario.sensor == "gauge":
            return gauge_energy(start[0], end[0], self.spec, trace, self.scenario.tick_s)
        found = counter_energy(start, end, self.spec, trace)
        return corrected_for_late_edges(found, self.spec, self.idle_w, found.mean_power_w)

    def baseline(self) -> IdlePower:
        """An idle baseline from now on."""
        start_s = self.now_s
        self.now_s = end_s = start_s + self.scenario.idle_s
        every_s = self.scenario.tick_s or max(0.25, self.scenario.period_s)
        if self.scenario.sensor == "counter":
            count = int((end_s - start_s) / every_s) + 1
            reads = [self.read(start_s + i * every_s) for i in range(count)]
            trace = Trace([t for t, _ in reads], [raw for _, raw in reads])
            return idle_from_counter(trace, self.spec)
        trace = self.ticks(start_s, end_s, every_s)
        edges = (round(start_s * 1e9), round(end_s * 1e9))
        return idle_from_gauge(trace, self.spec, gauge_energy(*edges, self.spec, trace, every_s))

    def works(self, duration_s: float, power_w: float) -> None:
        """Work at ``power_w`` from now on, in bursts where the scenario has them."""
        end_s = self.now_s + duration_s
        period_s = self.scenario.pulse_period_s
        if not period_s:
            self.work.add(self.now_s, end_s, power_w)
        else:
            burst = math.floor(self.now_s / period_s)
            on_s = period_s * self.scenario.pulse_duty
            while burst * period_s < end_s:
                start_s = max(self.now_s, burst * period_s)
                stop_s = min(end_s, burst * period_s + on_s)
                if stop_s > start_s:
                    self.work.add(start_s, stop_s, power_w)
                burst += 1
        self.now_s = end_s


def _tokens(rng: random.Random, mean: int, spread: float) -> int:
    """A count of tokens, uniform within ``mean`` ± spread."""
    width = int(mean * spread)
    return rng.randint(mean - width, mean + width)


def _run_block(machine: _Machine, noted: _Blocks, process: int, factor: float) -> None:
    s, rng = machine.scenario, machine.random
    machine.now_s += s.gap_s + rng.uniform(0.0, s.period_s)
    plan = [
        (
            _tokens(rng, s.prefill_tokens, s.token_spread),
            _tokens(rng, s.decode_tokens, s.token_spread),
        )
        for _ in range(s.requests)
    ]
    edges = [machine.now_s]
    for prefill, decode in plan:
        machine.works(prefill * s.prefill_s_per_token, s.prefill_w * factor)
        edges.append(machine.now_s)
        machine.works(decode * s.decode_s_per_token, s.decode_w * factor)
        edges.append(machine.now_s)
    reads = [machine.read(t) for t in edges]
    noted.t0_ns.append(reads[0][0])
    noted.t1_ns.append(reads[-1][0])
    trace = machine.ticks(edges[0], edges[-1], s.tick_s) if s.tick_s else Trace()
    noted.energies.append(machine.window(reads[0], reads[-1], trace))
    noted.tokens.append(float(sum(decode for _, decode in plan)))
    noted.process.append(process)
    if s.sensor == "counter":
        _note_phases(machine.spec, noted, reads, plan, trace)


def _note_phases(
    spec: SensorSpec,
    noted: _Blocks,
    reads: Sequence[Read],
    plan: Sequence[tuple[int, int]],
    trace: Trace,
) -> None:
    pieces = []
    for i, (prefill, decode) in enumerate(plan):
        start, first, end = reads[2 * i : 2 * i + 3]
        pieces.append(counter_energy_for_fit(start, first, spec, trace))
        request = counter_energy_for_fit(start, end, spec, trace).gross_j
        if request is not None:
            noted.requests.append((request, prefill, decode))
    noted.prefills.append(phase_energy(pieces, spec))


def _run_blocks(machine: _Machine) -> _Blocks:
    s, rng, noted = machine.scenario, machine.random, _Blocks()
    blocks = LOOKS[-1] if s.stop_at else s.blocks
    wander, offset, before_s = 0.0, 0.0, 0.0
    for i in range(blocks):
        process = i * s.processes // blocks
        if not noted.process or process != noted.process[-1]:
            offset, wander = rng.gauss(0.0, s.process_noise), rng.gauss(0.0, s.work_noise)
        else:
            passed_s = machine.now_s - before_s
            keep = math.exp(-passed_s / s.work_correlation_s) if s.work_correlation_s else 0.0
            wander = keep * wander + rng.gauss(0.0, s.work_noise * math.sqrt(1 - keep**2))
        before_s = machine.now_s
        _run_block(machine, noted, process, 1 + offset + wander)
        if s.stop_at and len(noted.energies) in LOOKS:
            gross = _mean([w.gross_j for w in noted.energies], noted.process)
            if gross is not None and should_stop(gross, s.stop_at):
                break
    return noted


def _mean(values: Sequence[float | None], processes: Sequence[int]) -> Interval | None:
    """The interval of a mean, or ``None`` where a block has no figure."""
    known = [v for v in values if v is not None]
    if len(known) < len(values):
        return None
    if len(set(processes)) == 1:
        return mean_interval(known)
    return process_interval(by_process(known, processes))


def _truth(machine: _Machine, noted: _Blocks) -> Truth:
    s = machine.scenario
    prefill_s = s.prefill_tokens * s.prefill_s_per_token
    decode_s = s.decode_tokens * s.decode_s_per_token
    work_j = s.requests * s.pulse_duty * (prefill_s * s.prefill_w + decode_s * s.decode_w)
    duration_s = s.requests * (prefill_s + decode_s)
    # What creeps and what shifts has no expectation: its mean over the blocks that were run.
    creeping = Rail([machine.drift, Step(s.idle_s + 5.0, s.idle_shift_w)])
    spans = list(zip(noted.t0_ns, noted.t1_ns, strict=True))
    crept_w = math.fsum(creeping.power_w(a * 1e-9, b * 1e-9) for a, b in spans) / len(spans)
    gross_j = work_j + (s.idle_w + crept_w) * duration_s
    per_prefill_j = (s.idle_w + crept_w + s.prefill_w * s.pulse_duty) * s.prefill_s_per_token
    return Truth(gross_j, work_j, gross_j / (s.requests * s.decode_tokens), per_prefill_j)


def simulate_cell(scenario: Scenario, seed: int) -> SimulatedCell:
    """Idle, blocks and idle on a virtual machine; the same ``seed`` gives the same cell."""
    machine = _Machine(scenario, seed)
    before = machine.baseline()
    machine.idle_w = before.power_w
    noted = _run_blocks(machine)
    idle = combined_idle(before, machine.baseline())
    gross = _mean([w.gross_j for w in noted.energies], noted.process)
    nets = [net_energy(w, idle).gross_j for w in noted.energies]
    net = _mean(nets, noted.process)
    if net is not None:
        durations = [w.duration_s for w in noted.energies]
        net = with_idle_uncertainty(net, idle, math.fsum(durations) / len(durations))
    known = [w.gross_j for w in noted.energies if w.gross_j is not None]
    processes = noted.process if scenario.processes > 1 else None
    ratio = ratio_interval(known, noted.tokens, processes) if gross is not None else None
    columns = list(zip(*noted.requests, strict=True)) if noted.requests else [(), (), ()]
    flags = {flag for w in noted.energies for flag in w.flags}
    flags.update(idle.flags)
    flags.update(flag for found in (gross, ratio) if found is not None for flag in found.flags)
    return SimulatedCell(
        _truth(machine, noted),
        tuple(noted.energies),
        tuple(noted.prefills),
        idle,
        gross,
        net,
        ratio,
        fit_energy(columns[0], columns[1], columns[2]) if noted.requests else None,
        frozenset(flags),
    )
