"""What a profile says of measuring, as typed values: the protocol, the limits, the sampler's rates.

The tables of options in :mod:`joulebench.profile.sections` declare the same keys; whoever acts on
one takes it from here, so that a misspelt key is found by the type checker.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

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


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasurementProtocol:
    """The keys of ``[protocol]``; ``None`` where one is unset.

    ``contended`` is other processes' share of one core from which on a block is repeated, at most
    ``repeat_contended`` times. ``requests_per_block`` is ``None`` where ``block_s`` settles it.
    """

    preset: str | None = None
    seed: int
    processes: int
    min_blocks: int
    max_blocks: int
    target: float
    passes: int | None = None
    block_s: float
    requests_per_block: int | None = None
    shuffle: bool
    time_budget_s: float
    idle_s: float
    margin_before_s: float
    margin_after_s: float
    counted_before_s: float
    counted_after_s: float
    warmup_min_s: float
    warmup_max_s: float
    warmup_requests: int
    steady: float
    gate_c: float
    gate_c_per_10_s: float
    gate_timeout_s: float
    contended: float
    repeat_contended: int
    turns: bool

    @classmethod
    def of(cls, values: Mapping[str, OptionValue]) -> MeasurementProtocol:
        """From the checked keys of ``[protocol]``, defaults included."""
        return cls(**values)  # type: ignore[arg-type]  # checked by their options

    @property
    def stopping(self) -> StoppingRule:
        """When a cell ends."""
        return StoppingRule(
            self.processes, self.min_blocks, self.max_blocks, self.target, self.time_budget_s, self.passes
        )

    @property
    def margins(self) -> Margins:
        """Idle time around each block."""
        return Margins(self.margin_before_s, self.margin_after_s, self.counted_before_s, self.counted_after_s)

    @property
    def warm_up(self) -> WarmUp:
        """When a warm-up ends."""
        return WarmUp(self.warmup_min_s, self.warmup_max_s, self.warmup_requests, self.steady)

    @property
    def gate(self) -> GateBounds:
        """What the thermal gate asks for."""
        return GateBounds(self.gate_c, self.gate_c_per_10_s, self.gate_timeout_s)

    def numbers(self) -> dict[str, OptionValue]:
        """Every key that is set, by its name; the preset is none of the numbers."""
        return {name: value for name, value in asdict(self).items() if name != "preset" and value is not None}


@dataclass(frozen=True, slots=True)
class RunLimits:
    """What a worker may take at most: resident bytes, seconds to load, for a block, for its cell."""

    memory_bytes: int | None
    open_s: float
    block_s: float
    cell_s: float | None
    #: Most time to make one artifact (a conversion, a technique), in seconds.
    make_s: float = 3600.0
    #: Most time to plan, in seconds.
    plan_s: float = 300.0

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
            plan_s=float(values["plan_s"]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingRates:
    """How often the sampler reads, in Hz (``None``: each channel's own rate), and how long calibration takes."""

    energy_hz: float | None = None
    calibrate_s: float
    slow_hz: float | None = None

    @classmethod
    def of(cls, values: Mapping[str, OptionValue]) -> SamplingRates:
        """From the checked keys of ``[sampler]``, defaults included."""
        return cls(**values)  # type: ignore[arg-type]  # checked by their options

    def numbers(self) -> dict[str, OptionValue]:
        """Every key that is set, by its name."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True, slots=True)
class QualityText:
    """The text that each cell's perplexity is taken from: tokens of it, and tokens seen at once."""

    text: str
    tokens: int
    window: int

    @classmethod
    def of(cls, values: Mapping[str, OptionValue]) -> QualityText:
        """From the checked keys of ``[quality]``, defaults included."""
        return cls(**values)  # type: ignore[arg-type]  # checked by their options
