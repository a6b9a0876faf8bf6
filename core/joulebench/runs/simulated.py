"""Rows of a cell whose hardware is simulated: its own seconds and joules, apart from the host's.

Two time bases run side by side. The *host's* clock tells how long the simulation took; the
*device's* seconds are what the simulated hardware would have taken. The host's joules are the
simulator's. They stay in the record, flagged and counted in no total.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Final

from joulebench.api import SimulatedCost
from joulebench.protocol import Block, RequestRecord, SimulatedRequest
from joulebench.session.tables import EnergyRow, RequestRow

#: Channel and domain of what a session says of its simulated hardware.
CHANNEL: Final = "device/model"
DOMAIN: Final = "device"
TOTAL: Final = "total"
#: On energy of the machine that ran the simulation.
OF_SIMULATOR: Final = "simulator"
#: On energy whose bounds are the range of a model's inputs.
INPUT_RANGE: Final = "input_range"
#: On energy that the session's model does not tell.
NO_ENERGY_MODEL: Final = "no_energy_model"


def spent(before: SimulatedCost, after: SimulatedCost) -> SimulatedCost:
    """What was spent between two readings of one session."""

    def grown(first: float | None, last: float | None) -> float | None:
        return None if first is None or last is None else last - first

    cycles = grown(before.cycles, after.cycles)
    return SimulatedCost(
        after.device_s - before.device_s,
        None if cycles is None else int(cycles),
        grown(before.energy_j, after.energy_j),
        grown(before.energy_low_j, after.energy_low_j),
        grown(before.energy_high_j, after.energy_high_j),
    )


def total(costs: Iterable[SimulatedCost]) -> SimulatedCost:
    """The sum; what one of them does not tell is unknown of all."""
    listed = list(costs)
    cycles = _sum(listed, lambda cost: cost.cycles)
    return SimulatedCost(
        math.fsum(cost.device_s for cost in listed),
        None if cycles is None else int(cycles),
        _sum(listed, lambda cost: cost.energy_j),
        _sum(listed, lambda cost: cost.energy_low_j),
        _sum(listed, lambda cost: cost.energy_high_j),
    )


def _sum(costs: list[SimulatedCost], part: Callable[[SimulatedCost], float | None]) -> float | None:
    known = [value for cost in costs if (value := part(cost)) is not None]
    return math.fsum(known) if len(known) == len(costs) else None


def phase_costs(request: RequestRecord, device: SimulatedRequest) -> dict[str, SimulatedCost]:
    """What each phase of a request cost, and ``total`` of the whole."""
    costs = {TOTAL: spent(device.edges[0], device.edges[-1])}
    kinds = [edge.kind for edge in request.edges]
    for place in range(1, len(kinds) - 1):
        piece = spent(device.edges[place], device.edges[place + 1])
        name = kinds[place]
        costs[name] = total([costs[name], piece]) if name in costs else piece
    return costs


def with_device_time(row: RequestRow, request: RequestRecord) -> RequestRow:
    """The row with its times in device seconds; as it is where nothing is simulated."""
    device = request.simulated
    if device is None:
        return row
    costs = phase_costs(request, device)
    start_s = device.edges[0].device_s
    prefill = costs.get("prefill")
    decode = costs.get("decode") if request.decode_tokens else None
    return replace(
        row,
        device_s=costs[TOTAL].device_s,
        device_ttft_s=device.token_s[0] - start_s if prefill is not None and device.token_s else None,
        device_prefill_s=None if prefill is None else prefill.device_s,
        device_decode_s=None if decode is None else decode.device_s,
        device_tpot_s=None if decode is None else decode.device_s * request.sequences / request.decode_tokens,
        device_token_s=tuple(moment_s - start_s for moment_s in device.token_s),
    )


def block_cost(block: Block) -> SimulatedCost | None:
    """What all requests of a block cost the simulated hardware; ``None`` where nothing is simulated."""
    costs = [
        spent(request.simulated.edges[0], request.simulated.edges[-1])
        for request in block.requests
        if request.simulated is not None
    ]
    return total(costs) if costs else None


def device_rows(cell_id: str, number: int, block: Block) -> list[EnergyRow]:
    """Rows of the energy table for the simulated hardware, one for each phase and the total."""
    phases: dict[str, list[SimulatedCost]] = {}
    for request in block.requests:
        if request.simulated is not None:
            for name, cost in phase_costs(request, request.simulated).items():
                phases.setdefault(name, []).append(cost)
    return [_row(cell_id, number, name, total(costs)) for name, costs in phases.items()]


def _row(cell_id: str, number: int, phase: str, cost: SimulatedCost) -> EnergyRow:
    known = cost.energy_j is not None
    ranged = known and cost.energy_low_j is not None and cost.energy_high_j is not None
    return EnergyRow(
        cell_id=cell_id,
        block=number,
        phase=phase,
        channel=CHANNEL,
        domain=DOMAIN,
        provenance="simulated",
        method="model",
        counted=True,
        duration_s=cost.device_s,
        gross_j=cost.energy_j,
        gross_low_j=cost.energy_low_j if ranged else None,
        gross_high_j=cost.energy_high_j if ranged else None,
        flags=(INPUT_RANGE,) if ranged else () if known else (NO_ENERGY_MODEL,),
    )


def of_simulator(row: EnergyRow) -> EnergyRow:
    """A row of this machine's energy as the simulator's: kept, flagged, in no total."""
    return replace(row, counted=False, flags=(*row.flags, OF_SIMULATOR))
