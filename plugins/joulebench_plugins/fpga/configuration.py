"""A model on a device: which engine, which clock, which bandwidth; and whether it fits."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Final, Literal

from joulebench.api import Settings
from joulebench.errors import JoulebenchError
from joulebench_plugins.fpga.cycles import CycleModel, EngineArray
from joulebench_plugins.fpga.device import FpgaDevice, board, read_device
from joulebench_plugins.fpga.law import MAX_COLUMNS, Engine
from joulebench_plugins.fpga.shape import longest_row
from joulebench_plugins.fpga.traffic import Layout
from joulebench_plugins.shared.llama.shape import LlamaShape

#: The rate of beats is a fraction with a denominator of this at most; rounding is downwards.
_FINEST_RATE: Final = 256


class UnfitSetupError(JoulebenchError):
    """Why an engine or a model does not fit a device."""


@dataclass(frozen=True, slots=True)
class Setup:
    """Everything that the cost of a token depends on."""

    device: FpgaDevice
    layout: Layout
    engine: Engine
    engines: int
    clock_hz: float
    cache_tokens: int

    @property
    def shape(self) -> LlamaShape:
        """The model's sizes."""
        return self.layout.shape

    def machine(self, efficiency: float, bandwidth_bytes_per_s: float, latency_s: float) -> EngineArray:
        """The engines with memory at this share of this bandwidth."""
        per_engine = efficiency * bandwidth_bytes_per_s / self.engines
        rate = rate_of_beats(per_engine / (self.engine.beat_bytes * self.clock_hz))
        return EngineArray(self.engine, self.engines, rate, math.ceil(latency_s * self.clock_hz))

    def nominal(self) -> CycleModel:
        """Cycles by the device's stated values."""
        device = self.device
        machine = self.machine(device.efficiency.value, device.bandwidth_bytes_per_s.value, device.latency_s.value)
        return CycleModel(self.layout, machine)

    def fastest(self) -> CycleModel:
        """Cycles by those ends of the memory's ranges that make it fast; the clock stays."""
        device = self.device
        machine = self.machine(device.efficiency.high, device.bandwidth_bytes_per_s.high, device.latency_s.low)
        return CycleModel(self.layout, machine)

    def slowest(self) -> CycleModel:
        """Cycles by the other ends."""
        device = self.device
        machine = self.machine(device.efficiency.low, device.bandwidth_bytes_per_s.low, device.latency_s.high)
        return CycleModel(self.layout, machine)


def rate_of_beats(rate: float) -> Fraction:
    """Beats a cycle as a fraction that is not above ``rate``, and at most 1."""
    if rate >= 1:
        return Fraction(1)
    dens = range(1, _FINEST_RATE + 1)
    near = max(Fraction(math.floor(rate * den), den) for den in dens)
    return near if near > 0 else Fraction(1, math.ceil(1 / rate))


def device_of(settings: Settings) -> FpgaDevice:
    """The user's own description, else a shipped one."""
    own = settings.get("device_file")
    return board(str(settings["board"])) if own is None else read_device(Path(str(own)))


def set_up(settings: Settings, shape: LlamaShape, device: FpgaDevice | None = None) -> Setup:
    """The setup that settings ask for, on their device if no other is given.

    Raises a :class:`JoulebenchError` that says why it cannot be built.
    """
    device = device_of(settings) if device is None else device
    bits: Literal[8, 4] = 4 if settings["weights"] == "int4" else 8
    group = int(settings["group"]) if bits == 4 else 0
    cache_tokens = min(int(settings["cache_tokens"]), shape.max_position_embeddings)
    lanes = int(settings.get("lanes", device.lanes))
    clock_hz = float(settings.get("clock_hz", device.clock_hz.value))
    engine = Engine(lanes, bits, _columns(lanes, max(longest_row(shape), cache_tokens)))
    layout = Layout(shape, engine, bits, group)
    engines = int(settings.get("engines", device.engines))
    setup = Setup(device, layout, engine, engines, clock_hz, cache_tokens)
    fault = fault_of(setup)
    if fault is not None:
        raise UnfitSetupError(fault)
    return setup


def _columns(lanes: int, needed: int) -> int:
    """Columns to build the engine for: the next power of two that holds the longest row."""
    columns = max(lanes, 1 << (needed - 1).bit_length())
    if lanes & (lanes - 1):
        return needed  # the engine itself says what is wrong with the lanes
    if columns > MAX_COLUMNS:
        raise UnfitSetupError(f"rows of {needed:,} columns; the engine holds {MAX_COLUMNS:,}")
    return columns


def fault_of(setup: Setup) -> str | None:
    """Why the engines or the model do not fit the device, or ``None``."""
    device, engine = setup.device, setup.engine
    group = setup.layout.group
    if group and group % engine.lanes:
        return (
            f"groups of {group} columns are no multiple of {engine.lanes} lanes, so lanes would "
            "stand idle at the end of each group"
        )
    lanes = engine.lanes * setup.engines
    size = f"{setup.engines} × {engine.lanes} lanes"
    needs = {
        "multipliers": (
            device.multipliers_per_lane.value * lanes + device.multipliers_per_engine.value * setup.engines,
            device.multipliers.value,
        ),
        "LUTs": (device.luts_per_lane.value * lanes + device.luts_per_engine.value * setup.engines, device.luts.value),
        "bytes of on-chip memory": (float(on_chip_bytes(setup)), device.on_chip_bytes.value),
    }
    for what, (needed, there) in needs.items():
        if needed > there:
            return f"{size} need {needed:,.0f} {what}; {device.title} has {there:,.0f}"
    model = setup.layout.stored_bytes() + setup.layout.cache_bytes(setup.cache_tokens)
    if model > device.memory_bytes.value:
        return (
            f"weights and {setup.cache_tokens:,} positions of KV cache are {model:,} bytes; "
            f"{device.title} has {device.memory_bytes.value:,.0f} bytes of memory"
        )
    return None


def on_chip_bytes(setup: Setup) -> int:
    """Activations of each engine, and what memory sends between asking and having."""
    device = setup.device
    ahead = device.bandwidth_bytes_per_s.value * device.latency_s.value
    return setup.engines * setup.engine.max_columns + math.ceil(ahead)
