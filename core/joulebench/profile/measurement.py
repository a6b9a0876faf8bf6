"""What a profile says of measuring, as typed values: the protocol, the limits, the sampler's rates.

The tables of options in :mod:`joulebench.profile.sections` declare the same keys; whoever acts on
one takes it from here, so that a misspelt key is found by the type checker.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from joulebench.api import OptionValue
from joulebench.meter.margins import Margins
from joulebench.meter.stopping import StoppingRule


@dataclass(frozen=True, slots=True)
class WarmUp:
    """When a warm-up ends: halves that differ by less than ``steady``, within these bounds."""

    min_s: float
    max_s: float
    requests: int
    steady: float


@dataclass(frozen=True, slots=True)
class GateBounds:
    """What the thermal gate asks for: a distance in °C, a slope in °C per 10 s, a longest wait in s."""

    distance_c: float
    slope_c_per_10_s: float
    timeout_s: float


@dataclass(frozen=True, slots=True)
class MeasurementProtocol:
    """The numbers of the measurement protocol.

    ``contended`` is other processes' share of one core from which on a block is repeated, at most
    ``repeat_contended`` times. ``requests_per_block`` is ``None`` where ``block_s`` settles it.
    """

    seed: int
    shuffle: bool
    turns: bool
    stopping: StoppingRule
    block_s: float
    requests_per_block: int | None
    idle_s: float
    margins: Margins
    warm_up: WarmUp
    gate: GateBounds
    contended: float
    repeat_contended: int

    @classmethod
    def of(cls, values: Mapping[str, OptionValue]) -> MeasurementProtocol:
        """From the checked keys of ``[protocol]``, defaults included."""
        requests = values.get("requests_per_block")
        return cls(
            seed=int(values["seed"]),
            shuffle=bool(values["shuffle"]),
            turns=bool(values["turns"]),
            stopping=StoppingRule.of(values),
            block_s=float(values["block_s"]),
            requests_per_block=None if requests is None else int(requests),
            idle_s=float(values["idle_s"]),
            margins=Margins.of(values),
            warm_up=WarmUp(
                float(values["warmup_min_s"]),
                float(values["warmup_max_s"]),
                int(values["warmup_requests"]),
                float(values["steady"]),
            ),
            gate=GateBounds(float(values["gate_c"]), float(values["gate_c_per_10_s"]), float(values["gate_timeout_s"])),
            contended=float(values["contended"]),
            repeat_contended=int(values["repeat_contended"]),
        )


@dataclass(frozen=True, slots=True)
class RunLimits:
    """What a worker may take at most: resident bytes, seconds to load, for a block, for its cell."""

    memory_bytes: int | None
    open_s: float
    block_s: float
    cell_s: float | None
    #: Most time to make one artifact (a conversion, a technique), in seconds.
    make_s: float = 3600.0

    @classmethod
    def of(cls, values: Mapping[str, OptionValue]) -> RunLimits:
        """From the checked keys of ``[limits]``, defaults included."""
        memory, cell = values.get("memory"), values.get("cell_s")
        return cls(
            memory_bytes=None if memory is None else int(memory),
            open_s=float(values["open_s"]),
            block_s=float(values["block_s"]),
            cell_s=None if cell is None else float(cell),
            make_s=float(values["make_s"]),
        )


@dataclass(frozen=True, slots=True)
class SamplingRates:
    """How often the sampler reads, in Hz (``None``: each channel's own rate), and how long calibration takes."""

    energy_hz: float | None
    slow_hz: float | None
    calibrate_s: float

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> SamplingRates:
        """From the checked keys of ``[sampler]``, defaults included."""
        energy, slow = values.get("energy_hz"), values.get("slow_hz")
        return cls(
            energy_hz=None if energy is None else float(energy),
            slow_hz=None if slow is None else float(slow),
            calibrate_s=float(values["calibrate_s"]),
        )
