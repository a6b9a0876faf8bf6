"""From a block's edges and the sampler's trace to rows of energy, one per phase and channel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from joulebench.api import Channel
from joulebench.meter.energy import (
    NO_TRACE,
    Read,
    SensorSpec,
    Trace,
    WindowEnergy,
    counter_energy,
    counter_energy_for_fit,
    gauge_energy,
    phase_energy,
)
from joulebench.meter.idle import IdlePower, attributed_energy, net_energy
from joulebench.protocol import Block, Edge

TOTAL: Final = "total"
#: Windows of successive requests that lie closer than this are one window: the two reads between
#: them are the same reading, and treating them as independent edges would widen the result.
_JOIN_NS: Final = 2_000_000


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of time with the edges at both ends."""

    start: Edge
    end: Edge


def spans(block: Block) -> dict[str, list[Span]]:
    """The windows of a block by phase; ``total`` is all of it but the setups between requests."""
    found: dict[str, list[Span]] = {TOTAL: []}
    total = found[TOTAL]
    for request in block.requests:
        own = Span(request.edges[0], request.edges[-1])
        if total and own.start.t_ns - total[-1].end.t_ns < _JOIN_NS:
            total[-1] = Span(total[-1].start, own.end)
        else:
            total.append(own)
        for name, begin, end in request.phases():
            found.setdefault(name, []).append(Span(begin, end))
    return found


class Accountant:
    """Knows the channels of a session and turns windows into energies."""

    def __init__(
        self,
        channels: Sequence[Channel],
        edge_order: Sequence[int],
        update_periods_s: Mapping[int, float],
    ) -> None:
        self.channels = channels
        self._place = {index: place for place, index in enumerate(edge_order)}
        self._specs = {
            index: SensorSpec.of_channel(channel, update_period_s=update_periods_s.get(index))
            for index, channel in enumerate(channels)
            if channel.quantity in ("energy", "power")
        }

    @property
    def indices(self) -> list[int]:
        """Channels that yield joules."""
        return list(self._specs)

    def spec(self, index: int) -> SensorSpec:
        """What the arithmetic knows of a channel."""
        return self._specs[index]

    def block_energies(
        self, block: Block, traces: Mapping[int, Trace]
    ) -> list[tuple[str, int, WindowEnergy]]:
        """(phase, channel, energy) of every phase and channel of a block."""
        return [
            (phase, index, self._phase(windows, index, traces.get(index, NO_TRACE)))
            for phase, windows in spans(block).items()
            for index in self._specs
        ]

    def _phase(self, windows: Sequence[Span], index: int, trace: Trace) -> WindowEnergy:
        spec = self._specs[index]
        if len(windows) == 1:
            return self._window(windows[0], index, trace, for_fit=False)
        return phase_energy(
            [self._window(each, index, trace, for_fit=True) for each in windows], spec
        )

    def _window(self, span: Span, index: int, trace: Trace, *, for_fit: bool) -> WindowEnergy:
        channel, spec = self.channels[index], self._specs[index]
        if channel.kind == "gauge":
            return gauge_energy(span.start.t_ns, span.end.t_ns, spec, trace, 1.0 / channel.rate_hz)
        start, end = self._read(span.start, index), self._read(span.end, index)
        if start is None or end is None:
            duration_s = (span.end.t_ns - span.start.t_ns) * 1e-9
            return WindowEnergy(None, None, spec.method, ("sensor_lost",), duration_s)
        measure = counter_energy_for_fit if for_fit else counter_energy
        return measure(start, end, spec, trace)

    def _read(self, edge: Edge, index: int) -> Read | None:
        raw = edge.raw[self._place[index]]
        return None if raw is None else (edge.t_ns, raw)


def energy_row(
    cell_id: str,
    block: int,
    phase: str,
    channel: Channel,
    window: WindowEnergy,
    worker_cpu_s: float,
    all_cpu_s: float | None,
) -> dict[str, Any]:
    """A row of the energy table; net energy is filled in when the idle baselines are known."""
    share = attributed_energy(window, worker_cpu_s, all_cpu_s) if all_cpu_s else None
    return {
        "cell_id": cell_id,
        "block": block,
        "phase": phase,
        "channel": channel.path,
        "domain": channel.domain,
        "provenance": channel.provenance,
        "method": window.method,
        "counted": channel.counted,
        "duration_s": window.duration_s,
        "gross_j": window.gross_j,
        "gross_u_j": window.u_j,
        "net_j": None,
        "net_u_j": None,
        "attributed_j": share[0] if share and phase == TOTAL else None,
        "attributed_u_j": share[1] if share and phase == TOTAL else None,
        "flags": list(window.flags),
    }


def with_net(row: dict[str, Any], idle: IdlePower | None) -> dict[str, Any]:
    """The row with its net energy, null where the idle baseline was refused or is missing."""
    if idle is None or row["gross_j"] is None:
        return row
    window = WindowEnergy(
        row["gross_j"], row["gross_u_j"], row["method"], tuple(row["flags"]), row["duration_s"]
    )
    net = net_energy(window, idle)
    flags = [*row["flags"], *(flag for flag in net.flags if flag not in row["flags"])]
    return {**row, "net_j": net.gross_j, "net_u_j": net.u_j, "flags": flags}


def without_energy(window: WindowEnergy, flag: str) -> WindowEnergy:
    """The window with its energy withdrawn, for the reason of ``flag``."""
    return replace(window, gross_j=None, u_j=None, worst_j=None, flags=(*window.flags, flag))
