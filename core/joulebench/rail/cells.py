"""Whole cells on the virtual rail, measured as the product measures them.

**What is estimated.** A cell stands for more blocks of the same kind, so the truth of a mean is
its *expectation*: over the requests that a block may draw, over the stationary noise of the
machine and over processes. A drift has no such expectation; its truth is the drift's own
mean over the blocks that were really run. The truth of energy per token is the ratio of the two
expectations (Σ joules over Σ tokens of ever more blocks), that of net leaves the idle power out.

Readings go through calibration and accountant (:mod:`joulebench.rail.instrument`), idle baselines
and windows are those of a run, :mod:`joulebench.meter.stopping` says when a cell ends, and
:func:`joulebench.meter.uncertainty.cell_interval` states its figures as reports do.
"""

from __future__ import annotations

import functools
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from joulebench.meter.counters import counter_energy_for_fit
from joulebench.meter.energy import NO_TRACE, Read, Trace, WindowEnergy
from joulebench.meter.fit import EnergyFit, fit_energy
from joulebench.meter.idle import IdlePower, combined_idle, net_energy
from joulebench.meter.live.calibration import SensorCalibration
from joulebench.meter.stopping import BlocksSoFar, Share, StoppingRule, next_process
from joulebench.meter.uncertainty import LOOKS, Interval, cell_interval
from joulebench.meter.windows import TOTAL
from joulebench.protocol import Block, Edge, RequestRecord
from joulebench.rail.instrument import accountant_of, calibrated
from joulebench.rail.power import Counter, Gauge, Rail, Schedule
from joulebench.rail.scenarios import Scenario, Work
from joulebench.rail.wander import Wandering
from joulebench.sensors.idle import idle_power
from joulebench.worker.windows import block_windows

#: Calibrations of a scenario's sensor among which its cells are spread.
_CALIBRATIONS = 8


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
    idle: tuple[IdlePower, ...]
    gross: Interval | None
    net: Interval | None
    j_per_token: Interval | None
    fit: EnergyFit | None
    flags: frozenset[str]


@dataclass(slots=True)
class MeasuredBlocks:
    """What was measured of a cell's blocks, by column; ``requests`` are for the fit over them."""

    t0_ns: list[int] = field(default_factory=list)
    t1_ns: list[int] = field(default_factory=list)
    energies: list[WindowEnergy] = field(default_factory=list)
    prefills: list[WindowEnergy] = field(default_factory=list)
    tokens: list[float] = field(default_factory=list)
    #: Joules, prefill and decode tokens, block and process of each request.
    requests: list[tuple[float, int, int, int, int]] = field(default_factory=list)


@functools.lru_cache(maxsize=1024)
def _calibration(scenario: Scenario, number: int) -> SensorCalibration:
    machine = _Rail(scenario, random.Random(f"{scenario.name}/calibration/{number}"))  # noqa: S311 - a simulation
    return calibrated(scenario.sensor, machine.sensor.read, round(machine.start_s * 1e9))


class _Rail:
    """The rail of a scenario and its sensor."""

    def __init__(self, scenario: Scenario, source: random.Random) -> None:
        self._facts = scenario.sensor
        self.random = source
        self.start_s = source.uniform(0.0, scenario.sensor.period_s) + 1.0
        self.work = Schedule()
        #: The machine's power but for noise and work.
        self.certain = Rail(scenario.certain_parts())
        seeds = iter(lambda: source.randrange(1 << 32), None)
        self.rail = Rail([*scenario.certain_parts(), *scenario.noise_parts(seeds), self.work])
        self.sensor: Counter | Gauge = self._gauge() if scenario.sensor.kind == "gauge" else self._counter()

    def _counter(self) -> Counter:
        facts, source = self._facts, self.random
        each_s = facts.restarts_each_s
        first_s = 0.0 if each_s is None else source.uniform(0.0, each_s)
        return Counter(
            self.rail,
            period_s=facts.period_s,
            quantum_counts=round(facts.quantum_j * 1e6),
            wraps_at=facts.wraps_at,
            start=source.randrange(facts.wraps_at or 1 << 40),
            phase_s=facts.phase_s,
            jitter=facts.jitter,
            stale_share=facts.stale_share,
            resets_s=[] if each_s is None else [first_s + number * each_s for number in range(100)],
            seed=source.randrange(1 << 32),
        )

    def _gauge(self) -> Gauge:
        facts = self._facts
        return Gauge(
            self.rail,
            period_s=facts.period_s,
            averaging_s=facts.averaging_s,
            delay_s=facts.delay_s,
            phase_s=facts.phase_s,
            jitter=facts.jitter,
            stale_share=facts.stale_share,
        )


class RailMachine(_Rail):
    """A machine on the rail in virtual time, with what a run knows of its sensor."""

    def __init__(self, scenario: Scenario, seed: int) -> None:
        super().__init__(scenario, random.Random(f"{scenario.name}/{seed}"))  # noqa: S311 - a simulation
        self.facts = scenario.sensor
        self.protocol = scenario.protocol
        self.now_s = self.start_s
        self.accountant = accountant_of(scenario.sensor, _calibration(scenario, seed % _CALIBRATIONS))
        self._counts = scenario.sensor.kind == "counter"
        #: Idle power as the baseline before the present process gave it.
        self.idle_w: float | None = None

    def edge(self, t_s: float, kind: str) -> Edge:
        """The counters at ``t_s``; a gauge is not read at edges."""
        t_ns = round(t_s * 1e9)
        return Edge(t_ns, kind, (self.sensor.read(t_ns),) if self._counts else ())

    def _read(self, t_s: float) -> Read:
        t_ns = round(t_s * 1e9)
        return t_ns, self.sensor.read(t_ns)

    def _ticks(self, start_s: float, end_s: float, every_s: float) -> Trace:
        """The sampler's readings from one tick before ``start_s`` to one after ``end_s``."""
        count = math.ceil((end_s - start_s) / every_s) + 2
        reads = [self._read(start_s + (number - 0.5) * every_s) for number in range(count)]
        return Trace([t for t, _ in reads], [raw for _, raw in reads])

    def traces(self, start_s: float, end_s: float) -> dict[int, Trace]:
        """What the sampler sees of a block; nothing where the scenario has no sampling."""
        every_s = self.facts.sampling_s
        return {} if every_s is None else {0: self._ticks(start_s, end_s, every_s)}

    def baseline(self) -> IdlePower:
        """An idle baseline from now on."""
        start_s = self.now_s
        self.now_s = start_s + self.protocol.idle_s
        every_s = self.facts.sampling_s or max(0.25, self.facts.period_s)
        return idle_power(self.accountant, 0, self._ticks(start_s + every_s, self.now_s - every_s, every_s))

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


def _tokens(source: random.Random, mean: int, spread: float) -> int:
    """A count of tokens, uniform within ``mean`` ± spread."""
    width = int(mean * spread)
    return source.randint(mean - width, mean + width)


class CellOnRail:
    """One cell's work on a machine: its processes and blocks, and how its power wanders between them."""

    def __init__(self, machine: RailMachine, work: Work, rule: StoppingRule) -> None:
        self.machine = machine
        self.work = work
        self.rule = rule
        self.done = BlocksSoFar()
        self.measured = MeasuredBlocks()
        #: Idle power around each process.
        self.idle: list[IdlePower] = []
        self._wandering = Wandering(work, machine.random)
        self._process = -1

    def begin_process(self) -> None:
        """A fresh process of the cell."""
        self._process += 1
        self._wandering.begin_process(self.machine.now_s)

    def block(self, number: int) -> None:
        """Wait, work and read the sensor at the edges: a block of round ``number``."""
        work, machine, source, measured = self.work, self.machine, self.machine.random, self.measured
        factor = self._wandering.factor(machine.now_s)
        # As a run does: idle until the sensor shows it, and the dither on top.
        lead_s = machine.accountant.settling_s
        dither_s = machine.accountant.spec(0).update_period_s or 0.0
        machine.now_s += work.gap_s + lead_s + source.uniform(0.0, dither_s if machine.protocol.dither else 0.0)
        began_s = machine.now_s
        requests: list[RequestRecord] = []
        for place in range(work.requests):
            machine.now_s += work.setup_s
            prefill = _tokens(source, work.prefill_tokens, work.token_spread)
            decode = _tokens(source, work.decode_tokens, work.token_spread)
            edges = [machine.edge(machine.now_s, "start")]
            edges.append(Edge(edges[0].t_ns, "prefill", edges[0].raw))
            machine.works(prefill * work.prefill_s_per_token, work.prefill_w * factor, work)
            edges.append(machine.edge(machine.now_s, "decode"))
            machine.works(decode * work.decode_s_per_token, work.decode_w * factor, work)
            edges.append(machine.edge(machine.now_s, "end"))
            requests.append(RequestRecord(place, tuple(edges), prefill, decode, decode, (), (), {}, None, None))
        block = Block(tuple(requests), 0.0, round(began_s * 1e9))
        traces = machine.traces(began_s, machine.now_s)
        energies = machine.accountant.block_energies(block_windows(block), traces, {0: machine.idle_w})
        by_phase = {phase.phase: phase.energy for phase in energies}
        total = by_phase[TOTAL]
        measured.t0_ns.append(block.t0_ns)
        measured.t1_ns.append(block.t1_ns)
        measured.energies.append(total)
        measured.prefills.append(by_phase["prefill"])
        measured.tokens.append(block.units)
        if machine.facts.kind == "counter":
            self._note_requests(block, traces)
        self.done.add(self._process, number, block.duration_s, total.gross_j, block.units)

    def _note_requests(self, block: Block, traces: dict[int, Trace]) -> None:
        """Each request's energy for the fit over requests, as reports take it from the edges."""
        spec, trace = self.machine.accountant.spec(0), traces.get(0, NO_TRACE)
        for request in block.requests:
            start, end = request.edges[0], request.edges[-1]
            if start.raw[0] is None or end.raw[0] is None:
                continue
            energy = counter_energy_for_fit((start.t_ns, start.raw[0]), (end.t_ns, end.raw[0]), spec, trace)
            if energy.gross_j is not None:
                tokens = (request.prefill_tokens, request.decode_tokens)
                self.measured.requests.append((energy.gross_j, *tokens, len(self.done), self._process))

    def next_share(self) -> Share | None:
        """What another process is to measure; ``None`` where the cell is done."""
        decided = next_process(self.done, self.rule)
        return decided if isinstance(decided, Share) else None

    # -- figures -------------------------------------------------------------------------------

    def interval(self, values: Sequence[float | None], work: Sequence[float], common_u: float = 0.0) -> Interval | None:
        """Σ values / Σ work as a report states it; ``None`` where a block has no figure."""
        known = [value for value in values if value is not None]
        if len(known) < len(values):
            return None
        return cell_interval(known, work, self.done.processes, common_u)

    def gross(self) -> Interval | None:
        """Mean energy of a block."""
        return self.interval([energy.gross_j for energy in self.measured.energies], [1.0] * len(self.done))

    def net(self) -> Interval | None:
        """Mean energy of a block without idle power, each process by the baselines around it."""
        windows = list(zip(self.measured.energies, self.done.processes, strict=True))
        energies = [net_energy(window, self.idle[process]).gross_j for window, process in windows]
        common_u = math.fsum((self.idle[process].u_w or 0.0) * window.duration_s for window, process in windows)
        return self.interval(energies, [1.0] * len(windows), common_u)

    def per_token(self) -> Interval | None:
        """Energy per token."""
        return self.interval([energy.gross_j for energy in self.measured.energies], self.measured.tokens)


def stopping_rule(scenario: Scenario) -> StoppingRule:
    """The rule by which the cells of a scenario end."""
    protocol, processes = scenario.protocol, scenario.work.processes
    if protocol.target is None:
        return StoppingRule(processes, protocol.blocks, protocol.blocks)
    return StoppingRule(processes, protocol.blocks, LOOKS[-1], protocol.target)


def _measure(cell: CellOnRail) -> None:
    """Process after process, an idle baseline before, between and after them."""
    machine, number = cell.machine, 0
    before = machine.baseline()
    while (share := cell.next_share()) is not None:
        machine.idle_w = before.power_w
        cell.begin_process()
        blocks = 0
        while share.owes(blocks, 0.0):
            cell.block(number)
            blocks, number = blocks + 1, number + 1
        after = machine.baseline()
        cell.idle.append(combined_idle(before, after))
        before = after


def _truth(machine: RailMachine, cell: CellOnRail) -> Truth:
    w, measured = cell.work, cell.measured
    prefill_s = w.prefill_tokens * w.prefill_s_per_token
    decode_s = w.decode_tokens * w.decode_s_per_token
    work_j = w.requests * w.burst_share * (prefill_s * w.prefill_w + decode_s * w.decode_w)
    duration_s = w.requests * (prefill_s + decode_s)
    # What creeps and what shifts has no expectation: its mean over the blocks that were run.
    spans = list(zip(measured.t0_ns, measured.t1_ns, strict=True))
    machine_w = math.fsum(machine.certain.power_w(a * 1e-9, b * 1e-9) for a, b in spans) / len(spans)
    gross_j = work_j + machine_w * duration_s
    per_prefill_j = (machine_w + w.prefill_w * w.burst_share) * w.prefill_s_per_token
    per_decode_j = (machine_w + w.decode_w * w.burst_share) * w.decode_s_per_token
    per_token_j = gross_j / (w.requests * w.decode_tokens)
    return Truth(gross_j, work_j, per_token_j, per_prefill_j, per_decode_j)


def simulate_cell(scenario: Scenario, seed: int) -> SimulatedCell:
    """A cell on a virtual machine; the same ``seed`` gives the same cell."""
    machine = RailMachine(scenario, seed)
    cell = CellOnRail(machine, scenario.work, stopping_rule(scenario))
    _measure(cell)
    measured = cell.measured
    gross, net, ratio = cell.gross(), cell.net(), cell.per_token()
    fit = None
    if measured.requests:
        joules, prefill, decode, blocks, processes = zip(*measured.requests, strict=True)
        fit = fit_energy(joules, prefill, decode, blocks=blocks, processes=processes)
    flags = {flag for window in measured.energies for flag in window.flags}
    flags.update(flag for idle in cell.idle for flag in idle.flags)
    flags.update(flag for interval in (gross, net, ratio) if interval is not None for flag in interval.flags)
    return SimulatedCell(
        _truth(machine, cell),
        tuple(measured.energies),
        tuple(measured.prefills),
        tuple(cell.idle),
        gross,
        net,
        ratio,
        fit,
        frozenset(flags),
    )
