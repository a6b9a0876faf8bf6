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

from joulebench.meter.counters import corrected_for_late_edges, counter_energy, counter_energy_for_fit
from joulebench.meter.energy import Read, SensorSpec, Trace, WindowEnergy, phase_energy
from joulebench.meter.fit import EnergyFit, fit_energy
from joulebench.meter.gauges import gauge_energy
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
from joulebench.rail.power import Counter, Gauge, Rail, Schedule
from joulebench.rail.scenarios import Scenario, Work


@dataclass(frozen=True, slots=True)
class Truth:
    """What a cell should have found; see the module's text for what is meant."""

    gross_j: float
    net_j: float
    j_per_token: float
    j_per_prefill_token: float
    j_per_decode_token: float


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
class BlocksNoted:
    """What is noted of the blocks while they run, by column."""

    t0_ns: list[int] = field(default_factory=list)
    t1_ns: list[int] = field(default_factory=list)
    energies: list[WindowEnergy] = field(default_factory=list)
    prefills: list[WindowEnergy] = field(default_factory=list)
    tokens: list[float] = field(default_factory=list)
    process: list[int] = field(default_factory=list)
    requests: list[tuple[float, int, int]] = field(default_factory=list)


class Machine:
    """The rail of a scenario, its sensor, and virtual time."""

    def __init__(self, scenario: Scenario, seed: int) -> None:
        self.sensor_facts = scenario.sensor
        self.protocol = scenario.protocol
        self.random = random.Random(f"{scenario.name}/{seed}")  # noqa: S311 - a simulation
        self.now_s = self.random.uniform(0.0, scenario.sensor.period_s) + 1.0
        self.work = Schedule()
        #: The machine's power but for noise and work.
        self.certain = Rail(scenario.certain_parts())
        seeds = iter(lambda: self.random.randrange(1 << 32), None)
        noise = scenario.noise_parts(seeds)
        self.rail = Rail([*scenario.certain_parts(), *noise, self.work])
        self.sensor: Counter | Gauge = self._gauge() if scenario.sensor.kind == "gauge" else self._count()
        #: Idle power as the first baseline gave it.
        self.idle_w: float | None = None

    def _count(self) -> Counter:
        facts = self.sensor_facts
        return Counter(
            self.rail,
            period_s=facts.period_s,
            quantum_counts=round(facts.quantum_j * 1e6),
            wraps_at=facts.wraps_at,
            start=self.random.randrange(facts.wraps_at or 1 << 40),
            phase_s=facts.phase_s,
            jitter=facts.jitter,
            stale_share=facts.stale_share,
            seed=self.random.randrange(1 << 32),
        )

    def _gauge(self) -> Gauge:
        facts = self.sensor_facts
        return Gauge(
            self.rail,
            period_s=facts.period_s,
            averaging_s=facts.averaging_s,
            delay_s=facts.delay_s,
            phase_s=facts.phase_s,
            jitter=facts.jitter,
            stale_share=facts.stale_share,
        )

    @property
    def spec(self) -> SensorSpec:
        """What the meter knows of the sensor."""
        facts = self.sensor_facts
        if facts.kind == "gauge":
            return SensorSpec(1e-3, facts.period_s, method="integrated", relative_u=0.05)
        return SensorSpec(1e-6, facts.period_s, facts.quantum_j, facts.wraps_at, facts.max_power_w)

    def read(self, t_s: float) -> Read:
        """An edge read at ``t_s``."""
        t_ns = round(t_s * 1e9)
        return t_ns, self.sensor.read(t_ns)

    def ticks(self, start_s: float, end_s: float, every_s: float) -> Trace:
        """The sampler's readings from one tick before ``start_s`` to one after ``end_s``."""
        count = math.ceil((end_s - start_s) / every_s) + 2
        reads = [self.read(start_s + (i - 0.5) * every_s) for i in range(count)]
        return Trace([t for t, _ in reads], [raw for _, raw in reads])

    def block_trace(self, start_s: float, end_s: float) -> Trace:
        """What the sampler sees of a block; nothing where the scenario has no sampling."""
        every_s = self.sensor_facts.sampling_s
        return Trace() if every_s is None else self.ticks(start_s, end_s, every_s)

    def window(self, start: Read, end: Read, trace: Trace) -> WindowEnergy:
        """What the meter makes of a block that followed an idle wait."""
        every_s = self.sensor_facts.sampling_s
        if self.sensor_facts.kind == "gauge" and every_s is not None:
            return gauge_energy(start[0], end[0], self.spec, trace, every_s)
        found = counter_energy(start, end, self.spec, trace)
        return corrected_for_late_edges(found, self.spec, self.idle_w, found.mean_power_w)

    def baseline(self) -> IdlePower:
        """An idle baseline from now on."""
        start_s = self.now_s
        self.now_s = end_s = start_s + self.protocol.idle_s
        every_s = self.sensor_facts.sampling_s or max(0.25, self.sensor_facts.period_s)
        if self.sensor_facts.kind == "counter":
            count = int((end_s - start_s) / every_s) + 1
            reads = [self.read(start_s + i * every_s) for i in range(count)]
            trace = Trace([t for t, _ in reads], [raw for _, raw in reads])
            return idle_from_counter(trace, self.spec)
        trace = self.ticks(start_s, end_s, every_s)
        edges = (round(start_s * 1e9), round(end_s * 1e9))
        return idle_from_gauge(trace, self.spec, gauge_energy(*edges, self.spec, trace, every_s))

    def works(self, duration_s: float, power_w: float, work: Work) -> None:
        """Work at ``power_w`` from now on, in bursts where the work has them."""
        end_s = self.now_s + duration_s
        period_s = work.burst_period_s
        if period_s is None:
            self.work.add(self.now_s, end_s, power_w)
        else:
            burst = math.floor(self.now_s / period_s)
            on_s = period_s * work.burst_share
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


class CellOnRail:
    """One cell's work on a machine: its blocks, and how its power wanders from one to the next."""

    def __init__(self, machine: Machine, work: Work) -> None:
        self.machine = machine
        self.work = work
        self.noted = BlocksNoted()
        self._wander = self._offset = 0.0
        self._before_s = 0.0

    def block(self, process: int) -> None:
        """Wait, work, and read the sensor at the edges."""
        w, machine, rng = self.work, self.machine, self.machine.random
        if not self.noted.process or process != self.noted.process[-1]:
            self._offset, self._wander = rng.gauss(0.0, w.process_noise), rng.gauss(0.0, w.noise)
        else:
            passed_s = machine.now_s - self._before_s
            keep = math.exp(-passed_s / w.correlation_s) if w.correlation_s else 0.0
            fresh = rng.gauss(0.0, w.noise * math.sqrt(1 - keep**2))
            self._wander = keep * self._wander + fresh
        self._before_s = machine.now_s
        self._run(process, 1 + self._offset + self._wander)

    def _run(self, process: int, factor: float) -> None:
        w, machine, rng, noted = self.work, self.machine, self.machine.random, self.noted
        dither_s = machine.sensor_facts.period_s if machine.protocol.dither else 0.0
        machine.now_s += w.gap_s + rng.uniform(0.0, dither_s)
        plan = [
            (_tokens(rng, w.prefill_tokens, w.token_spread), _tokens(rng, w.decode_tokens, w.token_spread))
            for _ in range(w.requests)
        ]
        edges = [machine.now_s]
        for prefill, decode in plan:
            machine.works(prefill * w.prefill_s_per_token, w.prefill_w * factor, w)
            edges.append(machine.now_s)
            machine.works(decode * w.decode_s_per_token, w.decode_w * factor, w)
            edges.append(machine.now_s)
        reads = [machine.read(t) for t in edges]
        noted.t0_ns.append(reads[0][0])
        noted.t1_ns.append(reads[-1][0])
        trace = machine.block_trace(edges[0], edges[-1])
        noted.energies.append(machine.window(reads[0], reads[-1], trace))
        noted.tokens.append(float(sum(decode for _, decode in plan)))
        noted.process.append(process)
        if machine.sensor_facts.kind == "counter":
            _note_phases(machine.spec, noted, reads, plan, trace)

    def per_token(self) -> Interval | None:
        """Energy per token so far; ``None`` where a block has no figure."""
        known = [w.gross_j for w in self.noted.energies if w.gross_j is not None]
        if len(known) < len(self.noted.energies):
            return None
        processes = self.noted.process if len(set(self.noted.process)) > 1 else None
        return ratio_interval(known, self.noted.tokens, processes)


def _note_phases(
    spec: SensorSpec, noted: BlocksNoted, reads: Sequence[Read], plan: Sequence[tuple[int, int]], trace: Trace
) -> None:
    pieces = []
    for i, (prefill, decode) in enumerate(plan):
        start, first, end = reads[2 * i : 2 * i + 3]
        pieces.append(counter_energy_for_fit(start, first, spec, trace))
        request = counter_energy_for_fit(start, end, spec, trace).gross_j
        if request is not None:
            noted.requests.append((request, prefill, decode))
    noted.prefills.append(phase_energy(pieces, spec))


def _run_blocks(cell: CellOnRail) -> None:
    protocol, noted = cell.machine.protocol, cell.noted
    blocks = protocol.blocks if protocol.target is None else LOOKS[-1]
    for i in range(blocks):
        cell.block(i * cell.work.processes // blocks)
        if protocol.target is not None and len(noted.energies) in LOOKS:
            gross = _mean([w.gross_j for w in noted.energies], noted.process)
            if gross is not None and should_stop(gross, protocol.target):
                break


def _mean(values: Sequence[float | None], processes: Sequence[int]) -> Interval | None:
    """The interval of a mean, or ``None`` where a block has no figure."""
    known = [v for v in values if v is not None]
    if len(known) < len(values):
        return None
    if len(set(processes)) == 1:
        return mean_interval(known)
    return process_interval(by_process(known, processes))


def _truth(machine: Machine, cell: CellOnRail) -> Truth:
    w, noted = cell.work, cell.noted
    prefill_s = w.prefill_tokens * w.prefill_s_per_token
    decode_s = w.decode_tokens * w.decode_s_per_token
    work_j = w.requests * w.burst_share * (prefill_s * w.prefill_w + decode_s * w.decode_w)
    duration_s = w.requests * (prefill_s + decode_s)
    # What creeps and what shifts has no expectation: its mean over the blocks that were run.
    spans = list(zip(noted.t0_ns, noted.t1_ns, strict=True))
    machine_w = math.fsum(machine.certain.power_w(a * 1e-9, b * 1e-9) for a, b in spans) / len(spans)
    gross_j = work_j + machine_w * duration_s
    per_prefill_j = (machine_w + w.prefill_w * w.burst_share) * w.prefill_s_per_token
    per_decode_j = (machine_w + w.decode_w * w.burst_share) * w.decode_s_per_token
    per_token_j = gross_j / (w.requests * w.decode_tokens)
    return Truth(gross_j, work_j, per_token_j, per_prefill_j, per_decode_j)


def simulate_cell(scenario: Scenario, seed: int) -> SimulatedCell:
    """Idle, blocks and idle on a virtual machine; the same ``seed`` gives the same cell."""
    machine = Machine(scenario, seed)
    before = machine.baseline()
    machine.idle_w = before.power_w
    cell = CellOnRail(machine, scenario.work)
    _run_blocks(cell)
    noted = cell.noted
    idle = combined_idle(before, machine.baseline())
    gross = _mean([w.gross_j for w in noted.energies], noted.process)
    net = _mean([net_energy(w, idle).gross_j for w in noted.energies], noted.process)
    if net is not None:
        durations = [w.duration_s for w in noted.energies]
        net = with_idle_uncertainty(net, idle, math.fsum(durations) / len(durations))
    ratio = cell.per_token()
    columns = list(zip(*noted.requests, strict=True)) if noted.requests else [(), (), ()]
    flags = {flag for w in noted.energies for flag in w.flags}
    flags.update(idle.flags)
    flags.update(flag for found in (gross, ratio) if found is not None for flag in found.flags)
    return SimulatedCell(
        _truth(machine, cell),
        tuple(noted.energies),
        tuple(noted.prefills),
        idle,
        gross,
        net,
        ratio,
        fit_energy(columns[0], columns[1], columns[2]) if noted.requests else None,
        frozenset(flags),
    )
