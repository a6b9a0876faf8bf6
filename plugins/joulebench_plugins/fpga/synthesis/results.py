"""Figures of a synthesis, those that come with joulebench, and a clock made from them."""

from __future__ import annotations

import statistics
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from joulebench_plugins.fpga.law import Engine
from joulebench_plugins.fpga.source import source_hash

_SHIPPED: Final = Path(__file__).parent / "results.toml"


@dataclass(frozen=True, slots=True)
class Synthesis:
    """What one engine takes of one part, and the clock that one placement of it allows.

    Resources are those of the engine alone, as yosys maps it: LUTs of 4 inputs (of 6 on Xilinx),
    flip-flops, multipliers, block RAMs. ``fmax_mhz`` is nextpnr's worst path for ``seed``, with the
    engine between shift registers; ``None`` where nothing is placed.
    """

    part: str
    lanes: int
    weight_bits: int
    max_columns: int
    luts: int
    ffs: int
    dsps: int
    brams: int
    seed: int | None
    fmax_mhz: float | None
    #: :func:`joulebench_plugins.fpga.source.source_hash` of the design.
    design: str
    tools: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Synthesis:
        """From what JSON or TOML gives; keys that are missing there are ``None``."""
        return cls(**{"seed": None, "fmax_mhz": None, **values})


@dataclass(frozen=True, slots=True)
class Clock:
    """The clock that placements with several seeds allow, in MHz."""

    low_mhz: float
    median_mhz: float
    high_mhz: float
    #: What it rests on, in words.
    evidence: str


def shipped(engine: Engine, part: str) -> list[Synthesis]:
    """Figures of this engine on this part that come with joulebench; one for each seed.

    Empty for other sizes, and where the design has changed since they were made.
    """
    results = [Synthesis.from_mapping(row) for row in _read()]
    key = (part, engine.lanes, engine.weight_bits, engine.max_columns, source_hash())
    return [
        result
        for result in results
        if (result.part, result.lanes, result.weight_bits, result.max_columns, result.design) == key
    ]


def shipped_clock(engine: Engine, part: str) -> Clock | None:
    """A device's clock from :func:`shipped`, or ``None`` where nothing was placed."""
    return clock_of(shipped(engine, part))


def clock_of(results: list[Synthesis]) -> Clock | None:
    """The range of clocks of placements that differ by their seeds alone."""
    placed = [result for result in results if result.fmax_mhz is not None]
    clocks = [result.fmax_mhz for result in placed if result.fmax_mhz is not None]
    if not clocks:
        return None
    tools = ", ".join(f"{name} {version}" for name, version in sorted(placed[0].tools.items()))
    seeds = ", ".join(str(result.seed) for result in placed)
    return Clock(
        min(clocks),
        statistics.median(clocks),
        max(clocks),
        f"placed and routed for {placed[0].part} with seeds {seeds} ({tools})",
    )


def _read() -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = tomllib.loads(_SHIPPED.read_text(encoding="utf-8"))["result"]
    return rows
