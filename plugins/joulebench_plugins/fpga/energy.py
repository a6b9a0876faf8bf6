"""Joules of a device: multiplications, bits of memory and on the chip, static power over time.

    E = MACs · pJ/MAC + DRAM bits · pJ/bit + on-chip bits · pJ/bit + static W · seconds

Each factor has a range. The least energy takes every low end and the shortest time, the most every
high end and the longest. That is a range of what the inputs allow, no statistical interval.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from joulebench.api import SimulatedCost
from joulebench_plugins.fpga.configuration import Setup
from joulebench_plugins.fpga.cycles import Cost, CycleModel
from joulebench_plugins.fpga.device import FpgaDevice

_PICO: Final = 1e-12
_BITS: Final = 8


@dataclass(frozen=True, slots=True)
class EnergyShare:
    """One part of a token's energy: value and range, in J."""

    name: str
    value_j: float
    low_j: float
    high_j: float


def energy_shares(
    device: FpgaDevice, cost: Cost, seconds: float, shortest_s: float, longest_s: float
) -> tuple[EnergyShare, ...]:
    """The parts of the energy of some work that takes ``seconds``, at least and at most so long."""
    parts = (
        ("multiplications", cost.lane_macs * _PICO, device.mac_pj),
        ("memory", cost.dram_bytes * _BITS * _PICO, device.dram_pj_per_bit),
        ("on-chip memory", cost.on_chip_bytes * _BITS * _PICO, device.on_chip_pj_per_bit),
    )
    shares = [
        EnergyShare(name, amount * quantity.value, amount * quantity.low, amount * quantity.high)
        for name, amount, quantity in parts
    ]
    static = device.static_w
    shares.append(EnergyShare("static", static.value * seconds, static.low * shortest_s, static.high * longest_s))
    return tuple(shares)


class Ledger:
    """Adds up what a session's tokens cost, by the stated values and by both ends of the ranges."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._models = (setup.nominal(), setup.fastest(), setup.slowest())
        self._costs = [Cost(), Cost(), Cost()]

    @property
    def model(self) -> CycleModel:
        """The cycle model of the stated values."""
        return self._models[0]

    def read(self, first: int, count: int, heads: int) -> None:
        """Enter ``count`` tokens from position ``first`` on, with ``heads`` sets of logits."""
        for place, model in enumerate(self._models):
            self._costs[place] += model.read(first, count, heads)

    def clear(self) -> None:
        """Forget what was entered."""
        self._costs = [Cost(), Cost(), Cost()]

    def spent(self) -> SimulatedCost:
        """All of it."""
        nominal, fast, slow = self._costs
        clock_hz = self._setup.clock_hz
        times_s = [work.cycles / clock_hz for work in (nominal, fast, slow)]
        shares = energy_shares(self._setup.device, nominal, *times_s)
        return SimulatedCost(
            device_s=times_s[0],
            cycles=nominal.cycles,
            energy_j=sum(share.value_j for share in shares),
            energy_low_j=sum(share.low_j for share in shares),
            energy_high_j=sum(share.high_j for share in shares),
        )
